"""The folder that `export` writes; without imports of torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError

GRAPH, ENCODER, FACTS = "model.onnx", "encoder.onnx", "export.json"


def is_exported(folder: Path) -> bool:
    """Whether `export` has written this folder."""
    return (folder / GRAPH).is_file() and (folder / FACTS).is_file()


def check_forms(asked: Iterable[str]) -> None:
    """UserError if a graph is asked for and the packages that write it are missing."""
    if any(form != "pytorch" for form in asked):
        check_installed()


def check_installed() -> None:
    """UserError without the packages of the extra `export`."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"The package {error.name} is missing, which ONNX models need: pip install 'tl-toolkit[export]'."
        ) from error
