"""Asking people for labels: what is worth asking, by which chance, and what came back."""
