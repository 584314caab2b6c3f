"""Live runs: steered while they go on, and had again."""
