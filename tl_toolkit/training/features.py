"""Training and evaluation of a head on features that its frozen body computes once for each row."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import __version__
from ..config.processes import sharding
from ..records.cost import SET_BY_SAVING
from ..strategies.head_input import HeadInput, head_input
from .feature_store import KEY_BYTES, FeatureStore, NoStore

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from ..config.arguments import RunArguments
    from ..tasks import Task

COLUMN = "features"
_CPU_BATCH = 32  # larger batches leave the processor's cache and need a fifth more time
_NOT_OF_BODY = ("id2label", "label2id", "problem_type", *SET_BY_SAVING)


class Features:
    """The features of the rows of a run, by the position that its datasets have in the column `features`.

    Its datasets have this column in place of the inputs, and `collate` looks the features up. The forward method of the
    model accepts them: `model(features=…)` applies the head only, and `model(input_ids=…)` the whole model.

    Args:
        model: the model as its strategy prepared it; `forward` of this instance is replaced.
        head: the modules behind the features.
        splits: encoded datasets by name.
        collator: pads inputs.

    Attributes:
        shared: whether other runs may have the same body, so that features are stored.
        inputs: the columns of encoded rows that the model reads.
        splits: `splits` with the column `features` in place of the inputs.
        computed: number of rows whose features were computed by this run.
        seconds: their time.
        reused: number of rows whose features were read from the store.
        reused_seconds: the time in which other runs computed them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: HeadInput,
        task: Task,
        splits: dict[str, Dataset],
        collator: Callable[[list[dict[str, Any]]], Any],
        args: RunArguments,
    ) -> None:
        self.shared = True
        self.model, self.head, self._task, self._collator, self._args = model, head, task, collator, args
        self._encoded = splits
        self.inputs = input_columns(model, task, splits["train"])
        self._rows: list[Any] = [None] * sum(map(len, splits.values()))  # None: not computed yet
        self._starts = dict(zip(splits, np.cumsum([0, *map(len, splits.values())]), strict=False))
        self.splits = {
            name: split.remove_columns(self.inputs).add_column(
                COLUMN, list(range(self._starts[name], self._starts[name] + len(split)))
            )
            for name, split in splits.items()
        }
        self.computed = self.reused = 0
        self.seconds = self.reused_seconds = 0.0
        _accept_features(model, head)

    @cached_property
    def _store(self) -> FeatureStore | NoStore:
        """That of the body as it is when features are first needed: a strategy may tune it before."""
        return FeatureStore(_body_hash(self.model, self.head, self._args.device.type)) if self.shared else NoStore()

    def fill(self, name: str) -> None:
        """Compute the features of a split, or read them if another run or process has computed them."""
        split, start = self._encoded[name], self._starts[name]
        if self._rows[start] is not None:
            return
        keys = _row_keys(split, self.inputs)
        with self._store.locked():
            found, seconds = self._store.find(keys)
            missing = {key: row for row, key in enumerate(keys) if key not in found}
            if missing:
                began = time.perf_counter()
                arrays = self._compute(split.select_columns([*self.inputs, "length"]).select(list(missing.values())))
                spent = time.perf_counter() - began
                self._store.add(list(missing), arrays, spent)
                found |= dict(zip(missing, arrays, strict=True))
                self.seconds += spent
        self.computed += len(missing)
        self.reused += len(keys) - len(missing)
        self.reused_seconds += seconds
        self._rows[start : start + len(keys)] = [found[key] for key in keys]

    def of(self, name: str) -> list[np.ndarray]:
        """The features of each row of a split, (features,) or (tokens, features) in float32, after `fill`."""
        start = self._starts[name]
        return self._rows[start : start + len(self._encoded[name])]

    def record(self) -> dict[str, Any]:
        """The cost of the features for the result record."""
        return {
            "computed_rows": self.computed,
            "seconds": self.seconds,
            "reused_rows": self.reused,
            "reused_seconds": self.reused_seconds,
        }

    def collate(self, rows: list[dict[str, Any]]) -> Any:
        """A batch of features and labels from rows of `splits`; from other rows, as the collator of the task."""
        if COLUMN not in rows[0]:
            return self._collator(rows)
        own = [self._rows[row[COLUMN]] for row in rows]
        labels = [row[self._task.label_name] for row in rows if self._task.label_name in row]
        if own[0].ndim == 2:
            longest = max(map(len, own))
            own = [_padded(one, longest, 0) for one in own]
            labels = [_padded(np.array(one), longest, -100) for one in labels]
        batch = {COLUMN: torch.from_numpy(np.stack(own))}
        if labels:
            batch[self._task.label_name] = torch.tensor(labels if own[0].ndim == 1 else np.stack(labels))
        return batch

    def _compute(self, rows: Dataset) -> list[np.ndarray]:
        """The features of each row; batches have rows of similar lengths."""
        lengths = np.asarray(rows["length"])
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        rows = rows.remove_columns("length")
        order = np.argsort(lengths, kind="stable")
        size = self._args.per_device_eval_batch_size
        if self._args.device.type == "cpu":
            size = min(size, _CPU_BATCH)
        for places in np.split(order, range(size, len(order), size)):
            batch = self._collator([rows[int(place)] for place in places])
            features, _ = self.head.run(
                self.model, {name: value.to(self._args.device) for name, value in batch.items()}
            )
            for place, own in zip(places, features.cpu().numpy(), strict=True):
                found[place] = own if own.ndim == 1 else own[: lengths[place]].copy()
        return found


