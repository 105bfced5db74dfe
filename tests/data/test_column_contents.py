from __future__ import annotations

import random
from typing import Any

import pytest
from datasets import Dataset

from tl_toolkit.data.column_contents import roles_by_content
from tl_toolkit.errors import UserError

WORDS = ["pear", "iron", "rhine", "gold", "plum", "fig"]
TEXTS = [" ".join(WORDS[(row * k) % 6] for k in range(1, 5 + row % 7)) + f" {row}" for row in range(120)]


def roles(task: str | None = None, text: str | None = None, label: str | None = None, **columns: Any) -> tuple:
    return tuple(roles_by_content(Dataset.from_dict(columns), task, text, label))


def test_the_longest_and_most_varied_texts_and_the_fewest_repeated_values() -> None:
    columns = {
        "nr": list(range(120)),
        "autor": [f"person {row // 2}" for row in range(120)],
        "name": [f"short {row}" for row in range(120)],  # a conventional name for texts
        "quelle": ["web"] * 120,
        "land": [f"country {row % 7}" for row in range(120)],
        "urteil": [("gut", "schlecht", None)[row % 3] for row in range(120)],
        "was": TEXTS,
    }
    assert roles(**columns) == ("text-classification", "was", "urteil", ["land"])
    assert roles(**columns, label="land")[:3] == ("text-classification", "was", "land")
    assert roles(**columns, text="name")[1] == "name"


def test_a_column_that_the_texts_tell_comes_before_one_of_something_else() -> None:
    texts = [f"{text} {('engine', 'orchard', 'river')[row % 3]} {row % 11}" for row, text in enumerate(TEXTS)]
    topic = [("cars", "fruit", "water")[row % 3] for row in range(120)]
    checked = [("yes", "no")[row * 7919 // 13 % 2] for row in range(120)]
    assert roles(checked=checked, was=texts, kind=topic) == ("text-classification", "was", "kind", ["checked"])
    assert roles(checked=checked, was=TEXTS, kind=checked[::-1])[2] == "checked"
    grade = [{"cars": 1.5, "fruit": 2.75, "water": 4.25}[own] + row % 7 / 100 for row, own in enumerate(topic)]
    assert roles(checked=checked, was=texts, kind=grade) == ("regression", "was", "kind", ["checked"])
    assert roles(checked=checked, was=TEXTS, kind=[row * 37 % 101 / 8 for row in range(120)])[2] == "checked"
    chance = random.Random(3)
    names = ["".join(chance.choices("abcdefgh", k=4)) + ("ova", "stein", "uchi")[row % 3] for row in range(120)]
    assert roles(checked=checked, was=names, kind=topic)[2] == "kind"  # single words are told by their characters
    table = Dataset.from_dict({"label": checked, "was": texts, "kind": topic})
    assert roles_by_content(table).label == "label"


def test_the_task_follows_from_the_label() -> None:
    stars = [1 + row % 5 for row in range(120)]
    score = [row * 0.37 % 5 for row in range(120)]
    assert roles(kritik=TEXTS, sterne=stars)[:3] == ("text-classification", "kritik", "sterne")
    assert roles(kritik=TEXTS, sterne=[float(own) for own in stars])[0] == "text-classification"
    assert roles(kritik=TEXTS, note=score)[:3] == ("regression", "kritik", "note")
    assert roles(kritik=TEXTS, land=["a", "b"] * 60, rating=score)[:3] == ("regression", "kritik", "rating")
    assert roles("regression", kritik=TEXTS, sterne=stars)[:3] == ("regression", "kritik", "sterne")
    assert roles(kritik=TEXTS, themen=[["a"], ["a", "b"], []] * 40)[:3] == ("text-classification", "kritik", "themen")
    words = [text.split() for text in TEXTS]
    tags = [["O" if word in WORDS else "NUM" for word in own] for own in words]
    assert roles(wert=tags, satz=words)[:3] == ("token-classification", "satz", "wert")


def test_without_a_label_the_columns_are_named() -> None:
    with pytest.raises(UserError, match=r"No column can be the label.*'id'.*--label_column"):
        roles(kritik=TEXTS, id=list(range(120)))
    with pytest.raises(UserError, match="'lfd' \\(120 different in 120 rows\\)"):  # a serial number is no quantity
        roles(kritik=TEXTS, lfd=list(range(100001, 100121)))
    with pytest.raises(UserError, match="The only column is 'kritik'"):
        roles(kritik=TEXTS)
    with pytest.raises(UserError, match="No column holds texts"):
        roles(zahl=[1, 2] * 60)
