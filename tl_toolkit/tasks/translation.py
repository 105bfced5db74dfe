"""Translation, and all other tasks that rewrite one text as another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.column_roles import check_texts
from ..data.encoding import encode_texts
from ..data.special_column_roles import PairColumns, find_pair
from .generation import GenerationTask
from .pair_processing import PairProcessing, load_pair_processing, make_pair_processing

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..config.arguments import ModelArguments


class Translation(GenerationTask):
    """One text from another by any encoder–decoder, scored by BLEU, chrF and exact matches of the generated text.

    Rows have the columns `row`, `source` and, unless they are only for prediction, `target`.
    """

    name = "translation"
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    texts: ClassVar[tuple[str, ...]] = ("source",)
    columns: PairColumns
    processing: PairProcessing

    # Rows

    def _find_columns(self, features: Any, required: bool = True) -> PairColumns:
        return find_pair(features, self.arguments, target_required=required)

    def _roles(self) -> dict[str, str | None]:
        return {"source": self.columns.source, "target": self.columns.target}

    def _read_inputs(self, split: Dataset, name: str) -> Dataset:
        """The columns `source` and `target` of a split, checked."""
        from datasets import Dataset

        columns = self.columns
        if columns.within is None:
            check_texts(split, name, [column for column in (columns.source, columns.target) if column is not None])
        else:
            check_texts(split, name, (), (columns.within,))
        texts = columns.read(split)
        for role, own in texts.items():  # texts can also be missing within nested structures
            column = str(self._roles()[role])
            check_texts(Dataset.from_dict({column: own}), name, [column])
        return Dataset.from_dict(texts)

    def _read_targets(self, split: Dataset, name: str, inputs: Dataset) -> tuple[None, np.ndarray]:
        return None, np.full(len(inputs), True)  # `_read_inputs` already reads and checks the targets

    def _known_targets(self, split: Dataset, name: str, inputs: Dataset) -> None:
        return None

    def _rows(self, inputs: Dataset, targets: None, rows: np.ndarray) -> Dataset:
        import pyarrow as pa
        from datasets import Dataset

        numbers = pa.array(rows.astype(np.int64))
        table = inputs.with_format("arrow")[:]
        return Dataset(pa.table({"row": numbers, **{name: table[name].take(numbers) for name in table.column_names}}))

    # From rows to model inputs

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> PairProcessing:
        """Create one tokenizer for both texts, or one for each, see `pair_processing`."""
        pairs = splits["train"]
        self.processing = make_pair_processing(arguments, pairs["source"], pairs["target"], self.arguments.max_length)
        return self.processing

    def load_processing(self, arguments: ModelArguments) -> PairProcessing:
        self.processing = load_pair_processing(arguments)
        return self.processing

    def encode(self, dataset: DatasetDict, processing: PairProcessing, max_length: int | None) -> DatasetDict:
        """Token ids, `length` and `is_cut` of the sources, and `labels` and `reference` if there are targets."""
        import pyarrow as pa
        from datasets import Dataset, DatasetDict

        encoded = {}
        for name, split in dataset.items():
            prefix = self.arguments.source_prefix or ""
            sources = Dataset.from_dict({"text": [prefix + text for text in split["source"]]})
            columns = encode_texts(sources, processing.tokenizer, max_length)
            if "target" in split.column_names:
                labels = processing.encode_targets(split["target"], max_length)
                columns["labels"] = pa.array(labels, type=pa.list_(pa.int64()))
                columns["reference"] = pa.array(split["target"], type=pa.large_string())
            encoded[name] = Dataset(pa.table(columns))
        return DatasetDict(encoded)

    def collator(self, processing: PairProcessing, model: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """A collator that pads sources and labels, and builds decoder inputs from labels as the model does."""
        from transformers import DataCollatorForSeq2Seq

        return DataCollatorForSeq2Seq(processing.tokenizer, model=model, label_pad_token_id=-100)

    # Predictions

    def _shown(self, split: Dataset) -> dict[str, Any]:
        """The columns `source` and, if there are targets, `reference`."""
        references = {"reference": split["target"]} if "target" in split.column_names else {}
        return {"source": split["source"], **references}
