"""Settings of a network so small that it trains in seconds."""

TINY_NETWORK = """
[model]
backbone = "test_resnet"
weights = "none"
image_size = 32
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""
