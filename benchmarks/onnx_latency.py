"""Latency of one text in PyTorch, ONNX and int8, for trained models of texts.

    python benchmarks/onnx_latency.py outputs/lstm outputs/minilm

The forms answer the same random tokens in turns, so that other load on the machine meets all of them. Prints the median
and the smallest milliseconds of each form, with the threads of OMP_NUM_THREADS.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.arguments import ModelArguments
from tl_toolkit.deployment.check import EXAMPLE, OTHER, inputs_for
from tl_toolkit.deployment.graph import write_graph
from tl_toolkit.deployment.quantise import quantise
from tl_toolkit.deployment.session import OnnxModel
from tl_toolkit.loading.model import load_trained
from tl_toolkit.loading.tokenizer import load_tokenizer

ROUNDS, TOKENS = 200, 25


def forms_of(folder: str, place: Path) -> dict[str, Any]:
    """The model in its three forms."""
    arguments = ModelArguments(model_name_or_path=folder)
    model: Any = load_trained(arguments, "AutoModelForSequenceClassification", load_tokenizer(arguments)).eval()
    example, other = (inputs_for(model, ["input_ids", "attention_mask"], *sizes) for sizes in (EXAMPLE, OTHER))
    write_graph(model, example, other, ["logits"], place / "model.onnx")
    quantise(place / "model.onnx", place / "int8.onnx")
    exported = {"ONNX": "model.onnx", "int8": "int8.onnx"}
    return {"PyTorch": model, **{name: OnnxModel(place / file, model.config) for name, file in exported.items()}}


def main() -> None:
    for folder in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
            forms = forms_of(folder, Path(temporary))
            inputs = inputs_for(forms["PyTorch"], ["input_ids", "attention_mask"], 1, TOKENS)
            times: dict[str, list[float]] = {name: [] for name in forms}
            for _ in range(ROUNDS):
                for name, model in forms.items():
                    start = time.perf_counter()
                    model(**inputs)
                    times[name].append(1000 * (time.perf_counter() - start))
        for name, own in times.items():
            print(
                f"{folder:<30} {name:<8} median {statistics.median(own):7.2f} ms, smallest {min(own):7.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
