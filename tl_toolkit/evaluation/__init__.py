"""What records and predictions say; read by cards, reports and decisions."""
