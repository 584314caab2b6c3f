"""Training of what the packages ship."""
