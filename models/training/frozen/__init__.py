"""What frozen layers give, computed once: where a network can be cut, whether that pays, and what is kept."""
