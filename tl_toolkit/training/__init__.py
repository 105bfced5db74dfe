"""The trainers and their callbacks."""
