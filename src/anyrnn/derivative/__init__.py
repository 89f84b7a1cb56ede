"""Automatic differentiation, from graph to graph."""
