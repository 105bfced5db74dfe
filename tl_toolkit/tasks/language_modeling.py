"""Language modelling: the texts for training, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.column_roles import check_texts, find_columns
from ..data.sources import Source, load_source
from ..data.splits import find_split, hold_out
from ..errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..config.arguments import DataArguments

CAUSAL, MASKED = "causal-lm", "masked-lm"
NAMES = {CAUSAL: "causal-language-modeling", MASKED: "masked-language-modeling"}
AUTO_CLASSES = {CAUSAL: "AutoModelForCausalLM", MASKED: "AutoModelForMaskedLM"}
_EVALUATED = ("validation", "test")


class LanguageModeling:
    """Texts for language modelling; labels are ignored.

    Training may use several splits. The validation and test splits are only used for evaluation.

    Args:
        kind: "causal-lm" or "masked-lm".
    """

    greater_is_better = False

    def __init__(self, arguments: DataArguments, kind: str) -> None:
        self.arguments, self.kind = arguments, kind
        self.name, self.auto_class = NAMES[kind], AUTO_CLASSES[kind]
        # Ranks models with the same tokens as the loss does, and is also comparable between tokenizers.
        self.main_metric = "bits_per_byte" if kind == CAUSAL else "loss"
        self._record: dict[str, Any] = {}

    def prepare(self, seed: int, *, evaluate_only: bool = False, shuffle: bool = False) -> DatasetDict:
        """Load and check the texts.

        Without a validation split, some training texts are held out with the seed. Without a test split, there is no
        test part.

        Args:
            evaluate_only: load no training texts, only the validation and test splits that exist.
            shuffle: shuffle the training texts with the seed.

        Returns:
            "train" and "validation", and "test" if it exists, each with `text`.

        Raises:
            UserError: the source, columns, texts or splits are not valid.
        """
        from datasets import DatasetDict

        if self.arguments.group_column is not None:
            raise UserError("--group_column does not apply to language models, whose rows are documents: leave it out.")
        source = load_source(self.arguments)
        names = list(source.dataset)
        evaluated = {
            role: find_split(names, role, getattr(self.arguments, f"{role}_split_name")) for role in _EVALUATED
        }
        roles = {role: [name] for role, name in evaluated.items() if name is not None}
        if not evaluate_only:
            roles = {"train": self._training_splits(names), **roles}
        self._check_apart(roles, names)
        self.column = find_columns(
            source.dataset[next(iter(roles.values()))[0]].features,
            text_column=self.arguments.text_column,
            label_column=self.arguments.label_column,
            label_required=False,
        ).text
        texts = {role: self._texts(source, splits) for role, splits in roles.items()}
        origins = {role: role for role in texts}
        if "validation" not in texts and not evaluate_only:
            if len(texts["train"]) < 2:
                raise UserError(
                    f"The dataset {self.arguments.dataset_name!r} has one text and no validation split, so no text can "
                    "be held out for evaluation. Name a split with --validation_split_name."
                )
            fraction = self.arguments.validation_fraction
            kept, held = hold_out(np.zeros(len(texts["train"]), np.int64), fraction, seed)
            texts["train"], texts["validation"] = texts["train"].select(kept), texts["train"].select(held)
            origins["validation"] = "train"
        if shuffle and not evaluate_only:
            texts["train"] = texts["train"].select(np.random.default_rng([seed, 3]).permutation(len(texts["train"])))
        self.describe(source.record, roles, origins)
        return DatasetDict(texts)

    def _training_splits(self, names: list[str]) -> list[str]:
        named = self.arguments.train_split_name
        whole = named is None or named in names
        requested = [named] if whole else [part.strip() for part in str(named).split(",") if part.strip()]
        found = dict.fromkeys(find_split(names, "train", part) for part in requested)
        splits = [name for name in found if name is not None]
        if not splits:
            raise UserError(
                f"The dataset {self.arguments.dataset_name!r} has no split to train on; name one or more of "
                f"{listing(names)} with --train_split_name, separated by commas."
            )
        return splits

    def _check_apart(self, roles: dict[str, list[str]], names: list[str]) -> None:
        if not roles:
            raise UserError(
                f"The dataset {self.arguments.dataset_name!r} has no validation or test split to evaluate on; name one "
                f"of {listing(names)} with --test_split_name."
            )
        for name in names:
            if len(twice := [role for role, splits in roles.items() if name in splits]) > 1:
                raise UserError(f"The split {name!r} is used for {' and '.join(twice)}: each needs its own texts.")

    def _texts(self, source: Source, splits: list[str]) -> Dataset:
        import pyarrow as pa
        from datasets import Dataset

        columns = []
        for name in splits:
            check_texts(source.dataset[name], name, [self.column])
            column = source.dataset[name].select_columns([self.column]).with_format("arrow")[:].column(0)
            columns += column.cast(pa.large_string()).chunks
        return Dataset(pa.table({"text": pa.chunked_array(columns, type=pa.large_string())}))

    def describe(self, source: dict[str, Any], roles: dict[str, list[str]], origins: dict[str, str]) -> None:
        """Set the record.

        Args:
            source: the record of the source.
            roles: the splits of each role.
            origins: for each role with texts, the role whose splits they are from.
        """
        self._record = {
            "dataset": {
                **source,
                "columns": {"text": self.column, "text_pair": None, "label": None},
                "splits": roles,
                "validation_from": origins.get("validation"),
                "test_from": origins.get("test"),
            },
            "task": {
                "name": self.name,
                "problem_type": None,
                "labels": None,
                "main_metric": self.main_metric,
                "greater_is_better": self.greater_is_better,
            },
            "budget": {"label_budget": None, "validation_budget": None, "train_labels": 0, "validation_labels": 0},
        }

    def record(self) -> dict[str, Any]:
        """The sections "dataset", "task" and "budget" of the result record, after `prepare`. Texts need no labels."""
        return self._record
