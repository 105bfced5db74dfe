"""Each finding on prepared rows, from a table that has it and one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from tl_toolkit.data.look import brief, lines, look, truncated, without_duplicates
from tl_toolkit.errors import UserError

TEXT = ("text", "text_pair")


def split(texts: list[str], labels: list[Any], first: int = 0, **more: list[Any]) -> Dataset:
    """Prepared rows, with labels typed as tasks type them; `row` counts from `first`."""
    types = {int: pa.int64(), float: pa.float64(), list: pa.list_(pa.int8())}
    columns = {"row": list(range(first, first + len(texts))), "text": texts, **more}
    return Dataset(pa.table({**columns, "label": pa.array(labels, types[type(labels[0])])}))


def splits(train: Dataset, test: Dataset | None = None, validation: Dataset | None = None) -> dict[str, Dataset]:
    other = split(["x", "y"], [0, 1]) if train.num_rows and isinstance(train["label"][0], int) else None
    parts = {"train": train, "validation": validation or other, "test": test or other}
    return {role: part for role, part in parts.items() if part is not None}


def test_data_without_findings_has_one_line() -> None:
    found = look(splits(split(["a", "b", "c", "d"], [0, 1, 1, 1])), TEXT, ["bad", "good"])
    assert found == {"most_frequent": {"label": "good", "share": 0.75}}
    assert lines(found) == brief(found) == [("Most frequent label", "'good' (75.0% of the training rows)")]


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "A"), ("a", " a"), ("not a", "not  a"), ("1", "1.0"), ("1000", "1E3"), ("caf\u00e9", "cafe\u0301")],
)
def test_classes_that_look_alike(first: str, second: str) -> None:
    found = look(splits(split(["a", "b", "c"], [0, 1, 2])), TEXT, [first, "other", second])
    assert found["alike"] == [[first, second]]
    assert ("Classes that look alike", f"{first!r} and {second!r}") in lines(found)


@pytest.mark.parametrize(("first", "second"), [("1", "10"), ("bad", "bed"), (f"{10**30}", f"{10**30 + 1}")])
def test_classes_that_do_not_look_alike(first: str, second: str) -> None:
    assert "alike" not in look(splits(split(["a", "b"], [0, 1])), TEXT, [first, second])


def test_missing_classes() -> None:
    found = look(splits(split(["a", "b"], [2, 2]), test=split(["c"], [6])), TEXT, list("ABCDEFG"))
    assert found["missing"] == {
        "train": {"count": 6, "classes": ["A", "B", "D"]},
        "validation": {"count": 5, "classes": ["C", "D", "E"]},
        "test": {"count": 6, "classes": ["A", "B", "C"]},
    }
    told = dict(lines(found))
    assert told["Missing classes"].startswith("training has no 'A', 'B', 'D' and 3 more; validation has no 'C'")
    assert told["Most frequent label"] == "'C' (100.0% of the training rows): there is nothing to learn"


def test_texts_in_two_splits_or_with_two_labels() -> None:
    train = split(["a b", "c", "a  b", " c", "C", "c", "e", "e"], [0, 1, 0, 0, 1, 1, 1, 1], first=10)
    found = look(
        splits(train, test=split([" a b\n", "x"], [0, 1]), validation=split(["e", "C"], [0, 1])), TEXT, ["n", "p"]
    )
    assert found["in_test"] == {"count": 2, "rows": [10, 12]}
    assert found["in_validation"] == {"count": 3, "rows": [14, 16, 17]}
    assert found["several_labels"] == {"count": 3, "rows": [11, 13, 15]}
    assert found["repeated"] == {"count": 2, "rows": [12, 17]}
    assert dict(lines(found))["Duplicate training texts"] == (
        "2 also in test (rows 10, 12), 3 also in validation (rows 14, 16, 17), "
        "3 with several labels (rows 11, 13, 15), 2 repeating an earlier row (rows 12, 17)"
    )
    assert "rows 10" not in str(brief(found)) and "2 also in test, " in str(brief(found))


def test_both_texts_of_a_pair_count() -> None:
    train = split(["a", "a", "a b"], [0, 1, 0], text_pair=["p", "q", "c"])
    test = split(["a", "a"], [0, 1], text_pair=["b c", ""])
    found = look({"train": train, "test": test}, TEXT, ["n", "p"])
    assert not {"in_test", "several_labels", "repeated"} & set(found)
    assert found["empty"] == {"test": {"count": 1, "rows": [1]}}


def test_empty_texts_are_counted_and_not_compared() -> None:
    train = split(["", "a", " \u3000\n", "b"], [0, 1, 1, 0])
    found = look(splits(train, test=split(["", "x"], [0, 1])), TEXT, ["n", "p"])
    assert found["empty"] == {"train": {"count": 2, "rows": [0, 2]}, "test": {"count": 1, "rows": [0]}}
    assert not {"in_test", "several_labels"} & set(found)
    assert dict(lines(found))["Empty texts"] == "2 in training (rows 0, 2), 1 in test (row 0)"


def test_many_labels_of_a_row() -> None:
    train = split(["a", "b", "b", "a", "d"], [[1, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])
    test = split(["x", "y"], [[1, 1, 1], [0, 0, 0]])
    found = look({"train": train, "test": test}, TEXT, ["r", "s", "t"])
    assert found["most_frequent"] == {"label": "r", "share": 0.8}
    assert found["missing"] == {"train": {"count": 1, "classes": ["s"]}}
    assert found["several_labels"] == {"count": 2, "rows": [0, 3]}
    assert found["repeated"] == {"count": 1, "rows": [2]}


@pytest.mark.parametrize(("last", "is_constant"), [([1, 0], True), ([1, 1], False)])
def test_a_label_of_all_rows_is_not_all_there_is_to_learn(last: list[int], is_constant: bool) -> None:
    found = look({"train": split(["a", "b", "c"], [[1, 0], [1, 0], last])}, TEXT, ["r", "s"])
    assert found["most_frequent"].get("is_constant", False) == is_constant
    assert lines(found)[0][1].endswith("rows)" + ": there is nothing to learn" * is_constant)


def test_numbers_have_no_classes() -> None:
    varied, equal = split(["a", "b", "a"], [0.5, 2.0, 0.25]), split(["a", "b", "a"], [0.5, 0.5, 0.5])
    assert look({"train": varied}, TEXT, None) == {"several_labels": {"count": 2, "rows": [0, 2]}}
    assert look({"train": equal}, TEXT, None) == {
        "most_frequent": {"label": "0.5", "share": 1.0, "is_constant": True}, "repeated": {"count": 1, "rows": [2]}
    }  # fmt: skip


def test_tagged_words() -> None:
    def tagged(words: list[list[str]], tags: list[list[int]]) -> Dataset:
        return Dataset(
            pa.table({"row": range(len(words)), "words": words, "tags": pa.array(tags, pa.list_(pa.int32()))})
        )

    train = tagged([["a", "b", "c"], ["d"], ["a", "b", "c"], []], [[0, 0, 1], [0], [0, 1, 1], []])
    found = look({"train": train, "test": tagged([["d"]], [[1]])}, ("words",), ["O", "B-x"])
    assert found["most_frequent"] == {"label": "O", "share": 4 / 7, "of": "training words"}
    assert found["missing"] == {"test": {"count": 1, "classes": ["O"]}}
    assert found["several_labels"] == {"count": 2, "rows": [0, 2]} and found["in_test"] == {"count": 1, "rows": [1]}
    assert found["empty"] == {"train": {"count": 1, "rows": [3]}}


def test_a_source_may_have_several_translations() -> None:
    def pairs(source: list[str], target: list[str]) -> Dataset:
        return Dataset(pa.table({"row": range(len(source)), "source": source, "target": target}))

    rows = {"train": pairs(["a", "a", "a", "b"], ["p", "q", "p", "r"]), "test": pairs(["b"], ["s"])}
    found = look(rows, ("source",), None)
    assert found == {"repeated": {"count": 1, "rows": [2]}, "in_test": {"count": 1, "rows": [3]}}


def test_dropped_rows_have_one_cause_each() -> None:
    train = split(["t", "t", "v", "a", "a ", "b", "b", "c", ""], [0, 1, 1, 0, 1, 1, 1, 0, 0])
    rows = splits(train, test=split(["t", "v"], [0, 1]), validation=split(["v", "x"], [0, 1]))
    kept, counts = without_duplicates(rows, TEXT)
    assert kept.tolist() == [5, 7, 8]
    assert counts == {"in_test": 3, "several_labels": 2, "repeated": 1}
    after = look({**rows, "train": train.select(kept)}, TEXT, ["n", "p"], counts)
    assert not {"in_test", "in_validation", "several_labels", "repeated"} & set(after)
    assert dict(lines(after))["Duplicate training texts"] == (
        "6 rows were dropped: 3 also in test, 2 with several labels, 1 repeating an earlier row"
    )
    kept, counts = without_duplicates(splits(split(["a", "b"], [0, 1])), TEXT)
    assert kept.tolist() == [0, 1] and counts == {}


def test_at_least_one_row_must_remain() -> None:
    with pytest.raises(UserError, match="leaves no training rows: all 2 are duplicates .2 with several labels."):
        without_duplicates(splits(split(["a", "a"], [0, 1])), TEXT)


def test_cut_texts_by_split() -> None:
    encoded = {
        role: Dataset.from_dict({"is_cut": cut})
        for role, cut in {"train": [True, False, False], "test": [False]}.items()
    }
    found = truncated(encoded, 5)
    assert found == {"truncated": {"length": 5, "splits": {"train": {"count": 1, "of": 3}}}}
    assert lines(found) == [("Texts cut to 5 tokens", "1 of 3 in training")]
    assert brief(found) == [("Also found", "texts cut to 5 tokens (1 of 3 in training)")]
    assert truncated({"test": encoded["test"]}, 5) == truncated({"train": Dataset.from_dict({"length": [1]})}, 1) == {}


def test_findings_take_at_most_six_lines_and_hold_no_texts() -> None:
    secret = [f"a secret text {n % 40}" for n in range(90)]
    train = split([*secret, ""], [n % 5 for n in range(91)])
    rows = splits(train, test=split(secret[:20], [0] * 20), validation=split(secret[30:60], [1] * 30))
    cut = {role: Dataset.from_dict({"is_cut": np.ones(len(part), bool)}) for role, part in rows.items()}
    found = look(rows, TEXT, ["A", "a", "B", "b", "c", "d"]) | truncated(cut, 2)
    assert len(lines(found)) == 6 and len(brief(found)) == 3
    assert "secret" not in str(found) + str(lines(found))
