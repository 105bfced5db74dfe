"""Save attention weights of words in a few test texts, beside the predictions of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import write_json
from .alignment import with_attention
from .token_spans import merge_weights, pieces_of_text, words_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ATTENTION = "attention.json"
TEXTS = 6
"""Number of test rows whose attention is saved: the first rows, the same for every model of a comparison."""
_LONGEST = 512


def save_attention(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Dataset, split: Dataset, folder: Path
) -> str | None:
    """Write `attention.json` for the first rows of `split` (with a column `text`); `encoded` has their inputs.

    The file contains `what`, a description of the weights, and `rows`: each has its `row`, its `tokens` (words and
    special tokens) and their `weights`, which sum to 1. It is disputed whether attention explains predictions (Jain and
    Wallace 2019, "Attention is not Explanation"; Wiegreffe and Pinter 2019, "Attention is not not Explanation").

    Returns:
        Name of the file; None if the model has no attention or does not return it.
    """
    rows, what = [], ""
    for place in range(min(TEXTS, len(split))):
        ids = encoded[place]["input_ids"]
        if len(ids) > _LONGEST:
            continue
        found = weights_of_tokens(model, encoded[place])
        if found is None:
            return None
        weights, what = found
        words = words_of(pieces_of_text(split[place]["text"], ids, tokenizer))
        merged = merge_weights(weights[None], words[:1], words)[0] if len(words) > 1 else weights.sum()[None]
        rows.append(
            {
                "row": int(split[place]["row"]),
                "tokens": [word.text.strip() for word in words],
                "weights": [round(float(weight), 5) for weight in merged],
            }
        )
    if not rows:
        return None
    write_json(folder / ATTENTION, {"what": what, "rows": rows})
    return ATTENTION


def weights_of_tokens(model: PreTrainedModel, row: dict[str, Any]) -> tuple[torch.Tensor, str] | None:
    """The attention weights of the tokens of a row (time,), and a description of the weights; None without attention.

    `row` has lists by name, such as `input_ids`.
    """
    import torch

    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in row]
    inputs = {name: torch.tensor([row[name]], device=model.device) for name in names}
    try:
        layers = getattr(with_attention(model, **inputs), "attentions", None)
    except (TypeError, ValueError):  # a model without output_attentions, or with another type of attention
        return None
    if not layers or layers[-1] is None:
        return None
    last = layers[-1][0].detach().float().cpu()
    if last.dim() == 1:
        return last, "attention-pooling weights of the words"
    if last.dim() != 3 or last.shape[-1] != len(row["input_ids"]):
        return None
    heads = last.mean(0)
    if getattr(model.config, "pooling", None) is not None:
        return heads.mean(0), "self-attention of the last layer, averaged over heads and query words"
    if torch.equal(heads, heads.tril()):
        return heads[-1], "self-attention of the last token in the last layer, averaged over heads"
    return heads[0], "self-attention of the first token in the last layer, averaged over heads"
