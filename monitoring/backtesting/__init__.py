"""Replaying what was logged: what would have been answered, had something else decided when to retrain."""
