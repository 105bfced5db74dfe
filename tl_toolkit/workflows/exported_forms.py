"""A trained model as PyTorch, ONNX and int8 on the same rows: predictions, scores and costs, each on one CPU thread."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..tasks import Task, TokenClassification
from ..tasks.generation import GREEDY
from ..tasks.text import TextTask
from .inference_cost import BATCH_SIZE, MOST_ROWS, measure_in_turns
from .predictions import by_length, join_rows

if TYPE_CHECKING:
    from datasets import Dataset

CHECK_ROWS = 1000
"""The most test rows that forms are compared on by default."""
GRAPHS = ("onnx", "int8")
CLOSE = 1e-3
_SAME_TEXTS = 0.99


@dataclass
class Forms:
    """The forms of a trained model, compared on rows of its task.

    Args:
        model: in float32 on the CPU, as it is loaded from its folder.
        name: what the user calls it.
        task: which has prepared the rows; None for a language model.
        limit: the most tokens that it reads.
        folder: an existing folder for the graphs.
    """

    model: Any
    name: str
    task: Any
    processing: Any
    limit: int | None
    folder: Path

    def __post_init__(self) -> None:
        self.model = self.model.eval()
        self.forms: dict[str, Any] = {"pytorch": self.model}
        self.answers, self.predicted = dict[str, Any](), dict[str, list[Any]]()
        if self.task is not None and self.task.generates:  # exported models write greedily
            self.model.generation_config = copy.deepcopy(self.model.generation_config)
            for name, value in GREEDY.items():
                setattr(self.model.generation_config, name, value)

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The modules that become graphs, by file name.

        Raises:
            UserError: models of this kind have no graph.
        """
        from ..deployment.parts import parts_of

        tokenizer = self.task.tokenizer(self.processing)
        parts = {} if tokenizer is None else parts_of(self.model, tokenizer.model_input_names)
        if not isinstance(self.task, TextTask | TokenClassification) and len(parts) != 2:
            raise UserError(
                f"The model {self.name!r} ({type(self.model).__name__}) cannot be exported: it is no classifier, "
                "tagger or regression of texts, language model or rnn_encoder_decoder."
            )
        return parts

    def write(self, *, int8: bool) -> float:
        """Write and load the graphs; returns the largest difference from the model. UserError if one is wrong."""
        from ..deployment.parts import write_checked
        from ..deployment.writers import load_graphs

        written = [write_checked(part, self.folder / file, self.name, self.limit, int8=int8)
                   for file, part in self.parts.items()]  # fmt: skip
        for form in ("onnx", *(["int8"] if int8 else [])):
            self.forms[form] = load_graphs(
                self.files(form)[-1], self.model.config, getattr(self.model, "generation_config", None)
            )
        return max(written)

    def files(self, form: str) -> list[Path]:
        """The files of the graphs in a form, `model.onnx` last."""
        from ..deployment.parts import int8_path

        paths = [self.folder / file for file in self.parts]
        return [int8_path(path) for path in paths] if form == "int8" else paths

    def bytes(self) -> dict[str, int]:
        """The size of the weights in floats, and of the graphs, by form."""
        tensors = [*self.model.parameters(), *self.model.buffers()]  # the n-grams of a linear model are a buffer
        sizes = {"pytorch": sum(tensor.nbytes for tensor in tensors)}
        written = [form for form in GRAPHS if form in self.forms]
        return sizes | {form: sum(path.stat().st_size for path in self.files(form)) for form in written}

    def compare(self, encoded: Dataset, rows: Dataset) -> dict[str, Any]:
        """Agreement with PyTorch, and the metrics, on `rows`; UserError if the graph in floats predicts otherwise.

        Attributes `answers` then has the raw answers, and `predicted` the predictions of each form.
        """
        metrics = {}
        for form, model in self.forms.items():
            self.answers[form], labels = self._answers(model, encoded)
            metrics[form] = {} if labels is None else self.task.metrics(self.answers[form], labels, encoded)
            frame = self.task.predictions(self.answers[form], rows)
            self.predicted[form] = frame["prediction"].tolist() if "prediction" in frame else []
        exact = self.predicted["pytorch"]
        agreement = {form: float(np.mean([_same(*pair) for pair in zip(own, exact, strict=True)]))
                     for form, own in self.predicted.items() if form != "pytorch"}  # fmt: skip
        if "onnx" in self.answers:
            self._check(agreement["onnx"])
        main = self.task.main_metric
        return {"count": len(rows), "main_metric": main, "metrics": metrics, "agreement": agreement}

    def _check(self, same: float) -> None:
        own, exported = (_first(self.answers[form]) for form in ("pytorch", "onnx"))
        if self.task.generates and not isinstance(self.answers["pytorch"], tuple):  # ids alone, without targets
            own = exported = np.zeros(1)
        wrong = ~np.isclose(own, exported, atol=CLOSE, rtol=CLOSE).reshape(len(own), -1).all(axis=1)
        if wrong.any() or (self.task.generates and same < _SAME_TEXTS):
            where = f", first on row {int(np.flatnonzero(wrong)[0])}" if wrong.any() else ""
            count = wrong.sum() or round((1 - same) * len(self.predicted["onnx"]))
            raise wrong_predictions(int(count), f"{len(self.predicted['onnx'])} test rows{where}")

    def measure(self, forms: Sequence[str], encoded: Dataset, folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
        """Latency, throughput and memory of the forms, in turns on the first of the encoded rows.

        Args:
            folders: where PyTorch loads a form from, to measure its memory.
        """
        from ..deployment.memory import memory_of_folder, memory_of_graphs

        few = encoded.select(range(min(MOST_ROWS, len(encoded))))
        singles = [self._inputs([row]) for row in self._own(few)]
        groups = [self._inputs(rows) for rows in _groups(self._own(few))]
        found = measure_in_turns({form: _answering(self.forms[form], self.task) for form in forms}, singles, groups)
        row = {name: tensor for name, tensor in singles[0].items() if name != self.task.label_name}
        for form in forms:
            if form in folders:
                found[form]["memory_bytes"] = memory_of_folder(folders[form], self.task.auto_class, row)
            elif form in GRAPHS:
                inputs = [row if len(self.parts) == 1 else part.example(1, 20) for part in self.parts.values()]
                found[form]["memory_bytes"] = memory_of_graphs(list(zip(self.files(form), inputs, strict=True)))
        return found

    def _answers(self, model: Any, encoded: Dataset) -> tuple[Any, np.ndarray | None]:
        """The raw answers and the labels of rows, as `ToolkitTrainer` gathers them, without a trainer's device."""
        import torch
        from transformers.trainer_pt_utils import nested_numpify

        order, own = by_length(encoded), self._own(encoded)
        parts = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
        answers, labels = [], []
        answer = _answering(model, self.task)
        with torch.no_grad():
            for places in parts:
                inputs = self._inputs([own[int(place)] for place in places])
                target = inputs.get(self.task.label_name)
                gathered: tuple[Any, ...] = ()
                if target is not None or not self.task.generates:
                    judged = self.task.answers(model(**inputs), target)
                    gathered = judged if isinstance(judged, tuple) else (judged,)
                if self.task.generates:
                    gathered = (*gathered, answer(inputs))
                answers.append(nested_numpify(gathered if len(gathered) > 1 else gathered[0]))
                labels.append(None if target is None else nested_numpify(target))
        return join_rows(answers, parts), None if labels[0] is None else join_rows(labels, parts)

    def _own(self, encoded: Dataset) -> Dataset:
        """The columns that a batch is made from."""
        read = {*inspect.signature(self.model.forward).parameters, *self.task.collated_columns}
        return encoded.select_columns([name for name in encoded.column_names if name in read])

    @cached_property
    def _collate(self) -> Any:
        return self.task.collator(self.processing, self.model)

    def _inputs(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return dict(self._collate([dict(row) for row in rows]))


def measure_forms(
    model_folder: Path, model: Any, task: Task, processing: Any, limit: int | None, asked: Sequence[str],
    encoded: Dataset, rows: Dataset,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """For each form asked for, its costs, size and score, for the record; or `problem`, why there is no such form.

    Args:
        model_folder: the folder that `model` is loaded from; graphs lie in it for the time of the measurement.
        encoded, rows: test rows.
    """
    few = range(min(CHECK_ROWS, len(rows)))
    encoded, rows = encoded.select(few), rows.select(few)
    found: dict[str, dict[str, Any]] = {}
    with one_thread(), TemporaryDirectory() as folder:
        forms = Forms(model, model_folder.name, task, processing, limit, Path(folder))
        exported = [form for form in asked if form != "pytorch"]
        try:
            if exported:
                forms.write(int8="int8" in exported)
            compared = forms.compare(encoded, rows)
        except UserError as error:  # the run is complete without it
            found = {form: {"problem": str(error)} for form in exported}
            forms.forms = {"pytorch": model}
            compared = forms.compare(encoded, rows)
        costs = forms.measure([form for form in asked if form in forms.forms], encoded, {"pytorch": model_folder})
        found |= as_recorded(task, compared, costs, forms.bytes())
    return {form: found[form] for form in asked}


def as_recorded(
    task: Task, compared: Mapping[str, Any], costs: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """What `Forms` has found, for the record, by form."""
    found, metric = {}, compared["main_metric"]
    for form, cost in costs.items():
        score = compared["metrics"][form].get(metric)
        found[form] = {**cost, "bytes": sizes[form], "score": score, "rows": compared["count"]}
        if form != "pytorch":
            found[form]["agreement"] = compared["agreement"][form]
            if score is not None:
                lost = (compared["metrics"]["pytorch"][metric] - score) * (1 if task.greater_is_better else -1)
                found[form]["score_lost"] = float(lost)
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch, and graphs that are loaded here, use one thread of the CPU."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wrong_predictions(count: int, of: str) -> UserError:
    """The error of a graph that predicts otherwise."""
    return UserError(
        f"The exported graph has other predictions than the model on {count} of {of}. Nothing was written. Report this "
        "model, and use it with PyTorch."
    )


def _answering(model: Any, task: Task) -> Any:
    """Answers collated inputs without their targets."""
    targets = (task.label_name, "decoder_input_ids", "decoder_attention_mask")

    def answer(inputs: Mapping[str, Any]) -> Any:
        given = {name: value for name, value in inputs.items() if name not in targets}
        return model.generate(**given) if task.generates else model(**given)

    return answer


def _groups(rows: Dataset) -> list[list[Any]]:
    every = [rows[place] for place in range(len(rows))]
    groups = [every[start : start + BATCH_SIZE] for start in range(0, len(every), BATCH_SIZE)]
    return [group for group in groups if len(group) == BATCH_SIZE] or groups


def _first(answers: Any) -> np.ndarray:
    """Logits, the tags of tokens, or losses, of each row."""
    return np.asarray(answers[0] if isinstance(answers, tuple) else answers)


def _same(first: Any, second: Any) -> bool:
    return bool(np.allclose(first, second, atol=CLOSE)) if isinstance(first, float) else bool(np.all(first == second))
