"""Studies: what trains many times, to search, to compare and to learn about cells."""
