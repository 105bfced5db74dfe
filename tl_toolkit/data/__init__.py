"""Load and encode data: sources, column roles, splits, tokenizers and static word vectors."""
