"""From what the user names to token ids: sources, columns, splits, tokenizers, static vectors."""
