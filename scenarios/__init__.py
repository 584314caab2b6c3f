"""Experiments: what is run, what is measured, what is reported."""
