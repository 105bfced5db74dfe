"""`builtin:dates`: texts match their ISO dates, checked by parsers that are independent of the generator."""

from __future__ import annotations

import datetime
import random
import re
import unicodedata

import pytest
from dateutil import parser as dateutil_parser

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data import dates
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError

ORDINALS = {
    **{
        word: str(n)
        for n, word in enumerate(
            ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"], 1
        )
    },
    **{"tenth": "10", "eleventh": "11", "twelfth": "12", "twentieth": "20", "thirtieth": "30"},
    **{f"{stem}teenth": str(n) for n, stem in enumerate(["thir", "four", "fif", "six", "seven", "eigh", "nine"], 13)},
}
HINDI_WEEKDAYS = ["सोम", "मंगल", "बुध", "गुरु|बृहस्पति", "शुक्र", "शनि", "रवि|इत"]
# The first letters identify a month.
HINDI_MONTHS = ["जन", "फ", "मार्", "अप्", "मई", "जून", "जुल", "अग", "सित", "अक्", "नव", "दिस"]
HINDI_NUMBERS = [
    "शून्य",
    "एक",
    "दो",
    "तीन",
    "चार",
    "पाँच",
    "छह",
    "सात",
    "आठ",
    "नौ",
    "दस",
    "ग्यारह",
    "बारह",
    "तेरह",
    "चौदह",
    "पंद्रह",
    "सोलह",
    "सत्रह",
    "अठारह",
    "उन्नीस",
    "बीस",
    "इक्कीस",
    "बाईस",
    "तेईस",
    "चौबीस",
    "पच्चीस",
    "छब्बीस",
    "सत्ताईस",
    "अट्ठाईस",
    "उनतीस",
    "तीस",
    "इकतीस",
]


def full_year(year: str) -> int:
    number = int(year)
    return number if len(year) == 4 else number + (1900 if number >= 69 else 2000)


def figures_only(text: str) -> str | None:
    """The ISO date of a text such as 31.12.1999, whose separators define the order; None for other texts."""
    if found := re.fullmatch(r"(\d{4})([/-])(\d\d?)\2(\d\d?)", text):
        year, _, month, day = found.groups()
    elif found := re.fullmatch(r"(\d\d?)([./-])(\d\d?)\2(\d{4}|\d\d)", text):
        first, separator, second, year = found.groups()
        day, month = (second, first) if separator == "/" else (first, second)
    else:
        return None
    return datetime.date(full_year(year), int(month), int(day)).isoformat()


def parse_english(text: str) -> str:
    text = text.lower()
    if in_figures := figures_only(text):
        return in_figures
    text = re.sub(r"\b(the|of|on|in|year|day)\b", " ", text)
    text = re.sub(r"\b(twenty|thirty)-(\w+)", lambda m: f"{m[1][:3]}{ORDINALS[m[2]]}", text)
    text = re.sub(r"\b(twe|thi)(\d)\b", lambda m: {"twe": "2", "thi": "3"}[m[1]] + m[2], text)
    text = re.sub(r"[a-z]+", lambda m: ORDINALS.get(m[0], m[0]), text)
    if not re.search(r"\d{4}", text):
        text = re.sub(r"'?(\d\d)$", lambda m: str(full_year(m[1])), text)
    found = dateutil_parser.parse(text)
    weekday = re.match(r"\s*(mon|tue|wed|thu|fri|sat|sun)", text)
    if weekday:
        assert found.strftime("%w") == str(["sun", "mon", "tue", "wed", "thu", "fri", "sat"].index(weekday[1])), text
    return found.date().isoformat()


