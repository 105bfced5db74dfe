"""What may be read by everybody: text and records without folders, users and tokens of the machine they come from."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ..errors import TOKEN, UserError
from .destination import HubFile

# A path from the root, from the home folder, or from above: /home/anna/lm, ~/lm, ../data/sst2, C:\Users\anna\lm; not
# the end of a tag, </b>, nor +/-.
_PATH = re.compile(r"(?<![\w/.:~-])(?!(?<=<)/\w+>|(?<=\+)/-)(?:~?/|\.{1,2}/|[A-Za-z]:[\\/])[^\s,;:'\"()\[\]{}<>|=]*")
_HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^\s/\\'\"]+")  # JSON doubles backslashes
# Keys of a record whose values are names of things that may lie in a folder of the machine, as `outputs/lm` does.
_NAMES = frozenset(
    ("name", "model_name_or_path", "tokenizer", "tokenizer_name", "dataset_name", "vectors", "forward", "backward")
)
_DATA = frozenset(("labels", "columns", "metrics", "history"))  # the dataset's own words, and numbers
_MACHINE = ("_name_or_path", "name_or_path", "is_local", "local_files_only", "_commit_hash", "tokenizer_file")
_LEARNED = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")


def clean_text(text: str) -> str:
    """`text` with every path shortened to its last part, and without tokens."""
    return TOKEN.sub("hf_***", _PATH.sub(lambda found: _last(found.group()), text))


def clean_name(name: str) -> str:
    """A Hub id, a built-in name or an address as it is; of a file or folder of this machine the last part alone."""
    if name.startswith("builtin:") or "://" in name:
        return clean_text(name)
    local = "/" in name and (Path(name).expanduser().exists() or name.count("/") > 1)
    return _last(name) if local else clean_text(name)


def clean_record(value: Any, key: str | None = None) -> Any:
    """A result record, or a part of it, as it may be read by everybody."""
    if key in _DATA:
        return value
    if isinstance(value, Mapping):
        return {name: clean_record(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [clean_record(item, key) for item in value]
    if isinstance(value, str):
        return clean_name(value) if key in _NAMES else clean_text(value)
    return value


def clean_settings(content: bytes) -> bytes:
    """A configuration without the entries that say where it was loaded from; otherwise the very same bytes."""
    settings = json.loads(content)
    if not isinstance(settings, dict) or not settings.keys() & set(_MACHINE):
        return content
    kept = {name: value for name, value in settings.items() if name not in _MACHINE}
    return (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def check_private(files: list[HubFile]) -> None:
    """UserError for a token, or the home folder of a user of this machine, in any text of the files."""
    from huggingface_hub import get_token

    own = (get_token() or "").encode()
    home = str(Path.home())
    for file in files:
        content = _readable(file)
        text = content.decode("utf-8", "replace")
        if (own and own in content) or TOKEN.search(text):
            raise UserError(
                f"The file {file.path!r} would publish a token of the Hub, so that nothing was sent. Remove the token "
                "from it, and revoke it at https://huggingface.co/settings/tokens if others could read it."
            )
        if Path(file.path).name in _LEARNED:  # words of the training texts, which may well look like paths
            continue
        found = _HOME.search(text)
        named = found.group() if found else home if len(home) > 1 and (home + "/").encode() in content else None
        if named is not None:
            raise UserError(
                f"The file {file.path!r} would publish a folder of this machine, {named!r}, so that nothing was sent. "
                "Remove it from the file."
            )


def _readable(file: HubFile) -> bytes:
    """The text in a file: all of it, or the header of weights."""
    if not file.path.endswith(".safetensors"):
        return file.read()
    if isinstance(file.content, bytes):
        return file.content[8 : 8 + struct.unpack("<Q", file.content[:8])[0]]
    with file.content.open("rb") as stream:
        return stream.read(struct.unpack("<Q", stream.read(8))[0])


def _last(path: str) -> str:
    """The last part of a path of any system; `~` for what is nothing but a home folder or the root."""
    if _HOME.fullmatch(path.rstrip("/\\")) or Path(path).expanduser() == Path.home():
        return "~"
    return PureWindowsPath(path).name if "\\" in path else path.rstrip("/").rpartition("/")[2] or path
