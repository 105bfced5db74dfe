"""Vocabulary files: tokens by id, and for classifiers the names of the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from .safe_pickle import check_exists, read_plain_pickle

_ADVICE = (
    "Save plain lists: in fastai pickle.dump(list(learn.dls.vocab), file) for a language model, and "
    "pickle.dump([list(part) for part in learn.dls.vocab], file) for a classifier, whose second list names the labels."
)


class Vocabulary(NamedTuple):
    """Tokens by id, and labels by id where the file has them."""

    tokens: list[str]
    labels: list[str] | None = None


def read_vocabulary(path: Path) -> Vocabulary:
    """A list of tokens, or of a list of tokens and a list of labels, from a pickle or a JSON file.

    Raises:
        UserError: no such file, any class or function in it, or anything but lists of strings.
    """
    check_exists(path)
    content = _read_json(path) if path.suffix == ".json" else read_plain_pickle(path, _ADVICE)
    if _is_strings(content):
        return Vocabulary(content)
    if isinstance(content, list) and len(content) == 2 and all(map(_is_strings, content)):
        return Vocabulary(*content)
    raise UserError(
        f"The vocabulary {str(path)!r} is no list of strings, nor a list of tokens and a list of labels. {_ADVICE}"
    )


def _is_strings(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and all(isinstance(item, str) for item in content)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"The vocabulary {str(path)!r} is not valid JSON: {error}.") from error
