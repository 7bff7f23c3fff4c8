"""One look of the watcher: what it reads, counts, writes, and what a person tells it."""
