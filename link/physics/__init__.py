"""Links by their physics: budgets, error rates, orbits, contacts.

Resolved before a run, so that the core sees figures alone.
"""
