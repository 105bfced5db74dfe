"""`ensemble`: join a forward and a backward classifier into one model that averages their predictions.

Howard and Ruder (2018), section 3. The two members are trained independently.
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
from ..records.identity import rows_of, write_identity
from ..records.output_dir import for_output_dir, staged
from ..records.record import read_record
from ..tasks import task_for_model
from .lifecycle import Lifecycle, without_progress_bars
from .predictions import predict_in_order, save_predictions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..training.trainer import ToolkitTrainer

logger = logging.getLogger(__name__)

FAMILIES = ("awd_lstm", "rnn")
_DIRECTIONS = ("forward", "backward")
_SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "classifier_hidden_size", "cell_type")
# Configuration fields in which both members must agree: weight shapes, how they are used, the meaning of predictions.
_SHARED = (*_SIZES, "pooling", "max_backprop_tokens", "problem_type")
_DATASET_FLAGS = ("dataset_config_name", "dataset_revision", "stream_rows")
# Flags that default to the forward member's record. Task and length come from the members' models and tokenizers, and
# class weights are for training.
_RECORDED = ({f.name for f in dataclasses.fields(DataArguments)} | {"seed"}) - {"task", "max_length", "class_weight"}


class Member(NamedTuple):
    """A classifier of one direction, and the folder or Hub id it came from."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass
class EnsembleArguments:
    """Members: output folders of finetune, or Hub ids"""

    forward: str | None = flag("The awd_lstm or rnn classifier with direction=forward.")
    backward: str | None = flag("The classifier of the same family with direction=backward.")


class EnsembleRequest(NamedTuple):
    """All arguments of an ensemble."""

    ensemble: EnsembleArguments
    data: DataArguments
    run: RunArguments


@without_progress_bars()
@for_output_dir
def ensemble(request: EnsembleRequest) -> dict[str, Any]:
    """Join the two members without training, and evaluate them and the ensemble on the same rows.

    Writes the model folder, the ensemble's predictions and `result.json` to `output_dir`.

    Returns:
        The result record. Its `members` contain the metrics of the forward and the backward classifier.

    Raises:
        UserError: the members do not fit together, or the dataset does not fit them.
    """
    return Ensembling(request).run()


class Ensembling(Lifecycle[EnsembleRequest]):
    """Evaluation of both members and their ensemble on the same rows, without training."""

    tokenizer: PreTrainedTokenizerBase
    trainer: ToolkitTrainer

    @property
    def names(self) -> list[str]:
        """The folders or Hub ids of the forward and the backward member."""
        return [str(self.arguments.ensemble.forward), str(self.arguments.ensemble.backward)]

    @property
    def sources(self) -> list[str | None]:
        return [*self.names, self.arguments.data.dataset_name]

    def prepare(self) -> None:
        from datasets import DatasetDict

        data = self.arguments.data
        self.members = [_load(name, direction) for name, direction in zip(self.names, _DIRECTIONS, strict=True)]
        self.joined = join(*self.members)
        self.tokenizer = self.processing = self.members[0].tokenizer
        self.task = task_for_model(data, self.joined.config)
        known = self.task.labels
        splits = self.task.prepare(self.args.seed)
        if self.task.labels != known:
            raise UserError(
                f"The dataset {data.dataset_name!r} has the labels {listing(self.task.labels or ())}, but the members "
                f"predict {listing(known or ())}. Specify the dataset and the --label_column that they were trained on."
            )
        limits = [member.tokenizer.model_max_length for member in self.members]
        if limits[0] != limits[1] and data.max_length is None:
            raise UserError(
                "Specify --max_length: the members were trained on texts truncated to different lengths, "
                f"{limits[0]:,} and {limits[1]:,} tokens."
            )
        self.max_length = max_length = shortest(data.max_length, limits[0])
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
                "model_type": self.joined.config.model_type,
                "model_name_or_path": None,
                "class": type(self.model).__name__,
                "tokenizer": self.names[0],
                "vocab_size": len(self.tokenizer),
            },
            "strategy": {"name": "ensemble"},
        }

    def rows(self) -> dict[str, Any]:
        return {role: rows_of(split) for role, split in self.splits.items()}

    def work(self) -> None:
        began = time.perf_counter()
        self.results = self._evaluated(self.trainer)
        self.seconds = time.perf_counter() - began

    def _evaluated(self, trainer: ToolkitTrainer) -> dict[str, tuple[Any, dict[str, float]]]:
        """Raw predictions and metrics by split."""
        return {split: predict_in_order(trainer, rows) for split, rows in self.encoded.items()}

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {split: metrics for split, (_, metrics) in self.results.items()}

    def save(self) -> None:
        if self.trainer.is_world_process_zero():
            with staged(self.output_dir) as folder:
                self.model.save_pretrained(folder)
                self.tokenizer.save_pretrained(folder)
                write_identity(folder, self.trainer.identity or {})

    def findings(self) -> dict[str, Any]:
        """Evaluate the members alone, and save the ensemble's predictions."""
        alone = [self._evaluated(self._trainer_of(member.model)) for member in self.members]
        self.described = [
            _describe(member, direction, {split: metrics for split, (_, metrics) in own.items()})
            for member, direction, own in zip(self.members, _DIRECTIONS, alone, strict=True)
        ]
        found: dict[str, Any] = {"members": self.described}
        if self.trainer.is_world_process_zero():
            predicted = {split: predictions for split, (predictions, _) in self.results.items()}
            found["predictions"] = save_predictions(self.task, self.splits, predicted, self.output_dir)
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
    """A model with `direction="both"` and the weights of both members, in evaluation mode.

    Raises:
        UserError: the members differ in family, labels, sizes or vocabularies.
    """
    first, second = forward.model.config, backward.model.config
    labels = [[str(name) for _, name in sorted(config.id2label.items())] for config in (first, second)]
    if labels[0] != labels[1]:
        raise UserError(
            f"The members have different labels: {listing(labels[0])} in {forward.name!r}, {listing(labels[1])} in "
            f"{backward.name!r}. Train both on the same dataset and label column."
        )
    for key in ("model_type", *_SHARED):
        own, other = getattr(first, key, None), getattr(second, key, None)
        if own != other:
            raise UserError(
                f"The members differ in {key}: {own!r} in {forward.name!r}, {other!r} in {backward.name!r}. Train both "
                f"with the same {key}."
            )
    if _vocabulary(forward.tokenizer) != _vocabulary(backward.tokenizer):
        raise UserError(
            f"The members {forward.name!r} and {backward.name!r} have different tokenizers. Train the backward member "
            f"with --tokenizer_name {forward.name!r}."
        )
    config = type(first).from_dict({**first.to_dict(), "direction": "both"})
    model = type(forward.model)(config)
    for member, direction in ((forward, "forward"), (backward, "backward")):
        if first.model_type == "rnn":
            model.get_submodule(f"{direction}_member").load_state_dict(member.model.state_dict())
        else:  # the names start with the direction
            _, others = model.load_state_dict(member.model.state_dict(), strict=False)
            assert not others
    return model.eval()


