"""Views inside models: gradients through time, gates, attention, and a network computed by hand."""
