"""Execution of runs: jobs, worker processes or a cluster, trials of a search, and recovery from failures."""
