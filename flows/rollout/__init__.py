"""A candidate's way to everybody: unseen, then to a few, then to all, then on probation, and back by itself."""
