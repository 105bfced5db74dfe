"""Weights of other libraries as models of the toolkit, and back: one file per library, and how their files are read."""
