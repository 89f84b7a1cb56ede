"""Our layers beside those of others: the same numbers first, then the time and the memory.

python -m benchmarks --help
"""
