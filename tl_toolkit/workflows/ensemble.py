"""`ensemble`: a classifier that reads forwards and one that reads backwards, joined into one model.

Howard and Ruder (2018), section 3: the two are trained each on its own, and their predictions averaged.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, as_flags, into_dataclasses, make_parser, settings_and_flags
from ..errors import UserError, listing
from ..hub.pushing import HubPushes
from ..loading.model import load_config, load_trained, shortest
from ..loading.tokenizer import load_tokenizer
from ..records.output_dir import for_output_dir, staged
from ..records.record import read_record
from ..tasks import task_for_model
from .lifecycle import Lifecycle, without_progress_bars
from .predictions import predict_in_order, save_predictions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..training.trainer import ToolkitTrainer

logger = logging.getLogger(__name__)

FAMILY = "awd_lstm"
_DIRECTIONS = ("forward", "backward")
# What decides the shapes of the weights, how they are used, and what the answers mean.
_SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "classifier_hidden_size")
_ALIKE = (*_SIZES, "max_backprop_tokens", "problem_type")


_OF_THE_DATASET = ("dataset_config_name", "dataset_revision", "stream_rows")
# The task and the length of texts are told from the members themselves.
_TAKEN = ({f.name for f in dataclasses.fields(DataArguments)} | {"seed"}) - {"task", "max_length"}


class Member(NamedTuple):
    """A classifier of one direction, and where it came from."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass
class EnsembleArguments:
    """Members: output folders of finetune, or Hub ids"""

    forward: str | None = flag("The awd_lstm classifier with direction=forward.")
    backward: str | None = flag("The awd_lstm classifier with direction=backward.")


class EnsembleRequest(NamedTuple):
    """All arguments of an ensemble."""

    ensemble: EnsembleArguments
    data: DataArguments
    run: RunArguments


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
    return Ensembling(request).run()


class Ensembling(Lifecycle[EnsembleRequest]):
    """Both members and the ensemble of them, on the same rows. Nothing is trained."""

    tokenizer: PreTrainedTokenizerBase
    trainer: ToolkitTrainer

    @property
    def names(self) -> list[str]:
        """The members, forward and backward."""
        return [str(self.arguments.ensemble.forward), str(self.arguments.ensemble.backward)]

    @property
    def sources(self) -> list[str | None]:
        return [*self.names, self.arguments.data.dataset_name]

    def prepare(self) -> None:
        from datasets import DatasetDict

        data = self.arguments.data
        self.members = [_load(name, direction) for name, direction in zip(self.names, _DIRECTIONS, strict=True)]
        self.joined = join(*self.members)
        self.tokenizer = self.members[0].tokenizer
        self.task = task_for_model(data, self.joined.config)
        known = self.task.labels
        splits = self.task.prepare(self.args.seed)
        if self.task.labels != known:
            raise UserError(
                f"The dataset {data.dataset_name!r} has the labels {listing(self.task.labels or ())}, but the members "
                f"answer with {listing(known or ())}. Give the dataset and the --label_column that they were trained "
                "on."
            )
        limits = [member.tokenizer.model_max_length for member in self.members]
        if limits[0] != limits[1] and data.max_length is None:
            raise UserError(
                f"The members were trained on texts cut to {limits[0]:,} and {limits[1]:,} tokens. Say with "
                "--max_length how long they may be here."
            )
        max_length = shortest(data.max_length, limits[0])
        self.splits = DatasetDict({split: splits[split] for split in ("validation", "test")})
        self.encoded = self.task.encode(self.splits, self.tokenizer, max_length)
        self.tokenizer.model_max_length = max_length or self.tokenizer.model_max_length

    def build(self) -> PreTrainedModel:
        return self.joined

    def make_trainer(self) -> ToolkitTrainer:
        return self._trainer_of(self.joined)

    def _trainer_of(self, model: PreTrainedModel) -> ToolkitTrainer:
        from ..training.trainer import ToolkitTrainer

        return ToolkitTrainer(
            model,
            self.args,
            task=self.task,
            data_collator=self.task.collator(self.tokenizer, model),
            processing_class=self.tokenizer,
            publisher=HubPushes,
        )

    def describe(self) -> dict[str, Any]:
        return {
            **self.task.record(),
            "name": self.args.name or "ensemble",
            "model": {
                "model_type": FAMILY,
                "model_name_or_path": None,
                "class": type(self.model).__name__,
                "tokenizer": self.names[0],
                "vocab_size": len(self.tokenizer),
            },
            "strategy": {"name": "ensemble"},
        }

    def work(self) -> None:
        began = time.perf_counter()
        self.results = self._evaluated(self.trainer)
        self.seconds = time.perf_counter() - began

    def _evaluated(self, trainer: ToolkitTrainer) -> dict[str, tuple[Any, dict[str, float]]]:
        """Answers and metrics by split."""
        return {split: predict_in_order(trainer, rows) for split, rows in self.encoded.items()}

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {split: metrics for split, (_, metrics) in self.results.items()}

    def save(self) -> None:
        if self.trainer.is_world_process_zero():
            with staged(self.output_dir) as folder:
                self.model.save_pretrained(folder)
                self.tokenizer.save_pretrained(folder)

    def findings(self) -> dict[str, Any]:
        """What the members reach alone, and the ensemble's predictions."""
        alone = [self._evaluated(self._trainer_of(member.model)) for member in self.members]
        self.described = [
            _describe(member, direction, {split: metrics for split, (_, metrics) in own.items()})
            for member, direction, own in zip(self.members, _DIRECTIONS, alone, strict=True)
        ]
        found: dict[str, Any] = {"members": self.described}
        if self.trainer.is_world_process_zero():
            answers = {split: answers for split, (answers, _) in self.results.items()}
            found["predictions"] = save_predictions(self.task, self.splits, answers, self.output_dir)
        return found

    def cost(self) -> dict[str, Any]:
        rows = sum(len(split) for split in self.encoded.values())
        train_seconds = [member["train_seconds"] for member in self.described]
        return {
            "parameters": {"total": sum(parameter.numel() for parameter in self.model.parameters()), "trained": 0},
            "train_seconds": None if None in train_seconds else sum(train_seconds),  # of both members
            "evaluate_seconds": self.seconds,
            "examples_per_second": rows / self.seconds,
            "tokens_per_second": sum(sum(split["length"]) for split in self.encoded.values()) / self.seconds,
            "peak_memory_bytes": self.peak["bytes"],
            "steps": 0,
            "epochs": 0.0,
        }


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


