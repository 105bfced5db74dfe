"""Static vectors are assigned to the right rows; errors in other files name the line."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.data.vectors import load_vectors, words_of
from tl_toolkit.errors import UserError

LINES = ["good 1 2 3", "film -0.5 0.25 1e-1", "unused 9 9 9", "good 7 7 7", "plot 3 2 1 "]
EXPECTED = {"good": [1, 2, 3], "film": [-0.5, 0.25, 0.1], "plot": [3, 2, 1]}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer("word", ["good film plot other more"], min_frequency=1)


def check(vectors, found, tokenizer):
    assert vectors.shape == (len(tokenizer), 3) and vectors.dtype == np.float32 and found.dtype == bool
    for word, vector in EXPECTED.items():
        np.testing.assert_allclose(vectors[tokenizer.convert_tokens_to_ids(word)], vector, rtol=1e-6)
    known = {word for word, index in tokenizer.get_vocab().items() if found[index]}
    assert known == set(EXPECTED)


@pytest.mark.parametrize("header", [[], ["5 3"]], ids=["glove", "word2vec"])
@pytest.mark.parametrize("packed", [False, True])
def test_read(tmp_path, tokenizer, header, packed):
    path = tmp_path / ("vectors.txt.gz" if packed else "vectors.txt")
    content = "\n".join([*header, *LINES]).encode() + b"\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    check(*load_vectors(path, tokenizer), tokenizer)


def test_words_without_a_vector_are_near_the_mean(tmp_path, tokenizer):
    (tmp_path / "v.txt").write_text("\n".join(LINES))
    vectors, found = load_vectors(tmp_path / "v.txt", tokenizer)
    known = vectors[found]
    unknown = vectors[~found][1:]  # the first is the padding token
    assert (vectors[tokenizer.pad_token_id] == 0).all()
    assert (np.abs(unknown - known.mean(axis=0)) <= 0.5 * known.std(axis=0)).all()
    assert len(np.unique(unknown, axis=0)) == len(unknown)
    again, _ = load_vectors(tmp_path / "v.txt", tokenizer)
    assert np.array_equal(vectors, again)


def test_words_with_spaces_tabs_and_start_marks(tmp_path):
    (tmp_path / "v.txt").write_text("the\t1\t2\t3\nnew york 5 5 5\nfilm 4 5 6\n")
    tokenizer = build_tokenizer("bpe", ["the the the film film film"] * 9, vocab_size=290)
    vectors, found = load_vectors(tmp_path / "v.txt", tokenizer)
    token = "\u0120film"
    assert token in tokenizer.get_vocab() and found[tokenizer.convert_tokens_to_ids(token)]
    np.testing.assert_array_equal(vectors[tokenizer.convert_tokens_to_ids(token)], [4, 5, 6])


def test_lower_case_is_used_if_the_word_is_missing(tmp_path):
    (tmp_path / "v.txt").write_text("paris 1 1\nrome 2 2\nRome 3 3\n")
    tokenizer = build_tokenizer("word", ["Paris Rome rome"], min_frequency=1, lowercase=False)
    vectors, _ = load_vectors(tmp_path / "v.txt", tokenizer)
    found = {word: vectors[tokenizer.convert_tokens_to_ids(word)].tolist() for word in ("Paris", "Rome", "rome")}
    assert found == {"Paris": [1, 1], "Rome": [3, 3], "rome": [2, 2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good 1 2 3\nfilm 1 2\n", "Line 2 .* has 2 values, but must have 3"),
        (b"good 1 2 3\nfilm 1 x 3\n", "Line 2"),
        (b"good 1 nan 3\n", "Line 1"),
        (b"3 4\n\x00\x01\x02binary\xff\xfe\n", "Line 2 .*not binary"),
        (b"zebra 1 2 3\n", "None of the tokenizer's 9 tokens"),
        (b"", "None of the tokenizer's"),
    ],
)
def test_other_files_are_refused(tmp_path, tokenizer, content, message):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_vectors(tmp_path / "v.txt", tokenizer)


def test_missing_and_corrupt_files(tmp_path, tokenizer):
    (tmp_path / "glove.txt").write_text("good 1\n")
    with pytest.raises(UserError, match="was not found.*Did you mean 'glove.txt'"):
        load_vectors(tmp_path / "gloves.txt", tokenizer)
    whole = gzip.compress("\n".join(LINES).encode())
    for name, content in (("v.gz", b"no gzip"), ("cut.gz", whole[:-12]), ("bad.gz", whole[:10] + b"\xff" * 19)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load_vectors(tmp_path / name, tokenizer)


def test_vocabulary_learned_with_the_words_of_the_file(tmp_path):
    (tmp_path / "v.txt").write_text("\n".join(LINES))
    words = list(words_of(tmp_path / "v.txt"))
    tokenizer = build_tokenizer("word", ["a film", "a story"], min_frequency=2, more_words=words)
    assert {"a", "film", "good", "unused"} <= set(tokenizer.get_vocab())
    assert "story" not in tokenizer.get_vocab()  # occurs once in the texts, but not in the file
    ids = tokenizer("a good film")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "good", "film"]
    few = build_tokenizer("word", ["a film", "a story"], min_frequency=2, more_words=words, vocab_size=6)
    assert sorted(few.get_vocab().values()) == list(range(6))
    assert {"a", words[0]} <= set(few.get_vocab())  # the first words of the file are its most frequent


def test_real_glove():
    root = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not root:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with weights")
    path = Path(root) / "weights" / "glove.6B.50d.50k.txt.gz"
    tokenizer = build_tokenizer("word", ["the film isn't good , zxqvw"], min_frequency=1)
    start = time.perf_counter()
    vectors, found = load_vectors(path, tokenizer)
    assert time.perf_counter() - start < 10  # about half a second on an idle machine
    np.testing.assert_allclose(
        vectors[tokenizer.convert_tokens_to_ids("the")][:3], [0.4180, 0.2496, -0.4124], atol=1e-4
    )
    assert [bool(found[tokenizer.convert_tokens_to_ids(word)]) for word in ("n't", "film", "zxqvw")] == [
        True,
        True,
        False,
    ]
