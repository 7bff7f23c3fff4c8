"""Regime memory: worlds come back (night, a season, a camera that was mended), and an earlier version may know them."""
