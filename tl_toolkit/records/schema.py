"""The types of the fields of a result record, and a check that names the first field with another type."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

Number = int | float
Text = str | None
Count = int | None
Names = dict[str, Any] | None
"""A mapping whose values are shown but not computed with."""


class Task(TypedDict, total=False):
    """What was learned."""

    name: Text
    problem_type: Text
    labels: list[Any] | None
    main_metric: Text
    greater_is_better: bool | None
    class_weights: dict[str, Number] | None


class Found(TypedDict, total=False):
    """Rows or classes that a look at the data found."""

    count: int
    of: int
    rows: list[int]
    classes: list[Any]


class Truncated(TypedDict, total=False):
    """Texts cut to the maximum length."""

    length: int
    splits: dict[str, Found]


class MostFrequent(TypedDict, total=False):
    """The most frequent label of the training rows."""

    label: str
    share: Number
    of: str
    is_constant: bool


class DataLook(TypedDict, total=False):
    """A look at the data before training."""

    most_frequent: MostFrequent
    alike: list[list[str]]
    missing: dict[str, Found]
    empty: dict[str, Found]
    in_test: Found
    in_validation: Found
    several_labels: Found
    repeated: Found
    dropped: dict[str, int]
    truncated: Truncated


class Dataset(TypedDict, total=False):
    """The rows."""

    name: Text
    config: Text
    revision: Text
    fingerprint: Text
    versions: Names
    columns: Names
    rows: dict[str, Count] | None
    folds: dict[str, Count] | None
    data_look: DataLook | None


class Budget(TypedDict, total=False):
    """The requested and the used labels or tokens."""

    label_budget: Count
    token_budget: Count
    train_labels: Count
    train_tokens: Count
    validation_labels: Count


class Parameters(TypedDict, total=False):
    """Numbers of parameters."""

    total: Count
    trained: Count


class Form(TypedDict, total=False):
    """A form of the model (PyTorch, ONNX, int8) on one CPU thread; `problem` says why there is none."""

    problem: Text
    latency_seconds: Number | None
    latency_seconds_p25: Number | None
    latency_seconds_p75: Number | None
    rows_per_second: Number | None
    bytes: Count
    memory_bytes: Count
    score: Number | None
    score_lost: Number | None
    agreement: Number | None


class Inference(TypedDict, total=False):
    """The cost of predictions."""

    latency_seconds: Number | None
    latency_seconds_p95: Number | None
    rows_per_second: Number | None
    measured_in: Text
    forms: dict[str, Form]


class Cost(TypedDict, total=False):
    """The costs of a run."""

    parameters: Parameters | None
    train_seconds: Number | None
    evaluate_seconds: Number | None
    examples_per_second: Number | None
    tokens_per_second: Number | None
    peak_memory_bytes: Number | None
    disk_bytes: Count
    steps: Count
    epochs: Number | None
    seconds: dict[str, Number | None] | None
    inference: Inference | None
    features: dict[str, Number | None] | None
    energy_joules: dict[str, Number] | None


class Calibration(TypedDict, total=False):
    """The temperature of the probabilities, and the calibration error on the test rows."""

    temperature: Number | None
    rows: Count
    reason: Text
    test_error_before: Number | None
    test_error_after: Number | None


class Hardware(TypedDict, total=False):
    """Where a run was trained."""

    device: Text
    device_name: Text
    world_size: Count
    distributed_type: Text
    sharded: bool
    threads: Count


class Stage(TypedDict, total=False):
    """A stage before the run."""

    name: str
    key: Text
    train_seconds: Number | None


class Tuning(TypedDict, total=False):
    """The search that chose arguments."""

    trials: Count
    failed: Count
    seconds: Number | None
    search: Names
    chosen: Names


class RecordedArtefact(TypedDict):
    """The size and the hash of a file."""

    bytes: int
    sha256: str


class Named(TypedDict):
    """The fields that every record has."""

    schema_version: int


class Record(Named, total=False):
    """A result record; docs/record.md describes the fields. A record may have others, which are not checked."""

    toolkit_version: Text
    status: Literal["completed", "failed"]
    error: Text
    failure: Text
    started: Text
    finished: Text
    name: Text
    entry: Text
    entry_id: str
    dataset_id: str
    folder: Text
    key: Text
    kind: Text
    seed: Count
    grid_dataset: Text
    task: Task | None
    dataset: Dataset | None
    budget: Budget | None
    model: Names
    strategy: Names
    arguments: Names
    resolved: Names
    solution: Names
    metrics: dict[str, dict[str, Number | None] | None] | None
    predictions: dict[str, str] | None
    never_predicted: list[str] | None
    calibration: Calibration | None
    attention: Text
    cost: Cost | None
    hardware: Hardware | None
    versions: Names
    stages: list[Stage] | None
    tuning: Tuning | None
    expected: Names
    artefacts: dict[str, RecordedArtefact]
    checksum: str


def problem_of(record: Any) -> str | None:
    """The first field of a record that has another type than `Record` names; None if there is none."""
    return _problem(record, Record, "")


def _problem(value: Any, kind: Any, place: str) -> str | None:
    """As `problem_of`, for the part of a record at `place`."""
    where = f"the field {place!r}" if place else "the record"
    if kind is Any:
        return None
    if is_typeddict(kind):
        if not isinstance(value, Mapping):
            return f"{where} must be a mapping, but is {_shown(value)}"
        if missing := sorted(kind.__required_keys__ - value.keys()):
            return f"{where} has no {missing[0]!r}"
        fields = _hints(kind)
        found = (_problem(value[name], fields[name], _join(place, name)) for name in fields if name in value)
        return next(filter(None, found), None)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        tried = [_problem(value, part, place) for part in parts if part is not types.NoneType or value is None]
        return None if None in tried else tried[0] if len(tried) == 1 else f"{where} must not be {_shown(value)}"
    if origin is dict:
        if not isinstance(value, Mapping):
            return f"{where} must be a mapping, but is {_shown(value)}"
        return next(filter(None, (_problem(item, parts[1], _join(place, name)) for name, item in value.items())), None)
    if origin is list:
        if not isinstance(value, list):
            return f"{where} must be a list, but is {_shown(value)}"
        return next(filter(None, (_problem(item, parts[0], place) for item in value)), None)
    if origin is Literal:
        fits = isinstance(value, str) and value in parts
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return None if fits else f"{where} must not be {_shown(value)}"


_hints = lru_cache(get_type_hints)  # evaluating the annotations anew for each record takes most of the time


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: Any) -> str:
    text = repr(value)
    return "null" if value is None else text if len(text) <= 40 else f"{text[:40]}…"
