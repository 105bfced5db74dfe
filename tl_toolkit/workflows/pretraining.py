"""One training of a language model on texts, from its arguments to its folder."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..config.pretrain_arguments import LanguageModelArguments, PretrainArguments
from ..errors import UserError
from ..loading.model import load_config, load_trained, longest_input, make_model, shortest
from ..loading.pooled_encoder import check_pooling
from ..loading.tokenizer import make_tokenizer
from ..records.identity import tokens_of
from ..records.output_dir import PREDICTIONS
from ..tasks.language_modeling import CAUSAL, MASKED, LanguageModeling
from .lifecycle import Training
from .predictions import save_losses
from .summary import print_texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..config.arguments import RunArguments
    from ..data.blocks import Blocks
    from ..data.streams import TokenStream
    from ..training.language_model_trainer import LanguageModelTrainer

logger = logging.getLogger(__name__)

_NOISE = 0.1  # nats; the means over 512 tokens with two states of a stable model differ by less than 0.01


class Pretraining(Training[PretrainArguments]):
    """Training and evaluation of a language model on texts; with `evaluate_only`, evaluation only."""

    trainer: LanguageModelTrainer
    tokenizer: PreTrainedTokenizerBase
    streams: dict[str, TokenStream]
    datasets: dict[str, Any]

    def __init__(self, arguments: PretrainArguments) -> None:
        super().__init__(arguments)
        self.settings = arguments.language_model
        self.predictions: dict[str, str] = {}
        self.lanes: dict[str, list[float]] = {}
        check_pooling(arguments.model, arguments.data.task or CAUSAL)
        _check_devices(self.args)

    def prepare(self) -> None:
        self.kind, self.task_config = _kind(self.arguments)
        self.arguments = self.arguments._replace(data=replace(self.arguments.data, task=self.kind))
        self.task = LanguageModeling(self.arguments.data, self.kind)
        texts = self.texts()
        model = self.model_arguments
        self.tokenizer = make_tokenizer(model, lambda: self.vocabulary_texts(texts), None)
        if self.kind == MASKED and model.model_type and self.tokenizer.mask_token is None:
            self.tokenizer.add_special_tokens({"mask_token": "<mask>"})  # the new model gets a row for it
        self.processing = self.tokenizer
        self.streams = _encode(texts, self.tokenizer, self.settings)

    def texts(self) -> DatasetDict:
        """The texts of each role that are read before the training; sets the record of `task`."""
        settings = self.settings
        return self.task.prepare(
            self.args.seed, evaluate_only=settings.evaluate_only, shuffle=settings.shuffle_documents
        )

    def vocabulary_texts(self, texts: DatasetDict) -> Iterable[str]:
        """Training texts from which a vocabulary is learned. `texts` is the result of `texts`."""
        return _vocabulary_texts(texts.get("train"), self.settings)

    def build(self) -> PreTrainedModel:
        if self.settings.evaluate_only:  # refuses a head that was never trained
            return load_trained(self.model_arguments, self.task.auto_class, self.tokenizer)
        return make_model(self.model_arguments, self.task.auto_class, self.task_config, self.tokenizer)

    @property
    def main_metric(self) -> tuple[str, bool]:
        return "loss", False

    @property
    def metric_names(self) -> list[str]:
        return ["loss", "perplexity"]

    def rehearse(self) -> None:
        if not self.settings.evaluate_only:
            super().rehearse()

    def updates(self) -> int:
        self.datasets, updates = split_datasets(
            self.streams, self.model, self.tokenizer, self.kind, self.settings, self.args
        )
        return updates

    def new_trainer(self, model: Any, **common: Any) -> LanguageModelTrainer:
        from ..data.evaluation_lanes import EvaluationLanes
        from ..training.language_model_trainer import BlockTrainer, StreamTrainer

        evaluated = self.datasets.get("validation", self.datasets.get("test"))
        common |= {"train_dataset": self.datasets.get("train"), "eval_dataset": evaluated}
        if isinstance(evaluated, EvaluationLanes):
            return StreamTrainer(model, self.args, **common)
        return BlockTrainer(model, self.args, shifted=self.kind == CAUSAL, **common)

    @property
    def epoch(self) -> tuple[None, int]:
        return None, len(self.streams["train"]) if "train" in self.streams else 0

    @property
    def train_tokens(self) -> int:
        """The number of different tokens to train on."""
        return self.epoch[1]

    def describe(self) -> dict[str, Any]:
        record = {**super().describe(), **self.task.record(), "predictions": {}}
        record["budget"] |= {"token_budget": self.settings.max_train_tokens, "train_tokens": self.train_tokens}
        record["dataset"] |= {
            "rows": {split: stream.documents for split, stream in self.streams.items()},
            "tokens": {split: len(stream) for split, stream in self.streams.items()},
        }
        print_texts(record, self.args)
        return record

    def rows(self) -> dict[str, Any]:
        return {role: tokens_of(stream.ids) for role, stream in self.streams.items()}

    def schedule(self) -> dict[str, Any]:
        from ..training.language_model_trainer import carries_state

        if not carries_state(self.model):
            return super().schedule()
        # Each lane starts without a state, so their number affects the losses by which the model is selected.
        return {**super().schedule(), "evaluation_lanes": self.args.eval_batch_size * self.args.world_size}

    def work(self) -> None:
        if not self.settings.evaluate_only:
            super().work()

    def evaluate(self) -> dict[str, dict[str, float]]:
        from ..data.evaluation_lanes import EvaluationLanes

        metrics, differences, first = {}, {}, self.trainer.is_world_process_zero()
        for split in ("validation",) if self.args.skip_test else ("validation", "test"):
            if split not in self.datasets:
                continue
            stream, dataset = self.streams[split], self.datasets[split]
            scored, losses = self.trainer.score(dataset)
            metrics[split] = _metrics(scored, stream, self.kind)
            if isinstance(dataset, EvaluationLanes):
                self.lanes[split] = dataset.losses_by_lane(losses)
                differences[split] = dataset.differences(losses)
            if split == "test":
                self.predictions[split] = PREDICTIONS[split]
                if first:
                    save_losses(losses[: len(stream)], stream, self.output_dir)
        if first:
            _warn_of_unstable_states(differences)
        return metrics

    def save(self) -> None:
        if not self.settings.evaluate_only:
            super().save()

    def findings(self) -> dict[str, Any]:
        return {"predictions": self.predictions, **({"lanes": self.lanes} if self.lanes else {})}

    def publish(self) -> None:
        if not self.settings.evaluate_only:
            super().publish()


def _check_devices(args: RunArguments) -> None:
    if args.n_gpu > 1:
        raise UserError(
            f"One process cannot train a language model on {args.n_gpu} GPUs, because the recurrent state is not split "
            "with the batch. Start one process for each GPU: accelerate launch --config_file "
            '"$(tl-toolkit configs multi_gpu.yaml)" -m tl_toolkit pretrain ...'
        )


def _kind(arguments: PretrainArguments) -> tuple[str, dict[str, Any]]:
    """`causal-lm` or `masked-lm`, and the configuration values that it needs.

    Some encoders also have a causal head in transformers. It needs `is_decoder`, or the model sees the token that it
    has to predict, so encoders default to `masked-lm`. The toolkit's families default to `causal-lm`, unless a
    checkpoint was trained to fill in masks; an `rnn` has to read both ways for that.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    from ..models import FAMILIES

    config = load_config(arguments.model)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{type(config).__name__} belongs to an encoder-decoder, which is not a language model. Choose a decoder "
            "(gpt2, rnn, awd_lstm, self_attention) or an encoder (bert)."
        )
    if config.model_type in {family.model_type for family in FAMILIES}:
        fills_in = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
        kind = arguments.data.task or (MASKED if fills_in else CAUSAL)
        return kind, {"bidirectional": True} if kind == MASKED and config.model_type == "rnn" else {}
    is_encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    kind = arguments.data.task or (MASKED if is_encoder else CAUSAL)
    return kind, {"is_decoder": True} if is_encoder and kind == CAUSAL and hasattr(config, "is_decoder") else {}


