"""The pages that people look at: read-only, from rows, in a small web process of their own."""
