"""Uncertainty over seeds and test rows, significance tests, effect sizes and label equivalence."""
