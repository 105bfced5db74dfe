"""Evidence from predictions beyond overall scores: mistakes, disagreement, calibration, classes, attention."""
