"""Cells as graphs: the list of operations, tracing, the interpreter, simplification, printing."""
