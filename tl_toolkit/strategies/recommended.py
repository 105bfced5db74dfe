"""The settings that the user does not name: of training, and of architectures with random weights.

The rates of `scratch`, `full` and `lora` for labelled texts were tried on held-out training rows of three to five
datasets, with one or two seeds (benchmarks/default_settings.py compares settings in this way); the other rules were
not. With few labels an epoch has few updates, so updates are counted instead (Mosbach et al. 2021, "On the Stability of
Fine-tuning BERT"); a new head needs a higher rate than the body.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config.arguments import RunArguments

LABELLED_TEXTS = ("text-classification", "regression", "token-classification")
EVALUATIONS = 10
"""Evaluations in a run whose length follows from a rule; the best state is kept."""


@dataclass(frozen=True)
class Recommended:
    """Settings of training.

    Attributes:
        learning_rate: the peak rate.
        epochs: passes over the training rows.
        head_learning_rate: the peak rate of the head, if it differs.
        warmup: the fraction of updates in which the rate rises.
        updates: the least number of updates; epochs are added to reach it.
        patience: evaluations without improvement before training stops; None: never.
        batch_size: rows of an update, on each device.
    """

    learning_rate: float
    epochs: float
    head_learning_rate: float | None = None
    warmup: float = 0.0
    updates: int = 0
    patience: int | None = None
    batch_size: int = 32


_GENERAL = {
    "scratch": Recommended(1e-3, epochs=10),
    "full": Recommended(5e-5, epochs=3),
    "discriminative": Recommended(1e-3, epochs=3),
    "gradual_unfreezing": Recommended(1e-3, epochs=10),
    "frozen": Recommended(1e-3, epochs=10),
    "lora": Recommended(5e-4, epochs=5),
    "probe": Recommended(0.0, epochs=0),
    "distilled": Recommended(1e-3, epochs=8),
    "prompt": Recommended(0.0, epochs=0),
    "contrastive": Recommended(2e-5, epochs=1, warmup=0.1, batch_size=16),
}
_TEXTS = _GENERAL | {
    "scratch": Recommended(1e-3, epochs=8, updates=300, patience=5),
    "full": Recommended(1e-4, epochs=3, head_learning_rate=5e-3, warmup=0.1, updates=150, patience=5, batch_size=16),
    "discriminative": Recommended(1e-3, epochs=3, warmup=0.1, updates=300, patience=5, batch_size=16),
    "gradual_unfreezing": Recommended(1e-3, epochs=10, warmup=0.1, updates=600, patience=5, batch_size=16),
    "distilled": Recommended(1e-4, epochs=8, warmup=0.1, updates=300, patience=5),
    "frozen": Recommended(5e-3, epochs=20, warmup=0.1, updates=500, patience=5),
    "lora": Recommended(1e-3, epochs=3, warmup=0.1, updates=150, patience=5, batch_size=16),
}
_RATES = {
    **{(how, "rnn"): 5e-3 for how in ("scratch", "distilled")},
    **{(how, "self_attention"): 3e-3 for how in ("scratch", "distilled")},
    ("distilled", "awd_lstm"): 1e-3,
    **{(how, kind): 1e-2 for how in ("discriminative", "gradual_unfreezing") for kind in ("rnn", "awd_lstm")},
}
"""The learning rates of strategies with families of the toolkit, for labelled texts."""
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "rnn": {"embedding_size": 100, "pooling": "max", "embedding_dropout": 0.3, "classifier_dropout": 0.3},
    "self_attention": {"num_hidden_layers": 1, "embedding_dropout": 0.3},
}
"""For the classification of texts and words with random weights."""


def recommended(strategy: str, task: str | None, model_type: str | None = None) -> Recommended:
    """The settings of training of a strategy for a task (None: a language model) and a model."""
    if task not in LABELLED_TEXTS:
        return _GENERAL[strategy]
    rule = _TEXTS[strategy]
    return replace(rule, learning_rate=_RATES.get((strategy, str(model_type)), rule.learning_rate))


def architecture(model_type: str, head: str, tokenizer: str | None = None) -> Mapping[str, Any]:
    """Fields of the configuration of an architecture with random weights.

    Args:
        head: the name of an Auto class.
        tokenizer: the kind of tokenizer that was learned.
    """
    if (model_type, tokenizer) == ("bag_of_ngrams", "char"):
        return {"ngram_range": (1, 4)}
    classifies = head.endswith(("SequenceClassification", "TokenClassification"))
    return _ARCHITECTURES.get(model_type, {}) if classifies else {}


def settle(args: RunArguments, rule: Recommended, updates: int, least_epochs: float = 0.0) -> float | None:
    """Fill in what `args` leaves open, and return the peak rate of the head, None for that of the run.

    A named value stands: with a learning rate, the rule's rates and warm-up are not used; with a number of epochs or
    updates, its length, evaluations and patience are not.

    Args:
        updates: updates in an epoch.
        least_epochs: the fewest epochs in which the strategy trains all layers.
    """
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy

    head = None
    if not args.learning_rate:
        args.learning_rate, head = rule.learning_rate, rule.head_learning_rate
        if not args.warmup_steps and args.takes_warmup:
            args.warmup_steps = rule.warmup
    named = bool(args.num_train_epochs) or args.max_steps > 0
    floor = args.min_train_steps if args.min_train_steps is not None else 0 if named else rule.updates
    epochs = args.num_train_epochs or max(rule.epochs, least_epochs)
    args.num_train_epochs = max(epochs, math.ceil(floor / updates))
    if not named and args.load_best_model_at_end:
        if args.evaluates_by_rule:
            args.eval_strategy, args.save_strategy = IntervalStrategy.STEPS, SaveStrategy.STEPS
            args.eval_steps = args.save_steps = max(1, math.ceil(args.num_train_epochs * updates / EVALUATIONS))
        if args.early_stopping_patience is None:
            args.early_stopping_patience = rule.patience
    return head
