"""Convert weights of other libraries to models of the toolkit and back, one file per library."""
