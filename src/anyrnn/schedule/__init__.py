"""In what order and how often a step's operations run: what leaves the time loop, what one
product serves.
"""
