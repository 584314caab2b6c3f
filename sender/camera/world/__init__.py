"""A rendered world to drive through, with exact truth; `source` is where its frames come from."""
