"""Links by their physics: budgets, error rates, orbits, contacts; resolved before a run, so that the core sees figures alone."""
