"""A rehearsed disaster: a bad version is let loose on a copy of the project, and the way back is timed."""
