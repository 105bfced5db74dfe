"""Batches of sentences with a label for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

IGNORED = -100


class WordCollator:
    """Pads rows of `TokenClassification.encode` on the right; on a GPU, whose kernels like it, to a multiple of 8.

    Args:
        tokenizer: what pads the inputs.
        character_vocabulary: that of a model that reads characters; empty for others.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, character_vocabulary: str = "") -> None:
        import torch

        self.tokenizer = tokenizer
        self.character_vocabulary = character_vocabulary
        fits = tokenizer.model_max_length > 10**9 or tokenizer.model_max_length % 8 == 0
        self.multiple = 8 if fits and torch.cuda.is_available() else None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors (rows, time): the inputs, `labels` with -100 for padding, and `character_ids`."""
        import torch
        from transformers.data.data_collator import pad_without_fast_tokenizer_warning

        from ..models.character_features import character_ids_of, pad_characters

        names = [name for name in self.tokenizer.model_input_names if name in rows[0]]
        inputs = [{name: row[name] for name in names} for row in rows]
        # On the right whatever the tokenizer's habit: gathered answers then stand where the words are.
        batch = pad_without_fast_tokenizer_warning(
            self.tokenizer, inputs, padding_side="right", pad_to_multiple_of=self.multiple, return_tensors="pt"
        )
        time = batch["input_ids"].shape[1]
        if "labels" in rows[0]:
            padded = [row["labels"] + [IGNORED] * (time - len(row["labels"])) for row in rows]
            batch["labels"] = torch.tensor(padded)
        if self.character_vocabulary:
            ids = [character_ids_of(row["pieces"], self.character_vocabulary) for row in rows]
            batch["character_ids"] = pad_characters(ids, time)
        return dict(batch)
