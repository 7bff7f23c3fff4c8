"""What arrives, before any model answers: how much, from whom, and whether it can be read."""
