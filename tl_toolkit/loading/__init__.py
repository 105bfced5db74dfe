"""Load models, tokenizers and vocabularies by name."""