def _vocabulary_texts(texts: Dataset | None, settings: LanguageModelArguments) -> Iterable[str]:
    """Yield the training texts for the vocabulary; `max_train_tokens` can only be estimated without a tokenizer."""
    import numpy as np
    import pyarrow.compute as pc

    if texts is None:
        raise UserError("Leave out --tokenizer_name: --evaluate_only has no training texts to build a vocabulary from.")
    column = texts.with_format("arrow")[:].column(0)
    count = len(texts)
    if settings.max_train_tokens is not None:  # spaces + 1 is a lower bound on the tokens of a text
        spaces = np.cumsum(pc.count_substring(column, " ").to_numpy() + 1)
        count = min(count, int(np.searchsorted(spaces, settings.max_train_tokens)) + 1)
    for start in range(0, count, 1000):
        yield from column[start : min(start + 1000, count)].to_pylist()


def _encode(
    texts: DatasetDict, tokenizer: PreTrainedTokenizerBase, settings: LanguageModelArguments
) -> dict[str, TokenStream]:
    from ..data.streams import encode_stream

    limits = {"train": settings.max_train_tokens}
    streams = {
        split: encode_stream(
            rows,
            tokenizer,
            separator=settings.separator,
            max_tokens=limits.get(split, settings.max_eval_tokens),
            whole_documents=split != "train",
        )
        for split, rows in texts.items()
    }
    for split, stream in streams.items():
        if len(stream) == 0:
            raise UserError(f"The {split} texts contain no tokens. Check the dataset and --text_column.")
    return streams


