"""What a distilled run has besides its labelled rows: texts without labels, and the logits of its teacher."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.arguments import Arguments, DataArguments, ModelArguments
from ..data.column_roles import find_columns
from ..data.sources import load_source
from ..data.splits import SYNONYMS
from ..errors import UserError, listing
from ..records.record import read_record
from ..strategies.distilled import MASK, Distilled, varied
from .predictions import answers_in_order
from .predictor import PredictArguments, PredictionArguments, Predictor

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase

    from ..tasks import Task

_PER_ROW = 20
"""Texts made from each labelled row, as in the paper."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Distillation:
    """The teacher and the texts of a distilled run.

    Attributes:
        texts: texts without labels, with `MASK` for masked words.
        seconds: of the teacher's predictions.

    Raises:
        UserError: the teacher cannot be used or has other classes, or the unlabelled dataset cannot be read.
    """

    def __init__(self, arguments: Arguments, strategy: Distilled, task: Task, splits: DatasetDict) -> None:
        self.strategy, self.task = strategy, task
        asked, name = arguments.strategy, str(arguments.strategy.teacher)
        model = ModelArguments(model_name_or_path=name, trust_remote_code=arguments.model.trust_remote_code)
        data = replace(arguments.data, max_length=None)
        self.teacher = Predictor(
            PredictionArguments(PredictArguments(), data, model, arguments.run.without_evaluation())
        )
        theirs, ours = self.teacher.task.labels or [], task.labels or []
        if sorted(theirs) != sorted(ours):
            raise UserError(
                f"The --teacher {name!r} predicts the classes {listing(theirs)}, but the dataset has {listing(ours)}: "
                "name a model that is trained on these classes."
            )
        self._order = [theirs.index(label) for label in ours]
        if asked.unlabelled_dataset is None:
            rows = splits["train"]["text"][:]
            self.texts = varied(rows, min(_PER_ROW * len(rows), asked.unlabelled_budget), arguments.run.seed)
        else:
            self.texts = _unlabelled(arguments, splits)
        self.seconds = 0.0
        record = read_record(Path(name)) or {}
        strategy.needed = {
            "teacher": {
                "name": record.get("entry") or record.get("name") or Path(name).name,
                "train_seconds": (record.get("cost") or {}).get("train_seconds"),
            },
            "unlabelled_texts": 0 if asked.unlabelled_dataset is None else len(self.texts),
            "generated_texts": len(self.texts) if asked.unlabelled_dataset is None else 0,
        }

    def with_texts(self, rows: Dataset) -> Dataset:
        """The text of `rows`, followed by the real texts without labels: what a vocabulary is learned from."""
        from datasets import Dataset

        texts = self.texts if self.strategy.needed["unlabelled_texts"] else []
        return Dataset.from_dict({"text": [*rows["text"], *texts]})

    def encoded(
        self, rows: Dataset, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int | None
    ) -> Dataset:
        """The encoded labelled rows and texts, with the column `teacher_logits`; labels are -100 for texts.

        Args:
            rows: the labelled rows.
            encoded: the same rows, encoded for the model.
            tokenizer: of the model.
            limit: the most tokens of a text.
        """
        from datasets import Dataset, DatasetDict, concatenate_datasets

        from ..training.distillation import COLUMN

        began = time.perf_counter()
        teacher = self.teacher

        def texts(own: PreTrainedTokenizerBase) -> Dataset:
            word = own.mask_token or own.unk_token or ""
            return Dataset.from_dict({"text": [text.replace(MASK, word) for text in self.texts]})

        asked = Dataset.from_dict({"text": [*rows["text"], *texts(teacher.tokenizer)["text"]]})
        logits, _ = answers_in_order(teacher.trainer, teacher.encode(asked))
        logits = np.asarray(logits, dtype=np.float32)[:, self._order]
        whole = encoded
        if self.texts:
            added = texts(tokenizer).add_column("label", [-100] * len(self.texts))
            whole = concatenate_datasets(
                [encoded, self.task.encode(DatasetDict({"texts": added}), tokenizer, limit)["texts"]]
            )
        self.seconds = time.perf_counter() - began
        del self.teacher
        return whole.add_column(COLUMN, list(logits))


def _unlabelled(arguments: Arguments, splits: DatasetDict) -> list[str]:
    """Texts of the splits of `--unlabelled_dataset` that are not for evaluation, without those of `splits`.

    A text with more words than the longest labelled row is cut at the ends of its sentences.
    """
    asked = arguments.strategy
    source = load_source(DataArguments(dataset_name=asked.unlabelled_dataset)).dataset
    evaluated = {*SYNONYMS["validation"], *SYNONYMS["test"]}
    names = [name for name in source if name.lower() not in evaluated] or list(source)
    column = arguments.data.text_column
    if column not in source[names[0]].features:
        column = find_columns(source[names[0]].features, label_required=False).text
    known = {text for split in splits.values() for text in split["text"]}
    rng = np.random.default_rng(arguments.run.seed)
    texts = [text for name in names for text in dict.fromkeys(source[name][column]) if text and text not in known]
    texts = [texts[place] for place in rng.permutation(len(texts))[: asked.unlabelled_budget]]
    longest = max(len(text.split()) for text in splits["train"]["text"])
    pieces = (_SENTENCE_END.split(text) if len(text.split()) > longest else [text] for text in texts)
    texts = [text for text in dict.fromkeys(itertools.chain.from_iterable(pieces)) if text not in known]
    if not texts:
        raise UserError(
            f"--unlabelled_dataset {asked.unlabelled_dataset!r} has no texts besides those of the labelled rows: leave "
            "it out, and texts are made from the labelled ones."
        )
    return [texts[place] for place in rng.permutation(len(texts))[: asked.unlabelled_budget]]
