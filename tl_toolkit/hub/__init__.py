"""Publish model cards, models, comparisons and Spaces on the Hugging Face Hub."""
