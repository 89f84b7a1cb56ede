"""The derivative of a graph is a graph."""
