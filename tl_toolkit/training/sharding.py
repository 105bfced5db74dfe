"""Sharded training (FSDP, DeepSpeed) that gives what unsharded training gives, also on a CPU, with its checkpoints.

FSDP's own checkpoints hold the weights twice and can only be resumed with FSDP. Here they are those of unsharded
training, so that one run can continue the other. Only `fsdp_state_dict_type: SHARDED_STATE_DICT` keeps FSDP's format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from ..config.processes import sharding
from ..errors import UserError


class ShardingTrainer(Trainer):
    """Trainer that shards on a CPU, and writes and reads whole checkpoints."""

    def create_accelerator_and_postprocess(self) -> None:
        with _sharding_on_processors(self.args):
            super().create_accelerator_and_postprocess()
        if self.is_fsdp_enabled:
            _with_addresses(self.model)

    @property
    def saves_whole(self) -> bool:
        """Whether the weights are sharded by FSDP, but saved whole."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        return plugin is not None and plugin.fsdp_version == 2 and "FULL_STATE_DICT" in str(plugin.state_dict_type)

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        if self.is_fsdp_enabled and not self.accelerator._models:
            _leave_embeddings_to_accelerate(model, self.accelerator.state.fsdp_plugin)
        if training or not self.is_fsdp_enabled or self.accelerator._models:
            return super()._wrap_model(model, training, dataloader)
        # Evaluation without training: accelerate shards a model only together with an optimiser.
        model, _ = self.accelerator.prepare(model, torch.optim.SGD(model.parameters()))
        self.model = self.model_wrapped = model
        return model

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        kind = type(self.model)
        if self.is_fsdp_enabled and kind.__name__.startswith("FSDP"):
            # The subclass that `fully_shard` makes names torch as its home, whose code would be saved with the model.
            plain = kind.__mro__[2]
            kind.__name__, kind.__module__ = plain.__name__, plain.__module__
        super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.saves_whole:
            return super()._save_optimizer_and_scheduler(output_dir)
        state = self.optimizer.state_dict()
        state["state"] = {
            number: {name: _whole(value) for name, value in own.items()} for number, own in state["state"].items()
        }
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)
        return None

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and not self.is_deepspeed_enabled and any(Path(checkpoint).glob("global_step*")):
            raise UserError(f"The checkpoint {checkpoint!r} was saved by DeepSpeed, and only DeepSpeed can resume it.")
        if checkpoint is None or not self.saves_whole:
            return super()._load_optimizer_and_scheduler(checkpoint)
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True, mmap=True)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            own = state["state"].get(number, {})
            own |= {name: _share(value, parameter) for name, value in own.items()}
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))
        return None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.saves_whole:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        return load_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if not self.saves_whole:
            return super()._load_best_model()
        return load_weights(self.model, Path(str(self.state.best_model_checkpoint)))


@contextmanager
def _sharding_on_processors(args: Any) -> Iterator[None]:
    """Let accelerate shard with FSDP between processes on a CPU while it builds its state.

    torch's `fully_shard` runs there with gloo. accelerate considers FSDP for its GPU types only (`AcceleratorState`
    skips `MULTI_CPU`) and would train with DDP, while transformers reads the launcher's environment, leaves the weights
    to the first process, and ends in "Cannot copy out of meta tensor". The device stays the CPU.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    state: Any = PartialState._shared_state
    if sharding(args) == "FSDP" and state.get("distributed_type") == DistributedType.MULTI_CPU:
        state["distributed_type"] = DistributedType.MULTI_GPU  # replaced by FSDP within accelerate
    yield


def _with_addresses(model: Any) -> None:
    """Give weights on `meta` memory, which is filled from the first process when the model is sharded.

    transformers makes the new weights of a checkpoint, such as a head, in the first process only. accelerate finds the
    optimiser's parameters by their addresses, and all on `meta` have the same: the other processes would train one.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        model._apply(lambda tensor: torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor)
        model.tie_weights()


def _leave_embeddings_to_accelerate(model: Any, plugin: Any) -> None:
    """Do not shard layers that contain the embeddings as a whole, such as `BertEmbeddings`.

    accelerate shards the embeddings and the output layer by themselves, and fails if they are already sharded within
    a layer ("Invariant encountered: value was None when it should not be").
    """
    named = plugin.transformer_cls_names_to_wrap or model._no_split_modules or []
    tables = {id(table) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table is not None}
    around = {type(one).__name__ for one in model.modules() if any(id(part) in tables for part in one.modules())}
    plugin.transformer_cls_names_to_wrap = [name for name in named if name not in around]


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Keep the whole weights of a model sharded by FSDP in every process; nothing to do for others.

    A forward pass then needs no other process, as in generation, which takes more steps in some processes than in
    others.
    """
    from torch.distributed.fsdp import FSDPModule

    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(unit is not model, recurse=False)  # the root is needed again at once


@torch.no_grad()
def load_weights(model: Any, folder: Path) -> None:
    """Load the weights, or the adapter, that unsharded training saved into a sharded model, tensor by tensor.

    Raises:
        ValueError: the folder does not have all weights.
    """
    from safetensors import safe_open

    own: Mapping[str, Any] = model.state_dict()  # sharded, and the very tensors of the model
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        own = get_peft_model_state_dict(model, state_dict=own)
    missing = {id(weight): name for name, weight in own.items()}
    for path in sorted([*folder.glob("model*.safetensors"), *folder.glob("adapter_model*.safetensors")]):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys() & own.keys():
                own[name].copy_(_share(weights.get_tensor(name), own[name]))
                missing.pop(id(own[name]), None)  # tied weights are stored once
    if missing:
        raise ValueError(f"The checkpoint {str(folder)!r} lacks the weights {sorted(missing.values())}.")


def _whole(value: Any) -> Any:
    """A tensor with the parts of all processes, on the CPU."""
    return value.full_tensor().cpu() if hasattr(value, "full_tensor") else value


def _share(value: Any, like: Any) -> Any:
    """The part of a whole tensor that a process holds of `like`, as a distributed tensor."""
    from torch.distributed.tensor import distribute_tensor

    if not isinstance(value, torch.Tensor) or not hasattr(like, "full_tensor") or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
