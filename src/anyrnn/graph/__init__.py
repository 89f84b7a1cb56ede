"""Cells as dataflow graphs: the table of operations, tracing, sizes, roles, the interpreter,
simplification, printing.
"""
