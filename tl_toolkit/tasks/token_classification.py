"""Token classification: one tag for each word of a sentence, such as parts of speech or names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..config.overrides import parse_overrides
from ..data.encoding import longest_input
from ..data.rows_on_disk import as_dataset
from ..data.special_column_roles import WordColumns, find_word_columns
from ..errors import UserError
from ..metrics.entities import entities, entity_scores, entity_types, tag_scheme
from ..metrics.scores import class_score, constant_answer
from .base import Answers, RowTask, check_rows, classes_of
from .labels import NamedLabels, class_names
from .words import (
    IGNORED,
    WordCollator,
    as_read,
    encode_words,
    read_word_tags,
    read_words,
    reading_words,
    tag_ids,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import ModelArguments

logger = logging.getLogger(__name__)

_BATCH = 1000
# The prediction for a truncated word, which is not a valid tag.
_TRUNCATED = -1


class TokenClassification(RowTask):
    """A tag for each word of a sentence, scored by accuracy and, if tags mark entities, by precision, recall and F1.

    Rows have the columns `row`, `words` and, unless they are only for prediction, `tags` (class ids). Every model is
    scored on the same words: for a word of several tokens, the prediction for the first token counts, and truncated
    words count as wrong.
    """

    name = "token-classification"
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    collated_columns: ClassVar[tuple[str, ...]] = ("pieces",)
    target: ClassVar[str] = "tags"
    texts: ClassVar[tuple[str, ...]] = ("words",)
    columns: WordColumns
    labels: list[str]
    scheme: str | None = None
    _has_crf = False
    _has_characters = False
    _character_vocabulary = ""

    has_classes = True

    @property
    def default_metric(self) -> str:  # type: ignore[override]
        return "f1" if self.scheme else "accuracy"

    @property
    def metric_names(self) -> Sequence[str]:  # type: ignore[override]
        return ("accuracy", *(("f1", "precision", "recall") if self.scheme else ()))

    @property
    def scored_classes(self) -> list[str]:
        """The types of the entities, or the tags if they mark none."""
        return entity_types(self.labels) if self.scheme else self.labels

    # Rows

    def _find_columns(self, features: Any, required: bool = True) -> WordColumns:
        return find_word_columns(features, self.arguments, label_required=required)

    def _roles(self) -> dict[str, str | None]:
        return {"text": self.columns.text, "text_pair": None, "label": self.columns.label}

    def _has_targets(self, role: str, split: Dataset) -> bool:
        return self.columns.label in split.column_names

    def _read_inputs(self, split: Dataset, name: str) -> Any:
        return read_words(split, name, self.columns.text)

    def _read_targets(self, split: Dataset, name: str, inputs: Any) -> tuple[NamedLabels, np.ndarray]:
        tags = read_word_tags(split, name, self.columns, inputs)
        return tags, tags.labelled

    def _learn(self, targets: list[NamedLabels]) -> None:
        self.labels = class_names(targets)

    def _encode(self, targets: NamedLabels, name: str) -> list[np.ndarray]:
        return tag_ids(targets, self.labels, f"Split {name!r}")

    def _training_facts(self, targets: list[np.ndarray], rows: np.ndarray) -> dict[str, Any]:
        tags = [targets[row] for row in rows]
        if not sum(map(len, tags)):
            raise UserError(f"No training row has any words in column {self.columns.text!r}.")
        self.scheme = tag_scheme(self.labels, ([self.labels[index] for index in own] for own in tags))
        facts = {"constant_answer": constant_answer(np.concatenate(tags)), "tag_scheme": self.scheme}
        counts = np.bincount(np.concatenate(tags), minlength=len(self.labels))
        return {**facts, **self._set_class_weights(counts)}

    def _rows(self, inputs: Any, targets: list[np.ndarray] | None, rows: np.ndarray) -> Dataset:
        import pyarrow as pa

        columns = {"row": pa.array(rows.astype(np.int64)), "words": inputs.take(pa.array(rows))}
        if targets is not None:
            columns["tags"] = pa.array([targets[row] for row in rows], pa.list_(pa.int32()))
        return as_dataset(pa.table(columns))

    def _adopt(self, config: PreTrainedConfig) -> None:
        self.labels = classes_of(config)
        self.scheme = tag_scheme(self.labels)
        self._see_config(config)

    def _see_config(self, config: PreTrainedConfig, overrides: Any = ()) -> None:
        """Store the model settings that affect inputs and loss: characters and a CRF."""
        of = {**config.to_dict(), **dict(overrides)}
        self._has_crf = bool(of.get("crf"))
        self._has_characters = of.get("character_encoder", "none") != "none"

    # From rows to model inputs

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> PreTrainedTokenizerBase:
        """The tokenizer; for a model from scratch one of whole words (`whitespace`), unless another is named."""
        from ..loading.model import load_config
        from ..loading.tokenizer import make_tokenizer

        config = load_config(arguments)
        self._see_config(config, parse_overrides(arguments.config_overrides, type(config)))
        if self._has_characters:
            self._character_vocabulary = _characters(splits["train"]["words"], arguments.tokenizer_min_frequency)
        if arguments.model_type and not arguments.tokenizer_name:
            arguments = replace(arguments, tokenizer_name="whitespace")
        texts = (" ".join(map(as_read, words)) for words in splits["train"]["words"])
        return reading_words(make_tokenizer(arguments, lambda: texts, self.arguments.max_length))

    def load_processing(self, arguments: ModelArguments) -> PreTrainedTokenizerBase:
        from ..loading.tokenizer import load_tokenizer

        return reading_words(load_tokenizer(arguments))

    def config_arguments(self, processing: PreTrainedTokenizerBase) -> dict[str, Any]:
        """The tags by id and by name, and the characters of the training words if the model reads characters."""
        characters = {"character_vocabulary": self._character_vocabulary} if self._character_vocabulary else {}
        return {**self._class_arguments(), **characters}

    def encode(self, dataset: DatasetDict, processing: PreTrainedTokenizerBase, max_length: int | None) -> DatasetDict:
        """Token ids of every split, truncated to `max_length`, and the columns that are needed to score words.

        Columns: the tokenizer's outputs, `length`, `is_cut` (whether words were truncated), `places` (the first token
        of each other word); with tags, `labels` (per token: the tag of the word that starts there, or -100) and `tags`
        (per word, including truncated words); for models that read characters, `pieces` (per token: the word that
        starts there).
        """
        from datasets import DatasetDict

        longest_input(processing, max_length)  # raises an error if max_length leaves no room for a word
        self._processing, self._max_length = processing, max_length
        return DatasetDict({name: self._encode_split(split) for name, split in dataset.items()})

    def _encode_split(self, split: Dataset) -> Dataset:
        import pyarrow as pa

        columns: dict[str, list[Any]] = {"length": [], "places": [], "is_cut": []}
        tagged = "tags" in split.column_names
        for start in range(0, len(split), _BATCH):
            batch = split[start : start + _BATCH]
            for place, one in enumerate(encode_words(batch["words"], self._processing, self._max_length)):
                length = len(one.inputs["input_ids"])
                is_cut = len(one.places) < len(batch["words"][place])
                own = {**one.inputs, "length": length, "places": one.places, "is_cut": is_cut}
                for name, values in own.items():
                    columns.setdefault(name, []).append(values)
                if tagged:
                    tags = batch["tags"][place]
                    columns.setdefault("tags", []).append(tags)
                    columns.setdefault("labels", []).append(_at(one.places, tags, length, IGNORED))
                if self._has_characters:
                    words = [as_read(word) for word in batch["words"][place]]
                    columns.setdefault("pieces", []).append(_at(one.places, words, length, ""))
        types = {
            "length": pa.int32(),
            "is_cut": pa.bool_(),
            "labels": pa.list_(pa.int64()),
            "pieces": pa.list_(pa.string()),
        }
        arrays = {name: pa.array(own, types.get(name, pa.list_(pa.int32()))) for name, own in columns.items()}
        return as_dataset(pa.table(arrays))

    def collator(self, processing: PreTrainedTokenizerBase, model: Any) -> WordCollator:
        """A collator that pads tokens, labels and characters."""
        vocabulary = getattr(model.config, "character_vocabulary", "") if self._has_characters else ""
        return WordCollator(processing, vocabulary)

    # Loss and predictions

    def loss(self, label_smoothing: float) -> Callable[..., Tensor] | None:
        """The cross-entropy of the labelled tokens; a CRF has its own loss, without label smoothing."""
        from .losses import token_mean_loss

        if self._has_crf and label_smoothing:
            raise UserError(
                f"--label_smoothing_factor is {label_smoothing:g}, but a model with a conditional random field "
                "(crf=true in --config_overrides) scores whole tag sequences, whose labels cannot be smoothed: remove "
                "one of the two."
            )
        if self._has_crf and self.class_weights is not None:
            raise UserError(
                f"--class_weight {self.arguments.class_weight} does not apply to a model with a conditional random "
                "field (crf=true in --config_overrides), which scores whole tag sequences: remove one of the two."
            )
        return None if self._has_crf else token_mean_loss(label_smoothing, self.class_weights)

    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The predicted tag of each token (rows, time), and the summed loss of each row (rows,), 0 without labels.

        Both come from the model's `predicted_tags` and `log_likelihood` if it has them, else from the logits.
        """
        from .losses import row_losses

        logits = outputs["logits"]
        tags = outputs["predicted_tags"] if "predicted_tags" in outputs else logits.argmax(dim=-1)
        if labels is None:
            return tags, logits.new_zeros(len(logits))
        own = outputs.get("log_likelihood")
        return tags, row_losses(logits, labels) if own is None else -own

    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """The mean loss per label, accuracy over all words, and the entity scores."""
        assert rows is not None
        tags, losses = answers
        predicted = _word_predictions(tags, rows["places"], map(len, rows["tags"]))
        expected = [np.asarray(own) for own in rows["tags"]]
        right = sum(int((own == true).sum()) for own, true in zip(predicted, expected, strict=True))
        result = {
            "loss": float(losses.astype(np.float64).sum() / max(1, int((labels != IGNORED).sum()))),
            "accuracy": right / max(1, sum(map(len, expected))),
        }
        if self.scheme:
            result |= self._entity_scores(predicted, expected)
        if (of_class := self.metric_of_class()) is not None:
            score, name = of_class
            if self.scheme:
                result[self.main_metric] = self._entity_scores(predicted, expected, name)[score]
            else:
                words = np.concatenate(predicted), np.concatenate(expected)
                result[self.main_metric] = class_score(score, *words, self.labels.index(name))
        return result

    def _entity_scores(
        self, predicted: list[np.ndarray], expected: list[np.ndarray], kind: str | None = None
    ) -> dict[str, float]:
        return entity_scores(map(self._named, predicted), map(self._named, expected), kind)._asdict()  # type: ignore[arg-type]

    def details(self, answers: Answers, split: Dataset) -> dict[str, Any]:
        """The entity types, or the tags, that occur in the split and are never predicted."""
        frame = self.predictions(answers, split)
        found, expected = (
            {name for tags in frame[column] for name in self._classes_in(tags)} for column in ("prediction", "label")
        )
        return {"never_predicted": [name for name in self.scored_classes if name in expected - found]}

    def _classes_in(self, tags: Sequence[str | None]) -> Iterable[str | None]:
        return (entity.type for entity in entities(tags)) if self.scheme else tags

    def _named(self, ids: np.ndarray) -> list[str | None]:
        return [self.labels[index] if index != _TRUNCATED else None for index in ids]

    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """`row`, `words`, `label` if there are tags, and `prediction`: names of tags, None for truncated words."""
        import pandas as pd

        tags, _ = answers
        check_rows(len(tags), len(split))
        columns: dict[str, Any] = {"row": split["row"], "words": split["words"]}
        if "tags" in split.column_names:
            columns["label"] = [self._named(own) for own in split["tags"]]
        places = [
            one.places
            for start in range(0, len(split), _BATCH)
            for one in encode_words(split[start : start + _BATCH]["words"], self._processing, self._max_length)
        ]
        predicted = _word_predictions(tags, places, map(len, split["words"]))
        return pd.DataFrame({**columns, "prediction": [self._named(own) for own in predicted]})


def _characters(sentences: Iterable[list[str]], min_frequency: int) -> str:
    """The characters of the words, the most frequent first."""
    counts = Counter(character for words in sentences for word in words for character in as_read(word))
    frequent = [character for character, count in counts.items() if count >= min_frequency]
    return "".join(sorted(frequent or counts, key=lambda character: (-counts[character], character)))


def _at(places: list[int], values: list[Any], length: int, elsewhere: Any) -> list[Any]:
    """A list of `length` with the first values at `places` and `elsewhere` at other positions."""
    row = [elsewhere] * length
    for place, value in zip(places, values, strict=False):  # truncated words leave extra values
        row[place] = value
    return row


def _word_predictions(tags: np.ndarray, places: Iterable[list[int]], lengths: Iterable[int]) -> list[np.ndarray]:
    """The prediction for each word of each row, from those for its tokens."""
    predictions = []
    for row, own, length in zip(tags, places, lengths, strict=True):
        prediction = np.full(length, _TRUNCATED)
        prediction[: len(own)] = row[own]
        predictions.append(prediction)
    return predictions
