"""Tokenizers: whole words in every script, vocabularies that depend only on the texts, exact round trips."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from datasets import Dataset
from transformers import BatchEncoding

from tl_toolkit.data.encoding import encode_texts
from tl_toolkit.data.tokenizers import KINDS, SPECIAL_TOKENS, build_tokenizer, kind_for
from tl_toolkit.errors import UserError

TEXTS = [
    "The film isn't bad; it's good, and the cast's fine!",
    "the plot -- the PLOT -- was 3.14 times worse...",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 "
    "\u0938\u0941\u0928\u094d\u0926\u0930 \u092b\u093f\u0932\u094d\u092e",
] * 2  # fmt: skip


def words(tokenizer, text):
    return [token for token, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(
        tokenizer.backend_tokenizer.normalizer.normalize_str(text))]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's o'clock", ["it", "'s", "o'clock"]),
        ("don't can\u2019t n't", ["do", "n't", "ca", "n't", "n't"]),
        ("'quoted' end.", ["'", "quoted", "'", "end", "."]),
        ("3.14, 1,000 and 1930s...", ["3.14", ",", "1,000", "and", "1930s", "..."]),
        ("hi--there well-known", ["hi", "--", "there", "well", "-", "known"]),
        ("snake_case x.y", ["snake_case", "x", ".", "y"]),
        # vowel signs, virama and joiners of Devanagari do not end a word; the danda is punctuation
        ("\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0935\u093f\u0936\u094d\u200d\u0935\u0964",
         ["\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f", "\u0935\u093f\u0936\u094d\u200d\u0935", "\u0964"]),
        ("cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        ("\u65e5\u672c text", ["\u65e5", "\u672c", "text"]),
        ("  \n\t", []),
    ],
)  # fmt: skip
def test_words(text, expected):
    assert words(build_tokenizer("word", TEXTS), text) == expected


def test_tokenised_texts_are_unchanged():
    text = "The <unk> @-@ old N.J. tree ,"
    tokenizer = build_tokenizer("whitespace", [text] * 3, min_frequency=1)
    ids = tokenizer(text + " bush")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [*text.split(), "<unk>"]
    assert ids[1] == ids[-1] == tokenizer.unk_token_id
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer))) == list(range(10))


def test_special_tokens_come_first_and_are_not_added():
    for kind in set(KINDS) - {"fastai"}:  # has other special tokens
        tokenizer = build_tokenizer(kind, TEXTS, max_length=17)
        assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3]
        assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (0, 1, 17)
        encoded = tokenizer("the film")
        assert set(encoded) == {"input_ids", "attention_mask"}
        assert not {0, 2, 3} & set(encoded["input_ids"])


def test_tokens_are_sorted_by_frequency_then_characters():
    tokenizer = build_tokenizer("word", ["c b a", "b z", "b c"], min_frequency=1)
    assert tokenizer.convert_ids_to_tokens(range(4, 8)) == ["b", "c", "a", "z"]
    assert len(build_tokenizer("word", ["c b a", "b z", "b c"], min_frequency=2)) == 4 + 2
    assert (
        build_tokenizer("word", ["c b a", "b z", "b c"], vocab_size=5, min_frequency=1).convert_ids_to_tokens(4) == "b"
    )


def test_unknown_words_and_case():
    assert build_tokenizer("word", TEXTS)("never seen")["input_ids"] == [1, 1]
    assert (
        build_tokenizer("word", TEXTS)("PLOT plot")["input_ids"]
        == build_tokenizer("word", TEXTS)("plot plot")["input_ids"]
    )
    cased = build_tokenizer("word", TEXTS, lowercase=False)("PLOT plot")["input_ids"]
    assert cased[0] != cased[1] and 1 not in cased


@pytest.mark.parametrize("text", ["the film, isn't", "  two  spaces ", "The\nPLOT"])
def test_characters_keep_spaces_and_case(text):
    tokenizer = build_tokenizer("char", [text, text])
    assert len(tokenizer(text)["input_ids"]) == len(text)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    "text",
    [
        "  The film  isn't\tbad \n",
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "cafe\u0301 \U0001f600\u200d\U0001f525 never , seen !",
        "\x00\x07",
    ],
)
def test_byte_pairs_decode_to_the_text(text):
    tokenizer = build_tokenizer("bpe", TEXTS, vocab_size=300)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= 300


def test_byte_pairs_merge_frequent_pairs():
    tokenizer = build_tokenizer("bpe", ["the film the film"] * 5, vocab_size=280)
    assert len(tokenizer("the film")["input_ids"]) <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(tmp_path, kind):
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer(kind, TEXTS, max_length=19)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    probe = [*TEXTS, "never seen \u65e5", "", "<pad> it's"]
    assert loaded.is_fast and loaded.model_max_length == 19 and loaded.pad_token_id == tokenizer.pad_token_id
    assert loaded(probe)["input_ids"] == tokenizer(probe)["input_ids"]
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert set(loaded("the")) == {"input_ids", "attention_mask"}


def test_vocabulary_is_the_same_in_every_process():
    program = (
        "from tl_toolkit.data.tokenizers import build_tokenizer\n"
        "texts = [f'{chr(97 + i % 26)}{chr(97 + i * 7 % 26)} word{i % 37} x{i}' for i in range(400)]\n"
        "kinds = ('word', 'char', 'bpe')\n"
        "print([sorted(build_tokenizer(kind, texts, vocab_size=330).get_vocab().items()) for kind in kinds])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel},
        ).stdout
        for seed, parallel in (("1", "true"), ("2", "false"))
    ]  # fmt: skip
    assert outputs[0] == outputs[1] and len(outputs[0]) > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "words"}, "no tokenizer kind 'words'.*Did you mean 'word'"),
        ({"kind": "bpe", "vocab_size": 100}, "at least 260 tokens, not 100"),
        ({"kind": "word", "vocab_size": 4}, "at least 5"),
        ({"kind": "word", "min_frequency": 0}, "minimum frequency of a token must be 1 or more, but is 0"),
        ({"kind": "word", "min_frequency": 99}, "no token .* at least 99 times"),
    ],
)
def test_bad_requests(arguments, message):
    kind = arguments.pop("kind")
    with pytest.raises(UserError, match=message):
        build_tokenizer(kind, TEXTS, **arguments)


def test_more_words_are_added_to_the_vocabulary():
    tokenizer = build_tokenizer(
        "whitespace", ["<unk> the The <unk>"], min_frequency=1, lowercase=True, more_words=["Oslo", "the"], vocab_size=6
    )
    assert sorted(tokenizer.get_vocab()) == ["<bos>", "<eos>", "<pad>", "<unk>", "oslo", "the"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("the OSLO Rome")["input_ids"]) == ["the", "oslo", "<unk>"]


class Slow:
    """A tokenizer that does not tell what it truncated, as those written in Python."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, *texts, **options):
        return BatchEncoding(dict(self.tokenizer(*texts, **options)))


