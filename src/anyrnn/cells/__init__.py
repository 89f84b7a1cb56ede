"""The cells: one file per family, the equations and their source; `catalogue` lists them by
name.
"""
