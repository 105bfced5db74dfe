"""Ladders: the entries of a comparison that needs no grid file, from a constant answer to a tuned transformer.

The entries set no training arguments: the defaults of the models and strategies (`strategies/recommended.py`) decide,
so that an entry is the run that `tl-toolkit finetune` with its model and strategy trains.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import UserError, listing
from ...loading.builtin_models import builtin_model_path
from ...strategies import STRATEGIES, make_strategy
from ...tasks import make_task
from ...tasks.text import TextTask
from .planned_run import PlannedRun

logger = logging.getLogger(__name__)

LADDERS = ("quick", "ladder", "full")
DEFAULT_MODEL = "builtin:minilm"
FLAGS = ("models", "vectors", "unlabelled_dataset", "language_model", "recurrent_model")
"""The flags of a ladder, which choose its entries."""
_TASKS = ("text-classification", "regression", "token-classification")

_CONSTANT = {"name": "Constant", "model_type": "bag_of_ngrams", "config_overrides": {"max_ngrams": 0}}
_LINEAR = {"name": "TF-IDF + linear", "model_type": "bag_of_ngrams"}
_LSTM = {"name": "LSTM", "model_type": "rnn"}
_BILSTM = {"name": "BiLSTM", "model_type": "rnn", "config_overrides": {"bidirectional": True}}
_SELF_ATTENTION = {"name": "Self-attention", "model_type": "self_attention"}
_ADAPTED, _UNLABELLED = "task-texts", "unlabelled-texts"


def expand(content: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`content` of a grid and `flags`, with the name of a ladder in `entries` replaced by its entries and stages.

    Raises:
        UserError: an unknown ladder, a task without one, or a flag of ladders for a grid with its own entries.
    """
    content, flags = dict(content), dict(flags)
    name = flags.pop("entries", None) or content.get("entries")
    own = {key: flags.pop(key, None) or content.pop(key, None) for key in FLAGS if key != "vectors"}
    if not isinstance(name, str):
        if given := next((key for key, value in own.items() if value), None):
            raise UserError(f"--{given} chooses the entries of a ladder, but {where} lists its own entries.")
        return content, flags
    if name not in LADDERS:
        raise UserError(f"'entries' in {where} must be one of {listing(LADDERS)}, or a list, but is {name!r}.")
    task = flags.get("task") or content.get("task") or _TASKS[0]
    if task not in _TASKS:
        raise UserError(
            f"There is no ladder for the task {task!r}, only for {listing(_TASKS)}. Name a grid with --config; "
            "tl-toolkit configs lists those that are shipped."
        )
    vectors = flags.pop("vectors", None) or content.pop("vectors", None)
    dataset = flags.get("dataset_name") or content.get("dataset_name")
    recurrent = own.pop("recurrent_model")
    content["entries"] = _entries(name, str(task), own["models"], vectors)
    if name == "full" and task == _TASKS[0]:
        content["entries"] += _of_classes(content["entries"], **own)
    elif own["language_model"]:
        raise UserError(f"--language_model is for --entries full of --task {_TASKS[0]}, not for {name!r} of {task!r}.")
    if name == "full" and task != "token-classification":
        content["stages"] = _stages(dataset, own["unlabelled_dataset"], recurrent, vectors)
        ulmfit = {"name": "ULMFiT", "model_name_or_path": f"stage:{_ADAPTED}", "strategy": "gradual_unfreezing"}
        content["entries"].append(ulmfit)
    elif own["unlabelled_dataset"] or recurrent:
        given = "unlabelled_dataset" if own["unlabelled_dataset"] else "recurrent_model"
        raise UserError(f"--{given} is for entries of --entries full, but the ladder is {name!r}.")
    return content, flags


def fitting(runs: Sequence[PlannedRun], output_dir: Path) -> list[PlannedRun]:
    """`runs` without those whose strategy cannot learn from the rows of their dataset.

    Raises:
        UserError: the columns of a dataset are not valid.
    """
    problems: dict[tuple[str | None, str], UserError] = {}
    for (dataset, entry), run in {(run.dataset, run.entry): run for run in runs}.items():
        kind = STRATEGIES.get(run.settings.get("strategy", ""))
        if kind is None or not kind.needs_one_class:
            continue
        arguments = run.arguments(output_dir)
        task = make_task(arguments.data)
        assert isinstance(task, TextTask)
        task.look_at_columns()
        try:
            make_strategy(arguments.strategy, arguments.model).check_rows(
                task.problem_type, task.columns.text_pair is not None
            )
        except UserError as error:
            problems[dataset, entry] = error
    for (_, entry), problem in problems.items():
        logger.warning("The entry %r is left out. %s", entry, str(problem).partition(":")[0] + ".")
    return [run for run in runs if (run.dataset, run.entry) not in problems]