def _load(name: str, direction: str) -> Member:
    """Load a member, after checking that it is a recurrent classifier that reads in `direction`."""
    arguments = ModelArguments(model_name_or_path=name)
    config = load_config(arguments)
    if config.model_type not in FAMILIES:
        raise UserError(
            f"--{direction} {name!r} is a model of the family {config.model_type!r}, but only models of the families "
            f"{listing(FAMILIES)} can be joined. For other models, average the scores in their predictions_*.parquet "
            "files."
        )
    reads = "both" if getattr(config, "bidirectional", False) else config.direction
    if reads != direction:
        raise UserError(
            f"--{direction} {name!r} is a model that reads {reads!r}. Use one that was trained with "
            f"--config_overrides direction={direction}."
        )
    tokenizer = load_tokenizer(arguments)
    return Member(name, load_trained(arguments, "AutoModelForSequenceClassification", tokenizer), tokenizer)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> Any:
    """A comparable description of a tokenizer: all that affects its tokens, without truncation and padding."""
    if not tokenizer.is_fast:
        return tokenizer.get_vocab()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in content.items() if key not in ("truncation", "padding")}


def _describe(member: Member, direction: str, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The entry of a member in the record: its `metrics` on these rows, and its name and training time."""
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

    Dataset, columns, budgets and seed default to those in the forward member's record, so the ensemble is evaluated on
    the member's own validation and test rows. If `given` names a dataset, its configuration and revision do not come
    from the record.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a missing member.
    """
    kinds = (EnsembleArguments, DataArguments, RunArguments)
    parser = make_parser(help, kinds)
    # The saved tokenizers contain the maximum length of training.
    parser.set_defaults(max_length=None, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    flags = settings_and_flags(parser, given)
    parsed, _ = parser.parse_known_args(flags)
    for direction in _DIRECTIONS:
        if getattr(parsed, direction) is None:
            raise UserError(f"tl-toolkit ensemble needs --{direction}: the output folder of finetune, or a Hub id.")
    if parsed.find_lr:
        raise UserError("--find_lr does not apply to ensemble, which trains nothing.")
    recorded = [recorded_rows(name) for name in (parsed.forward, parsed.backward)]
    _warn_about_other_rows(*recorded)
    kept = {
        key: value
        for key, value in (recorded[0] or {}).items()
        if parsed.dataset_name is None or key not in _DATASET_FLAGS
    }
    return EnsembleRequest(*into_dataclasses(parser, [*as_flags(kept, parser, str(parsed.forward)), *flags], kinds))


def recorded_rows(member: str) -> dict[str, Any] | None:
    """The settings in a model's record that choose its rows; None without a record."""
    record = read_record(Path(member))
    return record and {key: value for key, value in record["arguments"].items() if key in _RECORDED}


def _warn_about_other_rows(forward: dict[str, Any] | None, backward: dict[str, Any] | None) -> None:
    if forward is None or backward is None:
        return
    differing = [key for key in {**forward, **backward} if forward.get(key) != backward.get(key)]
    if differing:
        logger.warning(
            "The members were trained with different %s. Validation rows of one may be training rows of the other, so "
            "rely on the metrics of the test rows.",
            listing(differing),
        )
