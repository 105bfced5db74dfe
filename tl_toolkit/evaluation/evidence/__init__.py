"""What the predictions of runs tell beside scores: mistakes, disagreement, calibration, classes, attention."""
