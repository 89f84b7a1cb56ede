"""Which cell to use: the same task with several cells, and what may be said about it."""
