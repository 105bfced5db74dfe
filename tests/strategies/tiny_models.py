"""Tiny models with all types of bodies and heads, and a training that records changes in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    PreTrainedModel,
    TrainerCallback,
)

from tl_toolkit.config.arguments import ModelArguments, RunArguments, StrategyArguments
from tl_toolkit.models import AwdLstmConfig, RnnConfig, SelfAttentionConfig
from tl_toolkit.strategies import Strategy, make_strategy
from tl_toolkit.training.trainer import BaseTrainer

VOCABULARY = 31
HEADS = {
    "classifier": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
}
_BLOCKS = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}


def config(family: str) -> Any:
    if family == "bert":
        return BertConfig(vocab_size=VOCABULARY, intermediate_size=11, num_labels=3, **_BLOCKS)
    if family == "gpt2":
        return GPT2Config(vocab_size=VOCABULARY, n_embd=8, n_layer=3, n_head=2, pad_token_id=0, num_labels=3)
    if family == "self_attention":
        return SelfAttentionConfig(vocab_size=VOCABULARY, embedding_size=8, num_labels=3, **_BLOCKS)
    kind = AwdLstmConfig if family == "awd_lstm" else RnnConfig
    tied = {"tie_word_embeddings": True} if family == "awd_lstm" else {}
    return kind(vocab_size=VOCABULARY, embedding_size=7, hidden_size=5, num_hidden_layers=3, num_labels=3, **tied)


def build(family: str, head: str = "classifier", **settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    chosen = config(family)
    if family == "gpt2" and head == "causal":
        chosen.pad_token_id = None
    for name, value in settings.items():
        setattr(chosen, name, value)
    if family == "self_attention":
        chosen.is_causal = head == "causal"
    return HEADS[head].from_config(chosen)


def strategy(name: str, **settings: Any) -> Strategy:
    return make_strategy(StrategyArguments(strategy=name, **settings), ModelArguments(model_name_or_path="x"))


def rows(head: str = "classifier") -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, VOCABULARY, (13, 7), generator=generator)
    return [
        {"input_ids": row, "attention_mask": torch.ones(7), "labels": row[0] % 3 if head == "classifier" else row}
        for row in ids
    ]


class Watch(TrainerCallback):
    """Stores the weights at the start and after every epoch."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.weights: list[dict[str, torch.Tensor]] = [self._copy()]

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.weights.append(self._copy())

    def moved(self) -> list[set[str]]:
        """Return the names of the parameters that changed in each epoch."""
        pairs = zip(self.weights, self.weights[1:], strict=False)
        return [{name for name in after if not torch.equal(before[name], after[name])} for before, after in pairs]


def train(
    model: PreTrainedModel, how: Strategy, folder: Path, head: str = "classifier", **settings: Any
) -> list[set[str]]:
    """Train `model` with the strategy `how`; return the names of the parameters that changed in each epoch."""
    args = RunArguments(
        **{
            "output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 5,
            "eval_strategy": "no", "save_strategy": "no", "learning_rate": 0.01, "weight_decay": 0.3, **settings,
        }
    )  # fmt: skip
    model = how.prepare(model)
    how.configure(args)
    watch = Watch(model)
    rates = how.learning_rates(model, args.learning_rate)
    BaseTrainer(
        model, args, learning_rates=rates, train_dataset=rows(head), callbacks=[*how.callbacks(model), watch]
    ).train()
    return watch.moved()
