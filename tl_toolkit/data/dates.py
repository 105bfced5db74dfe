"""`builtin:dates`: dates in everyday English and Hindi, and the same dates in ISO 8601.

This is a classical exercise for attention: each part of the target is somewhere in the source, as digits or as the name
of a month. All words and formats are listed in `dates.yaml`, so that the rows do not depend on locale, libraries or the
network.
"""

from __future__ import annotations

import datetime
import functools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .built_in import chosen_config, digest

if TYPE_CHECKING:
    from datasets import DatasetDict

CONFIGS = ("both", "english", "hindi")

SIZES = {"train": 20_000, "validation": 1_000, "test": 1_000}

FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)

TWO_DIGIT_YEARS = range(1969, 2069)
"""Years that may be written with two digits: as in POSIX, 69 to 99 mean 19xx and 00 to 68 mean 20xx."""

_SEED = 4


def load_dates(config_name: str | None = None) -> DatasetDict:
    """Return the splits train, validation and test with the columns `human`, `iso` and `language`.

    `language` is "english" or "hindi". No date occurs in two rows, and a date is in the same split in every
    configuration. `both`, the default, alternates between the languages.

    Raises:
        UserError: an unknown configuration.
    """
    from datasets import Dataset, DatasetDict

    config = chosen_config("dates", config_name, CONFIGS)
    return DatasetDict({split: Dataset.from_list(rows(config, split)) for split in SIZES})


def dates_record() -> dict[str, Any]:
    """Return the versions that the rows depend on: none."""
    return {"versions": None}


def rows(config: str, split: str) -> list[dict[str, str]]:
    """Build the rows of a split in order."""
    languages = ("english", "hindi") if config == "both" else (config,)
    made = []
    for place, date in enumerate(_dates_of(split)):
        language = languages[place % len(languages)]
        rng = random.Random(f"{_SEED} {language} {date.isoformat()}")
        made.append({"human": write(date, language, rng), "iso": date.isoformat(), "language": language})
    return made


def _dates_of(split: str) -> list[datetime.date]:
    """Return the dates of a split: a slice of all days sorted by a hash, so that no date is in two splits."""
    days = [FIRST + datetime.timedelta(day) for day in range((LAST - FIRST).days + 1)]
    days.sort(key=lambda day: digest(f"{_SEED} {day.isoformat()}"))
    names = list(SIZES)
    start = sum(SIZES[name] for name in names[: names.index(split)])
    return days[start : start + SIZES[split]]


def write(date: datetime.date, language: str, rng: random.Random) -> str:
    """Write `date` in a random format of a language; only `rng.random()` is used.

    The separators of an all-digit date define its order: `31.12.1999` and `31-12-1999` are day, month, year;
    `12/31/1999` is month, day, year; `1999/12/31` and `1999-12-31` are year, month, day.
    """
    words, fields = _words()[language], _fields(language)
    text = _draw(words["formats"] + (words["short_year_formats"] if date.year in TWO_DIGIT_YEARS else []), rng)
    text = re.sub(r"\{(\w+)\}", lambda field: fields[field[1]](date, rng), text)
    if language == "english":
        return _draw((str, str, str, str.lower, str.upper), rng)(text)
    return text.translate(_DEVANAGARI_DIGITS) if rng.random() < 0.5 else text


def _draw(choices: Any, rng: random.Random) -> Any:
    return choices[int(rng.random() * len(choices))]  # `random.choice` may change between versions of Python


_Field = Callable[[datetime.date, random.Random], str]


@functools.cache
def _words() -> dict[str, dict[str, Any]]:
    """The words and formats of each language."""
    return yaml.safe_load(Path(__file__).with_name("dates.yaml").read_text(encoding="utf-8"))


def _spelt(words: str | list[str], rng: random.Random) -> str:
    return words if isinstance(words, str) else _draw(words, rng)


def _english_nth(day: int) -> str:
    return f"{day}{'th' if 11 <= day <= 13 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


_HINDI_SUFFIXES = {1: "ली", 2: "री", 3: "री", 4: "थी", 6: "ठी"}  # agree with तारीख, a feminine noun; all others have वीं
_DEVANAGARI_DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")


def _fields(language: str) -> dict[str, _Field]:
    """The fields of a format, as functions of a date."""
    words = _words()[language]
    nth = _english_nth if language == "english" else lambda day: f"{day}{_HINDI_SUFFIXES.get(day, 'वीं')}"
    return {
        "d": lambda date, _: str(date.day),
        "dd": lambda date, _: f"{date.day:02}",
        "m": lambda date, _: str(date.month),
        "mm": lambda date, _: f"{date.month:02}",
        "year": lambda date, _: str(date.year),
        "yy": lambda date, _: f"{date.year % 100:02}",
        "nth": lambda date, _: nth(date.day),
        "number": lambda date, _: words["numbers"][date.day - 1],
        "month": lambda date, rng: _spelt(words["months"][date.month - 1], rng),
        "mon": lambda date, _: words["short_months"][date.month - 1],
        "weekday": lambda date, rng: _spelt(words["weekdays"][date.weekday()], rng),
        "wd": lambda date, _: words["weekdays"][date.weekday()][:3],
    }