def split_datasets(
    streams: dict[str, TokenStream],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    settings: LanguageModelArguments,
    args: RunArguments,
) -> tuple[dict[str, Any], int]:
    """The dataset of each split for the trainer, and the number of updates in an epoch (1 without training texts)."""
    from ..data.evaluation_lanes import EvaluationLanes
    from ..data.streams import Lanes, StreamWindows
    from ..training.language_model_trainer import carries_state

    groups, world = args.gradient_accumulation_steps, args.world_size
    batch = args.train_batch_size * groups
    if carries_state(model):
        place = {
            "rank": args.process_index,
            "world_size": world,
            "backward": getattr(model.config, "direction", "forward") == "backward",
        }
        read: dict[str, Any] = {
            split: EvaluationLanes(stream, **place) for split, stream in streams.items() if split != "train"
        }
        if "train" in streams:
            if len(streams["train"]) < 2 * batch * world:
                raise UserError(
                    f"The training texts have {len(streams['train']):,} tokens, too few for {batch * world:,} parallel "
                    "lanes. Lower --per_device_train_batch_size."
                )
            read["train"] = StreamWindows(
                Lanes(streams["train"], batch, **place),
                groups=groups,
                window_length=settings.window_length,
                random_lengths=settings.random_window_lengths,
                seed=args.seed,
            )
        return read, read["train"].updates if "train" in read else 1
    read = {
        split: blocks(stream, model, tokenizer, kind, settings, args.seed * (split == "train"))
        for split, stream in streams.items()  # evaluation masks do not depend on the seed
    }
    if args.dataloader_drop_last and "train" in read and len(read["train"]) < args.train_batch_size * world:
        raise UserError(
            f"--dataloader_drop_last leaves nothing to train on: the training texts have {len(read['train'])} blocks, "
            f"and a batch has {args.train_batch_size * world}. Leave it out, or lower --per_device_train_batch_size."
        )
    return read, math.ceil(len(read["train"]) / (batch * world)) if "train" in read else 1


def blocks(
    stream: TokenStream,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    settings: LanguageModelArguments,
    seed: int,
) -> Blocks:
    """The blocks of a stream for a model without a carried state; `seed` is that of masks."""
    from ..data.blocks import CausalBlocks, MaskedBlocks

    block_size = shortest(settings.block_size, longest_input(model))
    assert block_size is not None
    if kind == MASKED:
        return MaskedBlocks(stream, block_size, tokenizer, probability=settings.mlm_probability, seed=seed)
    return CausalBlocks(stream, block_size, tokenizer.pad_token_id)


def _warn_of_unstable_states(differences: dict[str, list[float]]) -> None:
    """Warn if `differences`, by split the differences in loss of two states on the same tokens, exceed noise."""
    unstable = {split: [abs(value) for value in values if abs(value) > _NOISE] for split, values in differences.items()}
    if any(unstable.values()):
        where = " and ".join(
            f"{len(found)} of {len(differences[split])} ({split})" for split, found in unstable.items() if found
        )
        logger.warning(
            "The carried state is unstable, so the perplexity depends on where it starts: at %s borders between lanes "
            "of the text, two states predict the same tokens with losses that differ by more than %g nats (at most "
            "%.2f). Train again with a lower --learning_rate. 'lanes' in result.json has the loss of each lane.",
            where, _NOISE, max(max(found, default=0.0) for found in unstable.values()),
        )  # fmt: skip


def _metrics(scored: dict[str, float], stream: TokenStream, kind: str) -> dict[str, float]:
    """`scored` with the unknown share and, for causal models, bits per byte, which compares across tokenizers."""
    metrics = dict(scored)
    if kind == CAUSAL and stream.num_bytes:
        metrics["bits_per_byte"] = scored["loss"] * len(stream) / math.log(2) / stream.num_bytes
    return {**metrics, "unknown_share": stream.unknown / len(stream)}
