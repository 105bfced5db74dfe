"""What is counted by a budget: labels, or of language models, which learn without any, the tokens that they read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from ...evaluation.results import Result

LABELS, TOKENS = "labels", "tokens"
_SPOKEN = re.compile(r"\b(?:[Ll]abels|[Ll]abel(?= budget))\b")
_LEFT_ALONE = re.compile(r"(<(?:pre|code)\b.*?</(?:pre|code)>)", flags=re.DOTALL)
Text = TypeVar("Text", bound=str)


def unit_of(results: Sequence[Result]) -> str:
    """What the budgets of a panel's runs count: "labels" or "tokens"."""
    told = next((result for result in results if result.section("budget")), None)
    return TOKENS if told is not None and told.section("budget").get("train_tokens") else LABELS


def in_unit(text: Text, unit: str) -> Text:
    """A panel of a report, written for labels, in the unit that its budgets count; commands are left as they are.

    All sentences, tables and pictures speak of labels, which they count for every other task.
    """
    if unit == LABELS:
        return text
    parts = _LEFT_ALONE.split(text)
    parts[::2] = [_SPOKEN.sub(_as_tokens, str(part)) for part in parts[::2]]
    return type(text)("".join(map(str, parts)))


def _as_tokens(found: re.Match[str]) -> str:
    word = "tokens" if found[0].endswith("s") else "token"
    return word.capitalize() if found[0][0].isupper() else word
