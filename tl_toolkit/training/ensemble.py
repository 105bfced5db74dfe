"""A classifier that reads forwards and one that reads backwards, joined into one model that averages their answers.

Howard and Ruder (2018), section 3: the two are trained each on its own, and their predictions averaged.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import __version__
from ..errors import UserError, listing
from .arguments import ModelArguments
from .causes import explained
from .ensemble_arguments import EnsembleArguments, EnsembleRequest, parse_ensemble_arguments
from .output_dir import for_output_dir
from .progress_bars import without_progress_bars

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..tasks import Task

__all__ = ["EnsembleArguments", "EnsembleRequest", "ensemble", "join", "parse_ensemble_arguments"]

FAMILY = "awd_lstm"
_DIRECTIONS = ("forward", "backward")
# What decides the shapes of the weights, how they are used, and what the answers mean.
_SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "classifier_hidden_size")
_ALIKE = (*_SIZES, "max_backprop_tokens", "problem_type")


class Member(NamedTuple):
    """A classifier of one direction, and where it came from."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@without_progress_bars()
@for_output_dir
def ensemble(request: EnsembleRequest) -> dict[str, Any]:
    """Join the two members, evaluate all three on the same rows, and save.

    The model folder, the ensemble's predictions and `result.json` are left in `output_dir`. Nothing is trained.

    Returns:
        The result record, whose `members` have the metrics of the forward and the backward classifier.

    Raises:
        UserError: members that do not fit together, or a dataset that does not fit them.
    """
    from ..hub.pushing import publish_finished
    from .cost import hardware, peak_memory, versions
    from .evaluation import save_predictions
    from .output_dir import check_free, clear, staged
    from .record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, write_json
    from .run_parts import now

    started, output_dir = now(), Path(request.run.output_dir)
    names = [str(request.ensemble.forward), str(request.ensemble.backward)]
    check_free(output_dir, overwrite=request.run.overwrite_output_dir, sources=[*names, request.data.dataset_name])
    members = [_load(name, direction) for name, direction in zip(names, _DIRECTIONS, strict=True)]
    model = join(*members)
    tokenizer = members[0].tokenizer
    task, splits, tokenised, max_length = _prepare(request, model, members)
    tokenizer.model_max_length = max_length or tokenizer.model_max_length
    try:
        alone = [_evaluate(member.model, tokenizer, task, tokenised, request)[0] for member in members]
        began = time.perf_counter()
        with peak_memory() as peak:
            metrics, logits = _evaluate(model, tokenizer, task, tokenised, request)
        seconds = time.perf_counter() - began
    except Exception as error:
        if (reason := explained(error)) is error:
            raise
        raise reason from error
    described = [
        _describe(member, direction, own) for member, direction, own in zip(members, _DIRECTIONS, alone, strict=True)
    ]
    rows = sum(len(split) for split in tokenised.values())
    train_seconds = [member["train_seconds"] for member in described]
    record = {
        "schema_version": SCHEMA_VERSION,
        "toolkit_version": __version__,
        "status": "completed",
        "error": None,
        "started": started,
        "finished": now(),
        **task.record(),
        "name": request.run.name or "ensemble",
        "model": {
            "model_type": FAMILY,
            "model_name_or_path": None,
            "class": type(model).__name__,
            "tokenizer": names[0],
            "vocab_size": len(tokenizer),
        },
        "strategy": {"name": "ensemble"},
        "seed": request.run.seed,
        "arguments": changed_arguments(request),
        "members": described,
        "metrics": metrics,
        "history": [],
        "cost": {
            "parameters": {"total": sum(parameter.numel() for parameter in model.parameters()), "trained": 0},
            "train_seconds": None if None in train_seconds else sum(train_seconds),  # of both members
            "evaluate_seconds": seconds,
            "examples_per_second": rows / seconds,
            "tokens_per_second": sum(sum(split["length"]) for split in tokenised.values()) / seconds,
            "peak_memory_bytes": peak["bytes"],
            "steps": 0,
            "epochs": 0.0,
        },
        "hardware": hardware(request.run),
        "versions": versions(),
    }
    if request.run.process_index == 0:
        clear(output_dir, keep_checkpoints=False)
        with staged(output_dir) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        record["predictions"] = save_predictions(task, splits, logits, output_dir)
        write_json(output_dir / RESULT_NAME, record)  # last: a folder with this file holds a finished run
    publish_finished(request.run)
    return record


