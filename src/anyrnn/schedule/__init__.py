"""From a step graph to the stages of a loop over time, in passes.

A step graph is rewritten (`rewrites.py`); each of its values is placed before, in or after
the loop (`placement.py`); the loop is split at the values that have to be complete in memory, and
becomes a list of stages (`stages.py`). `build.py` runs these passes. `residuals.py` schedules the
reverse step, and decides what the forward step saves for it.
"""
