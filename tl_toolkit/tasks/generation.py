"""The common part of tasks that generate texts token by token: the loss of tokens and the scores of texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..metrics.generation import scorers, signatures, text_scores
from .base import Answers, RowTask, check_rows

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import RunArguments

_SAMPLES = 10
# Beam search costs several times as much, and hardly changes which epoch is the best.
GREEDY = {"num_beams": 1, "do_sample": False}


class GenerationTask(RowTask):
    """Generated texts, scored by BLEU, chrF and exact matches.

    Encoded rows have the column `reference` with one or several texts in addition to `labels`; a frame of predictions
    has the columns `reference` and `prediction`. The processing has `decode` and `config_arguments`.
    """

    generates: ClassVar[bool] = True
    default_metric = "bleu"
    metric_names = ("bleu", "bleu_lowercase", "chrf", "exact_match")
    processing: Any

    def prepare(self, seed: int) -> DatasetDict:
        """As in `Task`. Each row counts as one label; budgeted and held-out rows are drawn at random."""
        scorers()  # an error if sacrebleu is not installed
        return super().prepare(seed)

    def tokenizer(self, processing: Any) -> PreTrainedTokenizerBase:
        """The tokenizer of the source texts; for captions, the only tokenizer."""
        return processing.tokenizer

    def config_arguments(self, processing: Any) -> dict[str, Any]:
        return processing.config_arguments()

    def decode(self, generated: np.ndarray) -> list[str]:
        """The texts of generated ids (rows, time), padded with -100 at the end."""
        return self.processing.decode(generated)

    def loss(self, label_smoothing: float) -> Callable[..., Tensor]:
        """The mean cross-entropy of the target tokens over a whole batch."""
        from .losses import token_mean_loss

        return token_mean_loss(label_smoothing)

    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Tensor:
        """The summed loss of each row (rows,), under teacher forcing."""
        from .losses import row_losses

        assert labels is not None  # without targets, only generated ids are gathered
        return row_losses(outputs["logits"], labels)

    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """The loss per target token, and the scores of the generated texts (`metrics.generation.text_scores`)."""
        assert rows is not None
        losses, generated = answers
        loss = float(np.sum(losses, dtype=np.float64) / (labels != -100).sum())
        return {"loss": loss, **text_scores(self.decode(generated), rows["reference"])}

    @abstractmethod
    def _shown(self, split: Dataset) -> dict[str, Any]:
        """The columns between `row` and `prediction` of a frame of predictions."""

    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """Columns `row`, the task's own columns such as `reference`, and `prediction`."""
        import pandas as pd

        written = self.decode(generated_ids(answers))
        check_rows(len(written), len(split))
        return pd.DataFrame({"row": split["row"][:], **self._shown(split), "prediction": written})

    def details(self, answers: Answers, split: Dataset) -> dict[str, Any]:
        """The signatures of the scores, and the predictions of the first rows."""
        frame = self.predictions(answers, split)
        return {
            "signatures": signatures(frame["prediction"].tolist(), frame["reference"].tolist()),
            "samples": frame.head(_SAMPLES).to_dict("records"),
        }


def generated_ids(answers: Answers) -> np.ndarray:
    """The generated ids among gathered answers: the last element of a tuple, or the array itself."""
    return answers[-1] if isinstance(answers, tuple) else answers


def settle_generation(model: PreTrainedModel, args: RunArguments, rows: Dataset) -> None:
    """Write the generation arguments into the `generation_config` of `model`, which is saved with it.

    transformers counts the start token as part of the output, users do not. Without a requested length, outputs may
    have as many tokens as the longest target in `rows`: otherwise a model that has not yet learned to stop would
    generate up to the limit of transformers.
    """
    settings: dict[str, Any] = {
        "num_beams": args.generation_num_beams,
        "length_penalty": args.generation_length_penalty,
        "max_length": 1 + (args.generation_max_length or max(len(labels) for labels in rows["labels"])),
    }
    for name, value in settings.items():
        if value is not None:
            setattr(model.generation_config, name, value)
