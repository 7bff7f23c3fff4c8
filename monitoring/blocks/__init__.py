"""Slow drift, by blocks: cut from the log, measured, ranked and bet on."""
