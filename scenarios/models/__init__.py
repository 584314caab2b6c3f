"""Models: what can be pulled, what judges a source, what a rate table was measured with."""
