"""Remove folders, users and tokens of this machine from published text and records."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import TOKEN, UserError
from ..evaluation.names import HOME, last_part, without_paths
from .destination import HubFile

# Record keys with values that may name a local file or folder, such as `outputs/lm`.
_NAMES = frozenset(
    ("name", "model_name_or_path", "tokenizer", "tokenizer_name", "dataset_name", "vectors", "forward", "backward")
    + ("teacher", "unlabelled_dataset")
)
_DATA = frozenset(("labels", "columns", "metrics", "history"))  # names from the dataset, and numbers
_MACHINE = ("_name_or_path", "name_or_path", "is_local", "local_files_only", "_commit_hash", "tokenizer_file")
_LEARNED = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")


def clean_text(text: str) -> str:
    """`text` with every path shortened to its last part and all tokens masked."""
    return TOKEN.sub("hf_***", without_paths(text))


def clean_name(name: str) -> str:
    """Return a Hub id, built-in name or address unchanged, and a local path as its last part."""
    if name.startswith("builtin:") or "://" in name:
        return clean_text(name)
    local = "/" in name and (Path(name).expanduser().exists() or name.count("/") > 1)
    return last_part(name) if local else clean_text(name)


def clean_record(value: Any, key: str | None = None) -> Any:
    """A result record, or part of it, without private data."""
    return _changed(value, lambda text, name: clean_name(text) if name in _NAMES else clean_text(text), key)


def without_absolute_paths(record: Any) -> Any:
    """A result record, or part of it, for a report on this machine: without absolute paths and tokens."""
    return _changed(record, lambda text, name: TOKEN.sub("hf_***", without_paths(text, relative=False)))


def _changed(value: Any, change: Callable[[str, str | None], str], key: str | None = None) -> Any:
    """`value` with each text changed by `change(text, key)`, except names and numbers of the data."""
    if key in _DATA:
        return value
    if isinstance(value, Mapping):
        return {name: _changed(item, change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_changed(item, change, key) for item in value]
    return change(value, key) if isinstance(value, str) else value


def clean_settings(content: bytes) -> bytes:
    """A configuration without the entries on where it was loaded from; the same bytes if it has none."""
    settings = json.loads(content)
    if not isinstance(settings, dict) or not settings.keys() & set(_MACHINE):
        return content
    kept = {name: value for name, value in settings.items() if name not in _MACHINE}
    return (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def check_private(files: list[HubFile]) -> None:
    """UserError if the text of a file contains a token or a home folder of this machine."""
    from huggingface_hub import get_token

    own = (get_token() or "").encode()
    home = str(Path.home())
    for file in files:
        content = _readable(file)
        text = content.decode("utf-8", "replace")
        if (own and own in content) or TOKEN.search(text):
            raise UserError(
                f"The file {file.path!r} contains a Hub token, so nothing was sent. Remove the token from it, and "
                "revoke it at https://huggingface.co/settings/tokens if others could read it."
            )
        if Path(file.path).name in _LEARNED:  # words of the training texts, which may look like paths
            continue
        found = HOME.search(text)
        named = found.group() if found else home if len(home) > 1 and (home + "/").encode() in content else None
        if named is not None:
            raise UserError(
                f"The file {file.path!r} contains a folder name of this machine, {named!r}, so nothing was sent. "
                "Remove the name from the file."
            )


def _readable(file: HubFile) -> bytes:
    """The bytes of a file that can contain text: all of them, or the header of safetensors."""
    if not file.path.endswith(".safetensors"):
        return file.read()
    if isinstance(file.content, bytes):
        return file.content[8 : 8 + struct.unpack("<Q", file.content[:8])[0]]
    with file.content.open("rb") as stream:
        return stream.read(struct.unpack("<Q", stream.read(8))[0])
