"""Classes that the champion lacks: what people labelled with them, and how a model learns them."""
