"""Weights in 8 bits, with activations quantised at run time."""

from __future__ import annotations

import logging
from pathlib import Path


def quantise(source: Path, target: Path) -> None:
    """Write a graph whose matrices, LSTMs and embeddings have 8-bit weights, by onnxruntime's dynamic quantisation.

    Each output channel has its own scale. Weights use 7 of the 8 bits: without VNNI instructions, sums of 8-bit
    products overflow, and results would depend on the CPU.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends a pre-processing that torch's exporter has done
    try:
        quantize_dynamic(source, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
