"""A comparison on the Hub: as a dataset, a page, or a demonstration."""
