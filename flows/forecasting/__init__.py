"""The gain forecast: whether a whole training is worth its time, told by a tenth of it before it begins."""
