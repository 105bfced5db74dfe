"""The verdict in words, from numbers with their uncertainty."""
