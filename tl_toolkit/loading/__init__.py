"""Models, tokenizers and vocabularies from the names that a user gives."""
