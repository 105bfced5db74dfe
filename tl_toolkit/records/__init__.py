"""Result records, output folders, checkpoints and costs of runs."""
