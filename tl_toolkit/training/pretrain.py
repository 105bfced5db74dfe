"""One language-model training: texts, a model and a strategy become a model folder and a result record."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .output_dir import for_output_dir
from .pretrain_arguments import (
    LanguageModelArguments,
    PretrainArguments,
    parse_pretrain_arguments,
    pretrain_arguments_from,
)
from .progress_bars import without_progress_bars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..data.streams import TokenStream
    from ..strategies import Strategy
    from .arguments import RunArguments
    from .language_model_trainer import LanguageModelTrainer

__all__ = [
    "LanguageModelArguments",
    "PretrainArguments",
    "parse_pretrain_arguments",
    "pretrain",
    "pretrain_arguments_from",
]


@without_progress_bars()
@for_output_dir
def pretrain(arguments: PretrainArguments) -> dict[str, Any]:
    """Train, evaluate and save a language model; the folder and `result.json` are left in `output_dir`.

    Returns:
        The result record; with `find_lr` what `find_learning_rate` returns, and then nothing else is left behind.

    Raises:
        UserError: something given cannot be used; nothing was trained.
        NonFiniteLoss: the training came apart. The result record says so (`status` is "failed").
    """
    import torch
    from transformers import set_seed

    from ..hub.pushing import publish_finished
    from ..strategies import make_strategy
    from ..tasks.language_modeling import LanguageModeling
    from .checkpoints import check_same_architecture, resolve_resume
    from .cost import Stages, disk_bytes, peak_memory, trainable_parameters
    from .energy import energy_used
    from .evaluation import save_losses
    from .model import load_trained, make_model
    from .output_dir import check_free
    from .record import RESULT_NAME, write_json
    from .run_parts import failures_recorded, make_room, now, opening, resolve_schedule, save_model, speed, timing
    from .summary import print_texts
    from .tokenizer import make_tokenizer

    started = now()
    settings, args = arguments.language_model, arguments.run
    strategy = make_strategy(arguments.strategy, arguments.model)
    _check_devices(args)
    output_dir = Path(args.output_dir)
    checkpoint = resolve_resume(args.resume_from_checkpoint, output_dir)
    check_free(
        output_dir,
        overwrite=args.overwrite_output_dir or args.resume_from_checkpoint is not None,
        sources=[arguments.model.model_name_or_path, arguments.model.tokenizer_name, arguments.data.dataset_name],
    )
    kind, task_config = _kind(arguments)
    arguments = arguments._replace(data=replace(arguments.data, task=kind))
    task = LanguageModeling(arguments.data, kind)

    stages = Stages("data")
    texts = task.prepare(args.seed, evaluate_only=settings.evaluate_only, shuffle=settings.shuffle_documents)
    tokenizer = make_tokenizer(arguments.model, lambda: _vocabulary_texts(texts.get("train"), settings), None)
    streams = _encode(texts, tokenizer, settings)
    stages.begin("model")
    set_seed(args.seed)  # from here on everything random is the model's and the trainer's
    if settings.evaluate_only:
        model = load_trained(arguments.model, task.auto_class, tokenizer)  # refuses a head that was never trained
    else:
        model = make_model(arguments.model, task.auto_class, task_config, tokenizer)
    if checkpoint is not None:
        check_same_architecture(checkpoint, model)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = strategy.prepare(model)
    parameters = {"total": total, "trained": trainable_parameters(trained)}
    datasets, updates = _datasets(streams, model, tokenizer, kind, settings, args)
    resolve_schedule(args, strategy, updates)
    strategy.configure(args)
    trainer = _make_trainer(args, trained, tokenizer, datasets, strategy, kind)
    if args.find_lr:
        from .lr_finder import find_learning_rate

        return find_learning_rate(trainer, output_dir)

    record = {**opening(arguments, strategy, model, tokenizer, started), **task.record(), "predictions": {}}
    record["budget"] |= {
        "token_budget": settings.max_train_tokens,
        "train_tokens": len(streams["train"]) if "train" in streams else 0,
    }
    record["dataset"] |= {
        "rows": {split: stream.documents for split, stream in streams.items()},
        "tokens": {split: len(stream) for split, stream in streams.items()},
    }
    print_texts(record, args)
    make_room(trainer, output_dir, keep_checkpoints=checkpoint is not None)
    with failures_recorded(record, trainer, output_dir):
        stages.begin("training")
        with peak_memory() as peak, energy_used() as joules:
            if not settings.evaluate_only:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        stages.begin("evaluate")
        asked = ("validation",) if args.skip_test else ("validation", "test")
        evaluated = [split for split in asked if split in datasets]
        metrics = {}
        for split in evaluated:
            losses = torch.full((len(streams[split]),), math.nan) if split == "test" and args.world_size == 1 else None
            metrics[split] = _metrics(trainer.score(datasets[split], losses), streams[split], kind)
            if losses is not None:  # those of one process of several are not all
                record["predictions"] = {split: save_losses(losses, streams[split], output_dir)}
        stages.begin("save")
        if not settings.evaluate_only:
            save_model(trainer, strategy, output_dir)
    record |= {
        "status": "completed",
        "finished": now(),
        "metrics": metrics,
        "history": trainer.state.log_history,
        "cost": {
            "parameters": parameters,
            **speed(trainer, None, len(streams["train"]) if "train" in streams else 0),
            "peak_memory_bytes": peak["bytes"],
            "disk_bytes": disk_bytes(output_dir),
            **timing(stages, trainer),
            **({"energy_joules": joules} if joules else {}),
        },
    }
    if trainer.is_world_process_zero():
        write_json(output_dir / RESULT_NAME, record)  # last: a folder with this file holds a finished run
    if not settings.evaluate_only:
        publish_finished(args)
    return record


def _check_devices(args: RunArguments) -> None:
    if args.n_gpu > 1:
        raise UserError(
            f"One process would use {args.n_gpu} GPUs, whose parts of a batch could not carry states of their own. "
            "Start one process for each GPU: accelerate launch --config_file recipes/accelerate/multi_gpu.yaml."
        )


def _kind(arguments: PretrainArguments) -> tuple[str, dict[str, Any]]:
    """`causal-lm` or `masked-lm`, and what the configuration has to be told for it.

    transformers has a causal head for some encoders as well. Without `is_decoder` they see the token they are to
    predict, so that encoders are taken for what they are unless a causal model is asked for.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    from .model import load_config

    config = load_config(arguments.model)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{type(config).__name__} is the configuration of an encoder-decoder, which is no language model. Choose "
            "a decoder (gpt2, rnn, awd_lstm, self_attention) or an encoder (bert)."
        )
    is_encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    kind = arguments.data.task or ("masked-lm" if is_encoder else "causal-lm")
    return kind, {"is_decoder": True} if is_encoder and kind == "causal-lm" and hasattr(config, "is_decoder") else {}


