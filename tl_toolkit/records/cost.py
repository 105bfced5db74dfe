"""The costs of a run (time, memory, disk space) and its hardware and software."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainingArguments

_LIBRARIES = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "evaluate")


class Stages:
    """Measures the seconds of consecutive stages of a run; each lasts until the next starts."""

    def __init__(self, first: str) -> None:
        self.began = self._since = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._stage = first

    def begin(self, stage: str) -> None:
        """End the current stage and start this one."""
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far, including the current one, and their `total`."""
        self.begin(self._stage)
        return {**self._seconds, "total": self._since - self.began}


@contextmanager
def peak_memory() -> Iterator[dict[str, int | None]]:
    """Measure the peak memory within the context as `bytes`: of the GPU if there is one, otherwise of the process.

    On a CPU this is the resident set size, including interpreter and libraries; None if the system cannot reset it.
    """
    import torch

    result: dict[str, int | None] = {"bytes": None}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield result
        result["bytes"] = torch.cuda.max_memory_allocated()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        yield result
        return
    yield result
    status = Path("/proc/self/status").read_text()
    result["bytes"] = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def disk_bytes(folder: Path) -> int:
    """Return the size of a saved model (weights, configuration, code, tokenizer) without checkpoints."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    own = [path for path in files if not path.relative_to(folder).parts[0].startswith(("checkpoint-", "."))]
    return sum(path.stat().st_size for path in own)


def trainable_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters of `model`."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


SET_BY_SAVING = ("architectures", "auto_map", "dtype", "name_or_path", "transformers_version")
"""Fields of a configuration that change when its model is saved or loaded."""
_NOT_OF_ARCHITECTURE = ("vocab_size", "id2label", "label2id", *SET_BY_SAVING)


def architecture(model: Any) -> str:
    """Return a hash of what determines the time of a forward pass, besides its inputs.

    That is the configuration and the shapes of the weights. A table of embeddings, which is read row by row, may have
    other rows, unless it is the output layer as well. Models of other classes, sizes or adapters differ.
    """
    from torch import nn

    tables, others = set[int](), set[int]()
    for part in model.modules():
        own = tables if isinstance(part, nn.Embedding) else others
        own |= {id(weight) for weight in part.parameters(recurse=False)}
    tables -= others
    tensors = [*model.named_parameters(), *model.named_buffers()]
    shapes = [(name, str(own.dtype), tuple(own.shape)[id(own) in tables :]) for name, own in tensors]
    config = {name: own for name, own in model.config.to_dict().items() if name not in _NOT_OF_ARCHITECTURE}
    content = json.dumps([type(model).__name__, shapes, config], sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def hardware(args: TrainingArguments) -> dict[str, Any]:
    """Return device, processes and how they share the model, rows of an update, threads and platform of this run."""
    import torch

    kind = str(args.distributed_state.distributed_type.value) if args.distributed_state else "NO"
    name = torch.cuda.get_device_name() if args.device.type == "cuda" else _processor()
    return {
        "device": args.device.type,
        "device_name": name,
        "world_size": args.world_size,
        "distributed_type": kind,
        "sharded": kind in ("FSDP", "DEEPSPEED"),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect results."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in _LIBRARIES}}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def wait_for_device() -> None:
    """Wait until the GPU has finished its work, so that times are correct."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
