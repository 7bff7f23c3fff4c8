"""Detectors: each compares a window with the reference in one way and says so in one form."""