def _describe(member: Member, direction: str, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What the record says of a member: its metrics on these rows, and what its own record says that it cost."""
    own = read_record(Path(member.name)) or {}
    return {
        "name": own.get("name", member.name),
        "direction": direction,
        "model_name_or_path": member.name,
        "metrics": metrics,
        "train_seconds": (own.get("cost") or {}).get("train_seconds"),
    }


def parse_ensemble_arguments(given: Given = None, help: Help = Help("ensemble")) -> EnsembleRequest:
    """The arguments of `ensemble`.

    Dataset, columns, budgets and seed default to those in the forward member's record, so that the ensemble is
    evaluated on the rows that the member was selected and reported on. If a dataset is given, its configuration and
    revision are not taken from the record.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a missing member.
    """
    kinds = (EnsembleArguments, DataArguments, RunArguments)
    parser = make_parser(help, kinds)
    # The saved tokenizers know to what length texts were cut in training.
    parser.set_defaults(max_length=None, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    flags = settings_and_flags(parser, given)
    asked, _ = parser.parse_known_args(flags)
    for direction in ("forward", "backward"):
        if getattr(asked, direction) is None:
            raise UserError(f"tl-toolkit ensemble needs --{direction}: the output folder of finetune, or a Hub id.")
    if asked.find_lr:
        raise UserError("--find_lr does not apply to ensemble, which trains nothing.")
    recorded = [_recorded(name) for name in (asked.forward, asked.backward)]
    _warn_of_other_rows(*recorded)
    kept = {
        key: value
        for key, value in (recorded[0] or {}).items()
        if asked.dataset_name is None or key not in _OF_THE_DATASET
    }
    return EnsembleRequest(*into_dataclasses(parser, [*as_flags(kept, parser, str(asked.forward)), *flags], kinds))


def _recorded(member: str) -> dict[str, Any] | None:
    """What the record of a member says of its rows; None without one."""
    record = read_record(Path(member))
    return record and {key: value for key, value in record["arguments"].items() if key in _TAKEN}


def _warn_of_other_rows(forward: dict[str, Any] | None, backward: dict[str, Any] | None) -> None:
    if forward is None or backward is None:
        return
    differing = [key for key in {**forward, **backward} if forward.get(key) != backward.get(key)]
    if differing:
        logger.warning(
            "The members were trained with different %s: a validation row of one may be a training row of the other, "
            "so go by the test rows.",
            listing(differing),
        )
