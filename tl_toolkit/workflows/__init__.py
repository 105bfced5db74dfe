"""One file per verb, and the lifecycle that every training verb shares."""