def join(forward: Member, backward: Member) -> PreTrainedModel:
    """The model with `direction="both"` that has the weights of both members, ready for evaluation.

    Parameter names begin with the direction, so that those of the two do not overlap.

    Raises:
        UserError: labels, sizes or vocabularies differ.
    """
    first, second = forward.model.config, backward.model.config
    labels = [[str(name) for _, name in sorted(config.id2label.items())] for config in (first, second)]
    if labels[0] != labels[1]:
        raise UserError(
            f"The two members answer with different labels: {forward.name!r} with {listing(labels[0])}, "
            f"{backward.name!r} with {listing(labels[1])}. Train both on the same dataset and label column."
        )
    for key in _ALIKE:
        if getattr(first, key) != getattr(second, key):
            raise UserError(
                f"The two members differ in {key}: {getattr(first, key)!r} in {forward.name!r}, "
                f"{getattr(second, key)!r} in {backward.name!r}. One model holds two members of one size."
            )
    if _vocabulary(forward.tokenizer) != _vocabulary(backward.tokenizer):
        raise UserError(
            f"The tokenizers of {forward.name!r} and {backward.name!r} are not the same, so that one text would "
            "be other tokens for each member. Train the backward member with the forward one's folder as "
            "--tokenizer_name."
        )
    config = type(first).from_dict({**first.to_dict(), "direction": "both"})
    model = type(forward.model)(config)
    model.load_state_dict({**forward.model.state_dict(), **backward.model.state_dict()})
    return model.eval()


def _load(name: str, direction: str) -> Member:
    """A member, once it is sure that it is a classifier of the family that reads in `direction`."""
    from .model import load_config, load_trained
    from .tokenizer import load_tokenizer

    arguments = ModelArguments(model_name_or_path=name)
    config = load_config(arguments)
    if config.model_type != FAMILY:
        raise UserError(
            f"--{direction} {name!r} holds a model of the family {config.model_type!r}. One model with both directions "
            f"exists in the family {FAMILY} alone: train the members with --model_type {FAMILY}. Answers of "
            "other models can be averaged from the scores in their predictions_*.parquet."
        )
    if config.direction != direction:
        raise UserError(
            f"--{direction} {name!r} holds a model that reads {config.direction!r}, where one with "
            f"direction={direction!r} is expected (--config_overrides direction={direction} in pretrain.py)."
        )
    tokenizer = load_tokenizer(arguments)
    return Member(name, load_trained(arguments, "AutoModelForSequenceClassification", tokenizer), tokenizer)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> Any:
    """What makes tokens of a text: all that a fast tokenizer is but for how batches are cut and padded."""
    if not tokenizer.is_fast:
        return tokenizer.get_vocab()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in content.items() if key not in ("truncation", "padding")}


def _prepare(
    request: EnsembleRequest, model: PreTrainedModel, members: list[Member]
) -> tuple[Task, DatasetDict, DatasetDict, int | None]:
    """The task, the rows of the validation and the test split, the same as token ids, and how long they may be."""
    from datasets import DatasetDict

    from ..tasks import task_for_model
    from .model import shortest

    task = task_for_model(request.data, model.config)
    known = task.labels
    splits = task.prepare(request.run.seed)
    if task.labels != known:
        raise UserError(
            f"The dataset {request.data.dataset_name!r} has the labels {listing(task.labels or ())}, but the members "
            f"answer with {listing(known or ())}. Give the dataset and the --label_column that they were trained on."
        )
    limits = [member.tokenizer.model_max_length for member in members]
    if limits[0] != limits[1] and request.data.max_length is None:
        raise UserError(
            f"The members were trained on texts cut to {limits[0]:,} and {limits[1]:,} tokens. Say with "
            "--max_length how long they may be here."
        )
    max_length = shortest(request.data.max_length, limits[0])
    kept = DatasetDict({split: splits[split] for split in ("validation", "test")})
    return task, kept, task.encode(kept, members[0].tokenizer, max_length), max_length


def _evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    tokenised: DatasetDict,
    request: EnsembleRequest,
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Metrics and logits by split."""
    from .evaluation import predict_in_order
    from .trainer import ToolkitTrainer

    trainer = ToolkitTrainer(
        model,
        request.run,
        task=task,
        data_collator=task.collator(tokenizer, model),
        processing_class=tokenizer,
    )
    answers = {split: predict_in_order(trainer, rows) for split, rows in tokenised.items()}
    return {split: own for split, (_, own) in answers.items()}, {
        split: logits for split, (logits, _) in answers.items()
    }


def _describe(member: Member, direction: str, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What the record says of a member: its metrics on these rows, and what its own record says that it cost."""
    from .record import read_record

    own = read_record(Path(member.name)) or {}
    return {
        "name": own.get("name", member.name),
        "direction": direction,
        "model_name_or_path": member.name,
        "metrics": metrics,
        "train_seconds": (own.get("cost") or {}).get("train_seconds"),
    }
