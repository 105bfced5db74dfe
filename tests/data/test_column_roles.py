"""Column roles: unambiguous columns are found; errors for ambiguous ones list the columns."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Features, List, Value

from tl_toolkit.data.column_roles import Columns, find_columns
from tl_toolkit.errors import UserError

S, I, F, B = Value("string"), Value("int64"), Value("float32"), Value("bool")  # noqa: E741
N = Value("null")
C = ClassLabel(names=["no", "yes"])
SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"sentence": S, "label": C}, ("sentence", None, "label", SINGLE)),
        ({"text": S, "label": S}, ("text", None, "label", SINGLE)),
        ({"label": S, "text": S}, ("text", None, "label", SINGLE)),
        ({"id": S, "utterance": S, "intent": S}, ("utterance", None, "intent", SINGLE)),
        ({"anything": S, "whatever": C}, ("anything", None, "whatever", SINGLE)),
        ({"Review": S, "Sentiment": S}, ("Review", None, "Sentiment", SINGLE)),
        ({"text": S, "label": I, "label_text": S}, ("text", None, "label", SINGLE)),
        ({"label": C, "title": S, "content": S}, ("content", None, "label", SINGLE)),
        ({"text": S, "stars": I}, ("text", None, "stars", SINGLE)),
        ({"text": S, "score": F, "polarity": C}, ("text", None, "polarity", SINGLE)),
        ({"text": S, "spam": B}, ("text", None, "spam", SINGLE)),
        ({"idx": I, "sentence1": S, "sentence2": S, "label": C}, ("sentence1", "sentence2", "label", SINGLE)),
        ({"premise": S, "hypothesis": S, "label": C}, ("premise", "hypothesis", "label", SINGLE)),
        ({"text": S, "labels": List(C), "id": S}, ("text", None, "labels", MULTI)),
        ({"text": S, "labels": List(S)}, ("text", None, "labels", MULTI)),
        ({"name": S, "label": C}, ("name", None, "label", SINGLE)),
        ({"Unnamed: 0": I, "comment": S, "class": I}, ("comment", None, "class", SINGLE)),
        (
            {"tweet_id": I, "airline_sentiment": S, "airline": S, "tweet text": S, "user": S},
            ("tweet text", None, "airline_sentiment", SINGLE),
        ),
        ({"picture": F, "caption": S, "group": S}, ("caption", None, "group", SINGLE)),
        ({"reviewText": S, "overall": I}, ("reviewText", None, "overall", SINGLE)),
        ({"ticket": S, "ticketCategory": S}, ("ticket", None, "ticketCategory", SINGLE)),
        ({"tweet": Value("large_string"), "target": I}, ("tweet", None, "target", SINGLE)),
    ],
)
def test_columns_are_found(features, expected):
    assert find_columns(Features(features)) == Columns(*expected)


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ({"text": S, "rating": F}, "rating"),
        ({"sentence1": S, "sentence2": S, "label": F, "idx": I}, "label"),
        ({"text": S, "price": F, "year": I}, "price"),
        ({"text": S, "stars": I}, "stars"),
        ({"text": S, "rating": S, "year": I}, "rating"),  # numbers as strings; reading reports bad rows
        ({"text": S, "label": S, "score": F}, "score"),
    ],
)
def test_regression_uses_the_numeric_column(features, label):
    found = find_columns(Features(features), regression=True)
    assert (found.label, found.problem_type) == (label, "regression")


def test_specified_columns_take_precedence():
    features = Features({"a": S, "b": S, "c": S, "label": C, "other": I, "x": I, "y": I, "z": B})
    assert find_columns(features, text_column="b", label_column="other") == Columns("b", None, "other", SINGLE)
    assert find_columns(features, text_column="b", label_column="c") == Columns("b", None, "c", SINGLE)
    found = find_columns(features, text_column="b", text_pair_column="a")
    assert found == Columns("b", "a", "label", SINGLE)
    found = find_columns(features, text_column="a", label_column="x, y,z")
    assert found == Columns("a", None, ("x", "y", "z"), MULTI)


def test_no_pair_is_used_if_the_text_is_specified():
    features = Features({"sentence1": S, "sentence2": S, "label": C})
    assert find_columns(features, text_column="sentence2") == Columns("sentence2", None, "label", SINGLE)


def test_labels_may_be_absent_for_prediction():
    assert find_columns(Features({"text": S}), label_required=False) == Columns("text", None, None, None)
    assert find_columns(Features({"text": S, "n": I, "m": I}), label_required=False).label is None


@pytest.mark.parametrize(
    ("features", "arguments", "message"),
    [
        ({"one": S, "two": S, "label": C}, {}, "text column .*'one', 'two'.*--text_column.*'one' .string."),
        ({"n": I, "label": C}, {}, "no column holds strings"),
        ({"text": I, "label": S}, {}, "'text' is int64, not a string"),
        ({"text": S}, {}, "label column cannot be determined: no column holds a class"),
        ({"text": S, "price": F}, {}, "label column cannot be determined.*--task regression"),
        ({"text": S, "coarse": C, "fine": C}, {}, "several candidates.*'coarse', 'fine'.*2 classes"),
        ({"text": S, "toxic": I, "obscene": I}, {}, "separate several binary columns by commas"),
        ({"text": S, "label": C}, {"text_column": "txt"}, "no column 'txt'.*Did you mean 'text'"),
        ({"text": S, "label": C}, {"text_column": "label"}, "'label' is 2 classes, not a string"),
        ({"text": S, "label": C}, {"label_column": "text"}, "is already the text|text column cannot be determined"),
        ({"text": S, "a": S}, {"text_column": "text", "text_pair_column": "text"}, "both name 'text'"),
        ({"text": S, "a": I, "b": S}, {"label_column": "a,b"}, "'b' is string, but must hold integers or booleans"),
        ({"text": S, "when": Value("date32")}, {"label_column": "when"}, "'when' is date32, but must hold"),
        ({"text": S, "x": S}, {"regression": True, "text_column": "text"}, "no column holds a number"),
        ({"text": S, "x": I, "y": B}, {"regression": True, "label_column": "y"}, "'y' is bool, not a number"),
        ({"text": S, "a": F, "b": F}, {"regression": True, "label_column": "a,b"}, "predicts one number"),
        ({"text": S, "label": N}, {}, "the column 'label' is empty.*--label_column if it is another column"),
        ({"text": S, "label": N}, {"label_column": "label"}, "'label' is empty, but must hold classes"),
        ({"text": N, "label": C}, {}, "'text' is empty, not a string.*'text' .empty., 'label' .2 classes"),
        ({"text": S, "a": F, "b": F}, {"regression": True}, "several candidates"),
    ],
)
def test_ambiguous_columns_are_refused(features, arguments, message):
    with pytest.raises(UserError, match=message):
        find_columns(Features(features), **arguments)
