"""Publish a comparison on the Hub as a dataset, a static page, or a demo."""
