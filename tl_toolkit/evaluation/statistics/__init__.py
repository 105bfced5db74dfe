"""The cells of a comparison, its baselines, and the metrics as quantities of test rows."""
