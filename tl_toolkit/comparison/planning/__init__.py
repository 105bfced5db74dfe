"""What a grid asks for: its file, its runs with their keys, stages, searches, and what they would cost."""
