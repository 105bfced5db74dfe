"""One module per verb, and the run lifecycle that the training verbs share."""
