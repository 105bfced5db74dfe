"""The result record, the folder and the checkpoints of a run, and what it cost."""