def _vocabulary_texts(texts: Dataset | None, settings: LanguageModelArguments) -> Iterable[str]:
    """The texts to learn a vocabulary from: those that are trained on, as far as that is known without one."""
    import numpy as np
    import pyarrow.compute as pc

    if texts is None:
        raise UserError("--evaluate_only cannot learn a vocabulary: leave out --tokenizer_name.")
    column = texts.with_format("arrow")[:].column(0)
    count = len(texts)
    if settings.max_train_tokens is not None:  # a text has at least as many tokens as spaces
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
            raise UserError(f"There is no token in the texts to use for {split}.")
    return streams


def _datasets(
    streams: dict[str, TokenStream],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    settings: LanguageModelArguments,
    args: RunArguments,
) -> tuple[dict[str, Any], int]:
    """What the trainer reads of each split, and how many updates an epoch has."""
    from ..data.blocks import CausalBlocks, MaskedBlocks
    from ..data.streams import Lanes, StreamWindows
    from .language_model_trainer import carries_state
    from .model import longest_input, shortest

    groups, world = args.gradient_accumulation_steps, args.world_size
    batch = args.train_batch_size * groups
    if carries_state(model):
        place = {"rank": args.process_index, "world_size": world, "backward": _reads_backward(model)}
        read: dict[str, Any] = {
            split: Lanes(stream, args.eval_batch_size, **place) for split, stream in streams.items() if split != "train"
        }
        if "train" in streams:
            if len(streams["train"]) < 2 * batch * world:
                raise UserError(
                    f"The training texts have {len(streams['train']):,} tokens, too few for {batch * world:,} lanes "
                    "side by side. Lower --per_device_train_batch_size."
                )
            read["train"] = StreamWindows(
                Lanes(streams["train"], batch, **place),
                groups=groups,
                window_length=settings.window_length,
                random_lengths=settings.random_window_lengths,
                seed=args.seed,
            )
        return read, read["train"].updates if "train" in read else 1
    block_size = shortest(settings.block_size, longest_input(model))
    assert block_size is not None
    if kind == "masked-lm":
        probability = settings.mlm_probability
        read = {
            split: MaskedBlocks(stream, block_size, tokenizer, probability=probability, seed=args.seed * trained)
            for split, stream in streams.items()
            for trained in [split == "train"]  # what is masked in an evaluation is the same for every seed
        }
    else:
        pad = tokenizer.pad_token_id
        read = {split: CausalBlocks(stream, block_size, pad) for split, stream in streams.items()}
    return read, math.ceil(len(read["train"]) / (batch * world)) if "train" in read else 1


def _reads_backward(model: PreTrainedModel) -> bool:
    return getattr(model.config, "direction", "forward") == "backward"


def _make_trainer(
    args: RunArguments,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    datasets: dict[str, Any],
    strategy: Strategy,
    kind: str,
) -> LanguageModelTrainer:
    from ..data.streams import Lanes
    from .language_model_trainer import BlockTrainer, StreamTrainer
    from .run_parts import callbacks, setting_up, try_out

    if args.selects_on_main_metric:
        args.metric_for_best_model, args.greater_is_better = "loss", False
    common: dict[str, Any] = {
        "learning_rates": strategy.learning_rates(model, args.learning_rate),
        "train_dataset": datasets.get("train"),
        "eval_dataset": datasets.get("validation", datasets.get("test")),
        "processing_class": tokenizer,
        "callbacks": callbacks(args, strategy, model),
    }
    with setting_up():
        if isinstance(common["eval_dataset"], Lanes):
            trainer: LanguageModelTrainer = StreamTrainer(model, args, **common)
        else:
            trainer = BlockTrainer(model, args, shifted=kind == "causal-lm", **common)
        try_out(trainer)
    return trainer


def _metrics(scored: dict[str, float], stream: TokenStream, kind: str) -> dict[str, float]:
    """What was scored and, for causal models, bits per byte, which tokenizers do not change the meaning of."""
    metrics = dict(scored)
    if kind == "causal-lm" and stream.num_bytes:
        metrics["bits_per_byte"] = scored["loss"] * len(stream) / math.log(2) / stream.num_bytes
    return {**metrics, "unknown_share": stream.unknown / len(stream)}
