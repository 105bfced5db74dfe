"""The trainers of language models: windows with a carried state, or independent blocks."""

from __future__ import annotations

import inspect
import math
import os
from abc import ABC, abstractmethod
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Sampler, default_collate
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from ..data.evaluation_lanes import EvaluationLanes
from ..data.streamed_tokens import StreamedBlocks
from ..data.streams import IGNORED, StreamWindows
from ..errors import UserError
from ..models.rnn_cache import RnnCache
from .sampling import epoch_sampler
from .trainer import BaseTrainer, not_finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from transformers import PreTrainedModel

    from ..data.blocks import Blocks

_MOST_LOGITS = 2**25  # most logits in memory during evaluation: 128 MiB in float32


class LanguageModelTrainer(BaseTrainer, ABC):
    """Base class with evaluation by the exact mean over all tokens, whatever the batches and processes.

    `eval_dataset` and the argument of `score` have the type that `_predictions` of the trainer reads. A checkpoint
    has what training data and model carry from one update to the next, in one file per process.
    """

    def __init__(self, model: torch.nn.Module, args: TrainingArguments, **kwargs: Any) -> None:
        super().__init__(model, args, **kwargs)
        self.carried: dict[int, RnnCache] = {}  # by group of lanes
        self.checkpoint: Path | None = None

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.checkpoint = Path(resume_from_checkpoint) if isinstance(resume_from_checkpoint, str) else None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return self.eval_dataset if eval_dataset is None else eval_dataset  # evaluation_loop below reads it itself

    def evaluation_loop(
        self, dataloader: Any, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        metrics, _ = self.score(dataloader)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(None, None, metrics, num_samples=dataloader.tokens)

    @torch.no_grad()
    def score(self, dataset: Any) -> tuple[dict[str, float], np.ndarray]:
        """Return the metrics of `dataset`, and the loss at each of its places.

        The metrics are the mean loss per token in nats, summed in float64, and the perplexity, its exponential. They
        and the losses, float64 `[num_places]` with NaN where nothing is predicted, are equal in all processes.

        Raises:
            NonFiniteLoss: the loss of a token is infinite or not a number.
        """
        self._wrap_model(self.model, training=False)
        if not self.accelerator._models:  # evaluation without training only needs mixed precision
            self.accelerator.prepare_model(self.model, evaluation_mode=True)
        self.model.eval()
        if callable(getattr(self.optimizer, "eval", None)):
            self.optimizer.eval()
        scored = torch.zeros(2, dataset.num_places)  # the loss at each place, and 1 where there is a prediction
        for logits, targets, places in self._predictions(dataset):
            known = (targets != IGNORED).cpu()
            scored[0, places[known]] = _losses(logits, targets, "none").view_as(targets).cpu()[known]
            scored[1, places[known]] = 1
        scored = self.accelerator.reduce(scored.to(self.args.device), reduction="sum").cpu()  # a place has one process
        losses = scored[0].double().where(scored[1] > 0, math.nan).numpy()
        counted = losses[: dataset.tokens][scored[1, : dataset.tokens].numpy() > 0]
        loss = float(counted.mean()) if len(counted) else math.nan
        if not math.isfinite(loss):
            raise not_finite("evaluation", loss, self.state.global_step, self.args.learning_rate)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}, losses

    @abstractmethod
    def _predictions(self, dataset: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield parts of this process's predictions: logits `[rows, time, vocab]`, targets `[rows, time]` and, on the
        CPU, the places of the targets. All processes yield equally often, because a forward pass can be collective."""

    def _prepare_input(self, data: Any) -> Any:
        if isinstance(data, torch.Tensor):  # batches are in pinned memory, so copy without waiting for the device
            return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def _own_batches(self) -> DataLoader:
        # Not prepared by accelerate, which would distribute the batches; they already belong to this process.
        pin_memory = self.args.dataloader_pin_memory
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=itemgetter(0), pin_memory=pin_memory)

    # The carried state in checkpoints

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if not isinstance(self.train_dataset, (StreamWindows, StreamedBlocks)):
            return
        layers = {
            group: [(list(layer.state or ()), layer.seen_tokens) for layer in cache.layers]
            for group, cache in self.carried.items()
        }
        path = _state_path(Path(output_dir), self.args)
        temporary = path.with_name(f".{path.name}")
        saved = {"identity": self.train_dataset.identity(), "stream": self.train_dataset.state_dict()}
        torch.save({**saved, "step": self.state.global_step, "layers": layers}, temporary)
        os.replace(temporary, path)
        self.accelerator.wait_for_everyone()  # trainer_state.json, written next, marks a complete checkpoint

    def restore(self) -> None:
        """Restore the carried state of the checkpoint to resume from, once."""
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint is None or not isinstance(self.train_dataset, (StreamWindows, StreamedBlocks)):
            return
        path = _state_path(checkpoint, self.args)
        if not path.is_file():
            raise UserError(
                f"The checkpoint {str(checkpoint)!r} has no carried state {path.name!r}: it belongs to another kind of "
                "run or was saved by another number of processes. Resume with the original number of processes."
            )
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, value in self.train_dataset.identity().items():
            if saved["identity"].get(name) != value:
                raise UserError(
                    f"The checkpoint {str(checkpoint)!r} cannot be resumed: its {name} is "
                    f"{saved['identity'].get(name)}, but this run's is {value}. Resume with the original arguments, "
                    "data and number of processes."
                )
        self.train_dataset.load_state_dict(saved.get("stream", {}))  # older checkpoints have none
        self.carried = {group: _cache(layers, self.args.device) for group, layers in saved["layers"].items()}


class BlockTrainer(LanguageModelTrainer):
    """The trainer of stateless models: blocks in an order that depends only on the seed and the epoch.

    Args:
        shifted: whether the logits of a position predict the next token.
    """

    train_dataset: Blocks | StreamedBlocks

    def __init__(self, model: torch.nn.Module, args: TrainingArguments, *, shifted: bool, **kwargs: Any) -> None:
        self.shifted = shifted
        super().__init__(model, args, compute_loss_func=self._mean_loss, data_collator=default_collate, **kwargs)
        self.add_callback(_EachEpoch(self))

    def _mean_loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        return _losses(*self._aligned(outputs.logits, labels), "sum") / torch.as_tensor(num_items_in_batch).clamp(min=1)

    def _aligned(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (logits[:, :-1], labels[:, 1:]) if self.shifted else (logits, labels)

    def get_train_dataloader(self) -> DataLoader:
        return self._own_batches() if isinstance(self.train_dataset, StreamedBlocks) else super().get_train_dataloader()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return epoch_sampler(self.args, len(self.train_dataset))

    def _predictions(self, dataset: Blocks) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        size, rank, world = self.args.eval_batch_size, self.args.process_index, self.args.world_size
        for first_of_all in range(0, len(dataset), world * size):
            first = first_of_all + rank * size
            items = range(first, min(first + size, len(dataset))) or [len(dataset)]  # the blank item
            batch = self._prepare_inputs(default_collate([dataset[i] for i in items]))
            labels = batch.pop("labels")
            places = torch.stack([dataset.places(i) for i in items])
            yield (*self._aligned(self.model(**batch).logits, labels), places)


class StreamTrainer(LanguageModelTrainer):
    """The trainer of recurrent models: truncated back-propagation through time with a carried state.

    Each process reads its own lanes of the stream (`data/streams.py`) and carries the detached state from one window to
    the next; an epoch starts without a state. The loss of an update is the mean over the tokens of its window in all
    lanes of all processes. The learning rate of an update is scaled by the length of its window over the usual length
    (Merity et al. 2017, section 5), because a short window averages over fewer tokens.
    """

    train_dataset: StreamWindows

    def __init__(self, model: torch.nn.Module, args: TrainingArguments, **kwargs: Any) -> None:
        super().__init__(model, args, **kwargs)
        self.windows = _WindowCallback(self)
        self.add_callback(self.windows)

    def get_train_dataloader(self) -> DataLoader:
        return self._own_batches()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        # Known without communication; created on the device, so that nothing waits for a copy.
        return torch.full((), batch_samples[0]["num_targets"], device=device) if batch_samples else None

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        inputs = dict(inputs)
        group, self.windows.relative_length = inputs.pop("group"), inputs.pop("relative_length")
        del inputs["num_targets"]
        inputs |= {"past_key_values": self.carried.get(group), "use_cache": True}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        self.carried[group] = outputs.past_key_values.detach()
        return (loss, outputs) if return_outputs else loss

    def _predictions(self, dataset: EvaluationLanes) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        vocab_size = self.model.get_output_embeddings().weight.shape[0]
        length = max(1, _MOST_LOGITS // (dataset.rows * vocab_size))
        for lanes in dataset.batches:
            state = None
            for *window, places in dataset.windows(lanes, length):
                input_ids, targets = self._prepare_input(window)
                outputs = self.model(input_ids=input_ids, past_key_values=state, use_cache=True)
                state = outputs.past_key_values
                yield outputs.logits, targets, places


class _EachEpoch(TrainerCallback):
    """Sets the epoch of the training data, also in a resumed run."""

    def __init__(self, trainer: BlockTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        per_epoch = max(
            1, state.max_steps and math.ceil(len(kwargs["train_dataloader"]) / args.gradient_accumulation_steps)
        )
        self.trainer.train_dataset.set_epoch(state.global_step // per_epoch)
        self.trainer.restore()


class _WindowCallback(TrainerCallback):
    """Starts epochs and scales the learning rate of each update to its window."""

    def __init__(self, trainer: StreamTrainer) -> None:
        self.trainer = trainer
        self.relative_length = 1.0
        self._rates: list[float] = []

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        epoch, position = divmod(state.global_step, trainer.train_dataset.updates)
        trainer.train_dataset.set_epoch(epoch)
        trainer.carried = {}
        trainer.restore()
        if position == 0:
            trainer.carried = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        groups = kwargs["optimizer"].param_groups
        self._rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * self.relative_length

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for group, rate in zip(kwargs["optimizer"].param_groups, self._rates, strict=True):
            group["lr"] = rate


def carries_state(model: PreTrainedModel) -> bool:
    """Return whether a model takes and returns its recurrent state as an `RnnCache`."""
    return (
        bool(getattr(model, "_is_stateful", False))
        and not model._supports_default_dynamic_cache()
        and "past_key_values" in inspect.signature(model.forward).parameters
    )


def _losses(logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
    flat = logits.float().flatten(0, 1)
    return torch.nn.functional.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction=reduction)


def _state_path(checkpoint: Path, args: TrainingArguments) -> Path:
    return checkpoint / f"carried_state_{args.process_index}_of_{args.world_size}.pt"


def _cache(layers: list[Any], device: torch.device) -> RnnCache:
    cache = RnnCache(len(layers), len(layers[0][0]))
    for layer, (state, seen_tokens) in zip(cache.layers, layers, strict=True):
        layer.update(tuple(tensor.to(device) for tensor in state), seen_tokens)
    return cache