def parse_hindi(text: str) -> str:
    text = "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)
    weekday = None
    for number, names in enumerate(HINDI_WEEKDAYS):
        if found := re.search(rf"(?:{names})वार,? ?", text):
            weekday, text = number, text.replace(found[0], "")
    text = text.removeprefix("दिनांक").removeprefix(":").strip()
    if in_figures := figures_only(text):
        date = datetime.date.fromisoformat(in_figures)
    else:
        tokens = re.findall(r"[^\W_][\w\u0900-\u0963\u0970-\u097F]*", text)
        (month,) = {n for n, start in enumerate(HINDI_MONTHS, 1) for token in tokens if token.startswith(start)}
        numbers = [found[0] for token in tokens if (found := re.match(r"\d+", token))]
        numbers += [str(HINDI_NUMBERS.index(token)) for token in tokens if token in HINDI_NUMBERS]
        years = [number for number in numbers if len(number) == 4]
        day, year = [number for number in numbers if number not in years] + years
        date = datetime.date(full_year(year), month, int(day))
    assert weekday is None or date.weekday() == weekday, text
    return date.isoformat()


@pytest.mark.parametrize(("language", "parse"), [("english", parse_english), ("hindi", parse_hindi)])
def test_texts_match_the_iso_dates(language: str, parse) -> None:
    checked = [
        *dates.rows(language, "validation"),
        *dates.rows(language, "test"),
        *dates.rows(language, "train")[:1500],
    ]
    assert [(row["human"], parse(row["human"])) for row in checked] == [(row["human"], row["iso"]) for row in checked]


@pytest.mark.parametrize("language", ["english", "hindi"])
def test_every_day_name_and_format_is_correct(language: str) -> None:
    """All days of a leap year, so that every month, weekday, ordinal and number word occurs in many formats."""
    parse = {"english": parse_english, "hindi": parse_hindi}[language]
    for shift in range(366):
        date = datetime.date(1996, 1, 1) + datetime.timedelta(shift)
        for draw in range(3):
            text = dates.write(date, language, random.Random(f"{date} {draw}"))
            assert parse(text) == date.isoformat(), text


@pytest.mark.parametrize("config", dates.CONFIGS)
def test_splits_have_their_sizes_and_no_date_in_common(config: str) -> None:
    seen = {split: [row["iso"] for row in dates.rows(config, split)] for split in dates.SIZES}
    assert {split: len(iso) for split, iso in seen.items()} == dates.SIZES
    everything = [iso for split in seen.values() for iso in split]
    assert len(set(everything)) == len(everything)
    assert set(everything) == {row["iso"] for split in dates.SIZES for row in dates.rows("english", split)}


def test_both_alternates_between_languages() -> None:
    both, english, hindi = (dates.rows(config, "test") for config in dates.CONFIGS)
    assert both[0::2] == english[0::2] and both[1::2] == hindi[1::2]
    assert [row["language"] for row in both[:3]] == ["english", "hindi", "english"]


def test_hindi_is_nfc_and_in_devanagari() -> None:
    texts = [row["human"] for row in dates.rows("hindi", "train")]
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)
    letters = {letter for text in texts for letter in text if letter.isalpha() or unicodedata.category(letter) == "Mn"}
    assert all(unicodedata.name(letter).startswith("DEVANAGARI") for letter in letters)
    in_devanagari = sum(bool(re.search("[०-९]", text)) for text in texts)
    in_ascii = sum(bool(re.search("[0-9]", text)) for text in texts)
    assert min(in_devanagari, in_ascii) > 8000 and in_devanagari + in_ascii == len(texts)  # never mixed in one text


def test_short_years_are_only_used_in_their_range() -> None:
    short = [r for c in ("english", "hindi") for r in dates.rows(c, "train") if not re.search(r"\d{4}", r["human"])]
    assert len(short) > 1000
    assert {int(row["iso"][:4]) for row in short} <= set(dates.TWO_DIGIT_YEARS)


def test_the_rows_are_fixed() -> None:
    """Changed rows would invalidate all published results on the dataset."""
    source = load_source(DataArguments(dataset_name="builtin:dates"))
    assert source.dataset["train"].column_names == ["human", "iso", "language"]
    assert source.record == {
        "name": "builtin:dates", "config": None, "revision": None, "versions": None, "fingerprint": "00761259c877ac8e",
    }  # fmt: skip


def test_an_unknown_configuration_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no configuration 'hindu'. Did you mean 'hindi'\? Known: 'both', 'english'"):
        load_source(DataArguments(dataset_name="builtin:dates:hindu"))
