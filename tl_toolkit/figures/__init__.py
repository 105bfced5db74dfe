"""Figures, above all of the attention of models."""