def _entries(name: str, task: str, models: Sequence[str] | None, vectors: str | None) -> list[dict[str, Any]]:
    tagging = task == "token-classification"
    entries: list[dict[str, Any]] = [] if tagging else [_CONSTANT, _LINEAR]
    if name != "quick":
        entries.append(_LSTM)
    entries.append(_BILSTM)
    if vectors is not None:
        entries.append({**_BILSTM, "name": "BiLSTM + vectors", "vectors": vectors})
    if name != "quick":
        entries.append(_SELF_ATTENTION)
    strategies = {"quick": ["probe"], "ladder": ["probe", "full"], "full": ["probe", "lora", "full"]}[name]
    called = {"probe": "probe", "lora": "LoRA", "full": "fine-tuned"}
    for model in _checkpoints(models):
        short = PurePosixPath(model.removeprefix("builtin:")).name
        entries += [
            {"name": f"{short}, {called[strategy]}", "model_name_or_path": model, "strategy": strategy}
            for strategy in strategies
        ]
    return [dict(entry) for entry in entries]


def _of_classes(
    entries: Sequence[Mapping[str, Any]],
    models: Sequence[str] | None,
    unlabelled_dataset: str | None,
    language_model: str | None,
) -> list[dict[str, Any]]:
    """The entries that need classes: checkpoints tuned on pairs, a BiLSTM with a teacher, and a prompt."""
    tuned = [entry for entry in entries if entry.get("strategy") == "full"]
    found = [
        {**entry, "name": entry["name"].replace("fine-tuned", "contrastive"), "strategy": "contrastive"}
        for entry in tuned
    ]
    if tuned:
        taught = {**_BILSTM, "name": "BiLSTM, distilled", "strategy": "distilled", "teacher": tuned[0]["name"]}
        found.append({**taught, **({"unlabelled_dataset": unlabelled_dataset} if unlabelled_dataset else {})})
    if language_model:
        short = PurePosixPath(language_model).name
        found.append({"name": f"{short}, prompt", "model_name_or_path": language_model, "strategy": "prompt"})
    else:
        logger.warning("There is no entry with a prompt: name a language model with --language_model.")
    return found


def _checkpoints(models: Sequence[str] | None) -> list[str]:
    if models:
        return list(models)
    try:
        builtin_model_path(DEFAULT_MODEL)
    except UserError as error:
        logger.warning("The entries with a pre-trained transformer are left out: %s Or name one with --models.", error)
        return []
    return [DEFAULT_MODEL]


def _stages(
    dataset: str | None, unlabelled: str | None, recurrent: str | None, vectors: str | None
) -> dict[str, dict[str, Any]]:
    """ULMFiT's language model: of the task's own texts, after the unlabelled ones if there are any.

    It starts from the language model `recurrent`, whose vocabulary it keeps, or from random weights, over `vectors` if
    there are any.
    """
    sizes = {"hidden_size": 256, "num_hidden_layers": 2}
    known = {"vectors": vectors, "config_overrides": sizes}
    start = known if vectors else {"config_overrides": {"embedding_size": 128, **sizes}}
    new = {"model_type": "awd_lstm", "tokenizer_name": "word", **start}
    updates = {"window_length": 50, "per_device_train_batch_size": 16, "min_train_steps": 300}  # many from little text
    common = {"lr_scheduler_type": "slanted_triangular", "learning_rate": 5e-3, "seed": 1, **updates}
    first = {**common, **({"model_name_or_path": recurrent} if recurrent else new)}
    adapted = {"dataset_name": dataset, "num_train_epochs": 5}
    tuned = {"learning_rate": 2e-3}
    if unlabelled is None:
        return {_ADAPTED: {**first, **adapted, **(tuned if recurrent else {})}}
    further = {"model_name_or_path": f"stage:{_UNLABELLED}", **({} if recurrent else {"tokenizer_name": "word"})}
    return {
        _UNLABELLED: {**first, "dataset_name": unlabelled, "num_train_epochs": 1},
        _ADAPTED: {**common, **adapted, **tuned, **further},
    }
