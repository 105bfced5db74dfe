"""The strategy of bags of n-grams: learn the table of n-grams, and solve the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.processes import sharding
from ..errors import UserError
from .probe import Probe, fit_head

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, TrainingArguments

    from ..config.arguments import RunArguments

_BATCH = 64
_LEAST_STRENGTH = 3.0
"""The lowest C: below it, logits are so small that the bias alone decides, while the log loss is hardly higher."""


class NgramProbe(Probe):
    """Solves the weights of a bag of n-grams, as scikit-learn does on its features.

    It is the probe of a model whose features are counted: they depend on the training rows, and are never dense.
    """

    reads_features = False
    pooling = "auto"
    instead = "use another --model_type"

    def check(self, args: RunArguments, task: str) -> None:
        if task not in ("text-classification", "regression"):
            raise UserError(
                f"--model_type bag_of_ngrams predicts labels or a number for a text, but --task is {task!r}: use "
                "another --model_type."
            )
        super().check(args, task)

    def adapt(self, model: PreTrainedModel, rows: Dataset) -> None:
        learn_ngrams(model, rows)

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model  # all its weights are solved

    def configure(self, args: TrainingArguments) -> None:
        if sharding(args):
            raise UserError("A bag of n-grams cannot be used with FSDP or DeepSpeed: use --model_type alone.")


def solve_weights(
    model: Any, rows: Dataset, targets: Any, seed: int = 0, class_weights: Sequence[float] | None = None
) -> dict[str, Any]:
    """Set the weights of `model`, whose table is learned, to those that fit `targets`. Returns how, for the record.

    Args:
        rows: encoded rows, with the column `input_ids`.
        targets: see `fit_linear`.
        class_weights: see `probe.solve`.
    """
    import torch

    from .linear_solver import STRENGTHS

    config = model.config
    is_ridge = config.problem_type == "regression"
    strengths = [strength for strength in STRENGTHS if is_ridge or strength >= _LEAST_STRENGTH]
    options = {"outputs": config.num_labels, "strengths": strengths, "seed": seed}
    fit, record = fit_head(ngram_features(model, rows), targets, config.problem_type, class_weights, **options)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(fit.weight.T))
        model.bias.copy_(torch.from_numpy(fit.bias))
    return record


def learn_ngrams(model: Any, rows: Dataset) -> None:
    """Fill the table of `model` with the n-grams of `rows` (column `input_ids`), and set its weights to zeros.

    `min_rows` and `max_ngrams` of the configuration choose the n-grams; of those in equally many rows, the ones with
    lower token ids are kept. The inverse document frequencies are those of scikit-learn's `TfidfVectorizer`:
    1 + ln((1 + rows) / (1 + rows with the n-gram)).

    Raises:
        UserError: no n-gram is in enough rows.
    """
    import torch

    config = model.config
    found = []
    for ids, mask in _batches(model, rows):
        keys = model.ngrams.keys_of(ids, mask)
        is_first = torch.nn.functional.pad(keys[:, 1:] != keys[:, :-1], (1, 0), value=True)
        found.append(keys[is_first & (keys > 0)].cpu().numpy())
    keys, frequencies = np.unique(np.concatenate(found), return_counts=True)
    often = frequencies >= config.min_rows
    keys, frequencies = keys[often], frequencies[often]
    if not len(keys):
        smallest, largest = config.ngram_range
        lengths = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        raise UserError(
            f"No sequence of {lengths} tokens is in {config.min_rows} or more of the {len(rows)} training texts, so "
            "there is nothing to count. Lower min_rows or ngram_range in --config_overrides, or use more texts."
        )
    if config.max_ngrams is not None and len(keys) > config.max_ngrams:
        kept = np.sort(np.argsort(-frequencies, kind="stable")[: config.max_ngrams])
        keys, frequencies = keys[kept], frequencies[kept]
    if config.max_ngrams == 0:  # a table cannot be empty, so it gets a key that no text has
        keys, frequencies = np.array([2**63 - 1]), np.zeros(1, dtype=int)
    idf = 1 + np.log((1 + len(rows)) / (1 + frequencies))
    model.set_ngrams(
        torch.from_numpy(keys), torch.from_numpy(idf if config.weighting == "tfidf" else np.ones(len(keys)))
    )


def ngram_features(model: Any, rows: Dataset) -> Any:
    """The features of the head of `model` for `rows`, as a scipy matrix (rows, num_ngrams) in CSR format."""
    from scipy import sparse

    weights, indices, sizes = [], [], [np.zeros(1, dtype=np.int64)]
    for ids, mask in _batches(model, rows):
        index, weight = model.ngrams(ids, mask)
        used = weight > 0
        weights.append(weight[used].cpu().numpy())
        indices.append(index[used].cpu().numpy())
        sizes.append(used.sum(dim=1).cpu().numpy())
    entries = (np.concatenate(weights), np.concatenate(indices), np.concatenate(sizes).cumsum())
    return sparse.csr_matrix(entries, shape=(len(rows), model.config.num_ngrams))


def _batches(model: Any, rows: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and mask of batches of rows."""
    import torch

    device = model.device
    for start in range(0, len(rows), _BATCH):
        texts = [torch.tensor(ids) for ids in rows[start : start + _BATCH]["input_ids"]]
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-1)
        yield ids.to(device), (ids >= 0).int().to(device)
