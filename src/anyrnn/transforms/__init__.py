"""Cell to cell: each transform changes the equations, and what comes after compiles the result
like any other.
"""
