"""Evaluation of records and predictions for cards, reports and decisions."""
