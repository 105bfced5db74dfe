"""`builtin:dates`: dates in everyday English and Hindi, and the same dates in ISO 8601.

This is a classical exercise for attention: each part of the target is somewhere in the source, as digits or as the name
of a month. All words and formats are listed in this file, so that the rows do not depend on locale, libraries or the
network. Hindi follows the forms of the Unicode CLDR and their common variants.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .built_in import chosen_config

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
    days.sort(key=lambda day: hashlib.sha256(f"{_SEED} {day.isoformat()}".encode()).digest())
    start = 0
    for name, size in SIZES.items():
        if name == split:
            return days[start : start + size]
        start += size
    raise KeyError(split)


def write(date: datetime.date, language: str, rng: random.Random) -> str:
    """Write `date` in a random format of a language; only `rng.random()` is used.

    The separators of an all-digit date define its order: `31.12.1999` and `31-12-1999` are day, month, year;
    `12/31/1999` is month, day, year; `1999/12/31` and `1999-12-31` are year, month, day.
    """
    formats = [*FORMATS[language], *(SHORT_YEAR_FORMATS[language] if date.year in TWO_DIGIT_YEARS else ())]
    text = _draw(formats, rng)
    fields = _FIELDS[language]
    text = re.sub(r"\{(\w+)\}", lambda field: fields[field[1]](date, rng), text)
    if language == "english":
        return _draw((str, str, str, str.lower, str.upper), rng)(text)
    return text.translate(_DEVANAGARI_DIGITS) if rng.random() < 0.5 else text


def _draw(choices: Any, rng: random.Random) -> Any:
    return choices[int(rng.random() * len(choices))]  # `random.choice` may change between versions of Python


# --- English --------------------------------------------------------------------------------------------------------

ENGLISH_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
ENGLISH_SHORT_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec")
ENGLISH_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ENGLISH_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth", "twenty-sixth",
    "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip


def _english_nth(day: int) -> str:
    return f"{day}{'th' if 11 <= day <= 13 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


# --- Hindi ----------------------------------------------------------------------------------------------------------

HINDI_MONTHS = (
    ("जनवरी",), ("फ़रवरी", "फरवरी"), ("मार्च",), ("अप्रैल",), ("मई",), ("जून",), ("जुलाई",), ("अगस्त",),
    ("सितंबर", "सितम्बर"), ("अक्टूबर", "अक्तूबर"), ("नवंबर", "नवम्बर"), ("दिसंबर", "दिसम्बर"),
)  # fmt: skip
HINDI_SHORT_MONTHS = ("जन॰", "फ़र॰", "मार्च", "अप्रैल", "मई", "जून", "जुल॰", "अग॰", "सित॰", "अक्तू॰", "नव॰", "दिस॰")
HINDI_WEEKDAYS = (
    ("सोमवार",), ("मंगलवार",), ("बुधवार",), ("गुरुवार", "बृहस्पतिवार"), ("शुक्रवार",), ("शनिवार",), ("रविवार", "इतवार"),
)  # fmt: skip
HINDI_NUMBERS = (
    "एक", "दो", "तीन", "चार", "पाँच", "छह", "सात", "आठ", "नौ", "दस", "ग्यारह", "बारह", "तेरह", "चौदह", "पंद्रह", "सोलह",
    "सत्रह", "अठारह", "उन्नीस", "बीस", "इक्कीस", "बाईस", "तेईस", "चौबीस", "पच्चीस", "छब्बीस", "सत्ताईस", "अट्ठाईस", "उनतीस",
    "तीस", "इकतीस",
)  # fmt: skip
_HINDI_SUFFIXES = {1: "ली", 2: "री", 3: "री", 4: "थी", 6: "ठी"}  # agree with तारीख, a feminine noun; all others have वीं
_DEVANAGARI_DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")


# --- formats --------------------------------------------------------------------------------------------------------

_Field = Callable[[datetime.date, random.Random], str]

_NUMBERS: dict[str, _Field] = {
    "d": lambda date, _: str(date.day),
    "dd": lambda date, _: f"{date.day:02}",
    "m": lambda date, _: str(date.month),
    "mm": lambda date, _: f"{date.month:02}",
    "year": lambda date, _: str(date.year),
    "yy": lambda date, _: f"{date.year % 100:02}",
}
_FIELDS: dict[str, dict[str, _Field]] = {
    "english": {
        **_NUMBERS,
        "nth": lambda date, _: _english_nth(date.day),
        "ordinal": lambda date, _: ENGLISH_ORDINALS[date.day - 1],
        "month": lambda date, _: ENGLISH_MONTHS[date.month - 1],
        "mon": lambda date, _: ENGLISH_SHORT_MONTHS[date.month - 1],
        "weekday": lambda date, _: ENGLISH_WEEKDAYS[date.weekday()],
        "wd": lambda date, _: ENGLISH_WEEKDAYS[date.weekday()][:3],
    },
    "hindi": {
        **_NUMBERS,
        "nth": lambda date, _: f"{date.day}{_HINDI_SUFFIXES.get(date.day, 'वीं')}",
        "number": lambda date, _: HINDI_NUMBERS[date.day - 1],
        "month": lambda date, rng: _draw(HINDI_MONTHS[date.month - 1], rng),
        "mon": lambda date, _: HINDI_SHORT_MONTHS[date.month - 1],
        "weekday": lambda date, rng: _draw(HINDI_WEEKDAYS[date.weekday()], rng),
    },
}
FORMATS: dict[str, tuple[str, ...]] = {
    "english": (
        "{d} {month} {year}",
        "{month} {d}, {year}",
        "{nth} {month} {year}",
        "{month} {nth}, {year}",
        "{month} the {nth}, {year}",
        "the {nth} of {month}, {year}",
        "{nth} day of {month} in the year {year}",
        "the {ordinal} of {month} {year}",
        "{month} {ordinal}, {year}",
        "{weekday}, {d} {month} {year}",
        "{weekday}, {month} {d}, {year}",
        "{weekday} the {nth} of {month} {year}",
        "on {weekday} {month} {d} {year}",
        "{wd}, {dd} {mon} {year}",
        "{wd} {mon} {d}, {year}",
        "{d} {mon} {year}",
        "{mon} {d}, {year}",
        "{mon}. {nth} {year}",
        "{dd}-{mon}-{year}",
        "{year}, {month} {d}",
        "{year} {mon} {dd}",
        "{d}.{m}.{year}",
        "{dd}.{mm}.{year}",
        "{dd}-{mm}-{year}",
        "{m}/{d}/{year}",
        "{mm}/{dd}/{year}",
        "{year}/{mm}/{dd}",
        "{year}/{m}/{d}",
    ),
    "hindi": (
        "{d} {month} {year}",
        "{d} {month}, {year}",
        "{month} {d}, {year}",
        "{dd} {month} {year} को",
        "{weekday}, {d} {month} {year}",
        "{weekday} {d} {month} {year} को",
        "{month} की {d} तारीख, {year}",
        "{month} की {nth} तारीख, {year}",
        "{weekday}, {nth} {month} {year}",
        "{number} {month} {year}",
        "{weekday}, {number} {month}, {year}",
        "{d} {month} सन् {year}",
        "सन् {year} में {d} {month} को",
        "वर्ष {year} के {month} महीने की {d} तारीख",
        "दिनांक {d} {month} {year}",
        "दिनांक: {dd}-{mm}-{year}",
        "{d} {mon} {year}",
        "{mon} {d}, {year}",
        "{weekday}, {dd} {mon} {year}",
        "{dd}-{mon}-{year}",
        "{year}, {d} {month}",
        "{dd}-{mm}-{year}",
        "{d}-{m}-{year}",
        "{d}.{m}.{year}",
        "{year}/{mm}/{dd}",
    ),
}
SHORT_YEAR_FORMATS: dict[str, tuple[str, ...]] = {
    "english": ("{d} {mon} '{yy}", "{mon} {d}, '{yy}", "{dd}.{mm}.{yy}", "{m}/{d}/{yy}", "{wd} {nth} {mon} {yy}"),
    "hindi": ("{d} {month} '{yy}", "{dd}-{mm}-{yy}", "{d} {mon} {yy}", "{weekday}, {d}.{m}.{yy}"),
}
"""Formats that end with the last two digits of the year."""