@pytest.mark.parametrize("kind", [Slow, lambda tokenizer: tokenizer])
@pytest.mark.parametrize("pairs", [{}, {"text_pair": ["x", "", "x y z", "x y", "x"]}])
def test_truncated_texts_are_counted_exactly(kind, pairs):
    texts = ["a b c", "a b c d", "", "a b", "a b c d e f g h i j k"]
    rows, tokenizer = Dataset.from_dict({"text": texts, **pairs}), kind(build_tokenizer("word", texts))
    encoded, full = encode_texts(rows, tokenizer, 3), encode_texts(rows, tokenizer, None)
    assert encoded["is_cut"].to_pylist() == [length > 3 for length in full["length"].to_pylist()]
    assert sum(encoded["is_cut"].to_pylist()) == (4 if pairs else 2) and not any(full["is_cut"].to_pylist())


@pytest.mark.parametrize("pairs", [{}, {"text_pair": ["x", "", "x y z", "x y", "x"]}])
@pytest.mark.parametrize("limit", [3, None])
def test_texts_are_encoded_as_by_transformers(pairs, limit):
    texts = ["a b c", "a b c d", "", "a b", "a b c d e f g h i j k"]
    rows, tokenizer = Dataset.from_dict({"text": texts, **pairs}), build_tokenizer("word", texts)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    own, others = (encode_texts(rows, one, limit) for one in (tokenizer, Slow(tokenizer)))
    assert {name: column.to_pylist() for name, column in own.items()} == {
        name: column.to_pylist() for name, column in others.items()
    }
    assert (1 in own["token_type_ids"].combine_chunks().flatten().to_pylist()) == bool(pairs)


def test_texts_of_one_word_are_read_by_character():
    assert kind_for(["Matsotsky", "Shui ", "van Dyk"]) == "char"
    assert kind_for(["a fine film", "Shui", "dull film"]) == kind_for(["one word", "Shui"]) == kind_for([]) == "word"
