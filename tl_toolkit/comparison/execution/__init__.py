"""How runs are made: jobs, worker processes or a cluster, trials of a search, and what is kept when something dies."""