def features_of(
    model: PreTrainedModel,
    task: Task,
    splits: dict[str, Dataset],
    collator: Callable[[list[dict[str, Any]]], Any],
    args: RunArguments,
) -> Features | None:
    """Return the features of a run, or None if its head cannot be trained on features that are computed once.

    That is so if the trained modules are not a chain (see `head_input`), if the task does not compute the loss from the
    logits (a CRF, generated text, forecasts), or if weights are sharded.
    """
    if task.generates or task.loss(0.0) is None or sharding(args):
        return None
    columns = input_columns(model, task, splits["train"])
    if "length" not in splits["train"].column_names or not columns:
        return None
    some = splits["train"].select_columns(columns)
    batch = collator([some[place % len(some)] for place in range(2)])
    head = head_input(model, batch)
    return None if head is None else Features(model, head, task, splits, collator, args)


def input_columns(model: PreTrainedModel, task: Task, split: Dataset) -> list[str]:
    """The columns of an encoded split that determine the model's inputs, without the targets."""
    accepted = {*inspect.signature(model.forward).parameters, *task.collated_columns} - {task.label_name}
    return [name for name in split.column_names if name in accepted]


def _accept_features(model: PreTrainedModel, head: HeadInput) -> None:
    """Let `model(features=…)` return the logits of its head."""
    from transformers.modeling_outputs import SequenceClassifierOutput

    whole = model.forward
    signature = inspect.signature(whole)
    added = inspect.Parameter(COLUMN, inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = list(signature.parameters.values())
    before = [own for own in parameters if own.kind is not inspect.Parameter.VAR_KEYWORD]

    def forward(*args: Any, features: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if features is None:
            return whole(*args, **kwargs)
        return SequenceClassifierOutput(logits=head.logits(features.to(head.final.weight.dtype)))

    extended = signature.replace(parameters=[*before, added, *parameters[len(before) :]])
    forward.__signature__ = extended  # type: ignore[attr-defined]  # Trainer reads the columns from it
    model.forward = forward


def _body_hash(model: PreTrainedModel, head: HeadInput, device: str) -> str:
    """A hash of what determines the features of a row: body, boundary, and the libraries and device that compute."""
    import transformers

    settings = {name: value for name, value in model.config.to_diff_dict().items() if name not in _NOT_OF_BODY}
    names = {id(module): name for name, module in model.named_modules()}
    where = [names[id(head.modules[0])], device, __version__, torch.__version__, transformers.__version__]
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    digest.update(json.dumps([type(model).__name__, settings, where], sort_keys=True, default=str).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) not in head.parameters:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _row_keys(split: Dataset, columns: Sequence[str]) -> list[bytes]:
    """A hash of the inputs of each row."""
    digests = [hashlib.blake2b(digest_size=KEY_BYTES) for _ in range(len(split))]
    table = split.with_format("arrow")[:]
    for name in columns:
        column = table[name].combine_chunks()
        if name == "pieces":  # the words of tokens
            parts = [json.dumps(own).encode() for own in column.to_pylist()]
        else:
            values, ends = column.flatten().to_numpy(), np.cumsum(column.value_lengths().to_numpy())
            parts = [own.tobytes() for own in np.split(values, ends[:-1])]
        for digest, part in zip(digests, parts, strict=True):
            digest.update(f"{name} {len(part)}".encode() + part)
    return [digest.digest() for digest in digests]


def _padded(values: np.ndarray, length: int, filler: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values)), *[(0, 0)] * (values.ndim - 1)], constant_values=filler)
