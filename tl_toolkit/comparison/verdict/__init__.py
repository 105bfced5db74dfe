"""The verdict of a comparison in words, from scores with their uncertainty."""
