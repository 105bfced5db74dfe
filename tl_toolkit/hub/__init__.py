"""Publishing on the Hugging Face Hub: model cards, models, comparisons and Spaces."""
