"""Only the beginning of a long text is tokenised, and its first tokens are those of the whole text."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tl_toolkit.data import beginnings
from tl_toolkit.data.encoding import encode_texts
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.tasks.caption_processing import CaptionProcessing
from tl_toolkit.tasks.pair_processing import PairProcessing
from tl_toolkit.tasks.words import encode_words

_WORDS = (  # noqa: SIM905
    "the a of river old New o'clock isn't don't 3.14 no no no Café façade x.y.z -- ... WORLD aaaa http://a.b/c "
    "e\u0301tat 東京 हिन्दी yes! (so) <unk> 1,000,000 ' n't \u200d"
).split()
_KINDS = ["word", "whitespace", "char", "bpe", "fastai", "wordpiece", "bpe of one word"]


def long_text(seed: int, size: int) -> str:
    rng, parts = random.Random(seed), []
    while sum(map(len, parts)) < size:
        parts.append(
            rng.choice(_WORDS) * rng.choice([1, 1, 1, 2, 30]) + rng.choice([" ", " ", "  ", "\n", ", ", "", " " * 40])
        )
    return "".join(parts)


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    texts = [long_text(seed, 300) for seed in range(100)]
    if kind == "wordpiece":
        known = {
            "[UNK]": 0,
            "[PAD]": 1,
            **{
                word: 2 + n
                for n, word in enumerate(["the", "a", "of", "##a", "##e", "river", ".", ",", "o", "'", "n", "t", "no"])
            },
        }
        own = Tokenizer(models.WordPiece(known, unk_token="[UNK]", max_input_chars_per_word=100))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]", pad_token="[PAD]")
    tokenizer = build_tokenizer(kind.partition(" ")[0], texts, vocab_size=500, min_frequency=1)
    if kind == "bpe of one word":  # as Llama's
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


@pytest.mark.parametrize("kind", _KINDS)
def test_the_first_tokens_are_those_of_the_whole_text(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(kind)
    texts = [long_text(seed, 900 if seed % 3 else 2000) for seed in range(30)]
    texts += [
        "",
        "isn't" * 99,
        *[
            "ab" * 9000,
            "a" * 17001,
            " " * 19000 + "the a",
            "f3" * 9000 + "abb" * 9000 + "s",
            "xaab" * 5000,
            "abaa" * 4999,
        ],
        *([] if kind == "fastai" else ["3." * 9000, "no " * 900]),
    ]
    short = [text[: 400 if n % 2 else 60] for n, text in enumerate(texts)]
    some = [text[: 90 + 20 * n] for n, text in enumerate(texts[:5])]  # what is cut off two long texts needs much memory
    pairs = [*itertools.product(some, some)]
    # An odd number of tokens depends on which of the two has more.
    counts = {text: len(tokenizer(text)["input_ids"]) for text in some}
    plain = [(a, b) for a, b in pairs if (counts[a] > counts[b]) == (len(a) > len(b))]
    assert 9 < len(plain) <= len(pairs)
    splits = [
        (Dataset.from_dict({"text": texts}), (7, 41)),
        (Dataset.from_dict({"text": short[:9], "text_pair": short[1:10]}), (8, 42)),
        *(
            (Dataset.from_dict({"text": [a for a, _ in own], "text_pair": [b for _, b in own]}), limits)
            for own, limits in ((pairs, (8, 42)), (plain, (7, 41)))
        ),
    ]
    for name in ("LONG", "_FIRST"):
        monkeypatch.setattr(beginnings, name, 10**9)
    whole = [encode_texts(part, tokenizer, limit) for part, limits in splits for limit in limits]
    for name, value in {"LONG": 100, "_FIRST": 100, "_CHARACTERS_PER_TOKEN": 2}.items():
        monkeypatch.setattr(beginnings, name, value)
    few = [encode_texts(part, tokenizer, limit) for part, limits in splits for limit in limits]
    for one, other in zip(whole, few, strict=True):
        for name in ("input_ids", "is_cut", "length"):
            assert one[name].to_pylist() == other[name].to_pylist(), name
    found = beginnings.Beginnings(tokenizer, 7).of(texts)
    assert sum(map(len, found)) < 0.7 * sum(map(len, texts))  # there was something to prove


def others(tokenizer: PreTrainedTokenizerFast, texts: list[str], limit: int) -> list[object]:
    """The targets, captions and words of texts, as the other tasks encode them."""
    pairs, images = PairProcessing(tokenizer, tokenizer), CaptionProcessing(None, tokenizer)  # type: ignore[arg-type]
    sentences = [[text, *text.split(" ")] for text in texts] + [[*text.split(" "), text] for text in texts]
    return [pairs.encode_targets(texts, limit), images.encode(texts, limit), encode_words(sentences, tokenizer, limit)]


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "wordpiece"])
def test_targets_captions_and_words_are_those_of_the_whole_texts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(kind)
    tokenizer.eos_token = tokenizer.pad_token
    texts = [*(long_text(seed, 900) for seed in range(9)), "", "ab" * 9000, "\u200b" * 900]
    for name in ("LONG", "_FIRST"):
        monkeypatch.setattr(beginnings, name, 10**9)
    whole = [others(tokenizer, texts, limit) for limit in (7, 41)]
    for name, value in {"LONG": 100, "_FIRST": 100, "_CHARACTERS_PER_TOKEN": 2}.items():
        monkeypatch.setattr(beginnings, name, value)
    assert [others(tokenizer, texts, limit) for limit in (7, 41)] == whole


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_which_of_two_texts_keeps_one_token_more_is_as_always(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(kind)
    some = [long_text(seed, 150) for seed in range(8)]
    pairs = [*itertools.product(some, some)]
    rows = Dataset.from_dict({"text": [a for a, _ in pairs], "text_pair": [b for _, b in pairs]})
    whole = encode_texts(rows, tokenizer, 7)["input_ids"].to_pylist()
    for name, value in {"_FIRST": 30, "_CHARACTERS_PER_TOKEN": 2}.items():
        monkeypatch.setattr(beginnings, name, value)
    assert encode_texts(rows, tokenizer, 7)["input_ids"].to_pylist() == whole


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_a_row_of_20_megabytes_costs_little_in_every_task(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    tokenizer.eos_token = tokenizer.pad_token
    long, giant = long_text(1, 3000) * 7000, "ab" * 10**7
    pairs = {"text": [long, giant, long, "a"], "text_pair": [giant, long, long[1:], long]}
    for call in (
        lambda: encode_texts(Dataset.from_dict(pairs), tokenizer, 256),
        lambda: PairProcessing(tokenizer, tokenizer).encode_targets([long, giant], 256),
        lambda: CaptionProcessing(None, tokenizer).encode([long, giant], 256),  # type: ignore[arg-type]
        lambda: encode_words([[long, giant], [giant, "a"]], tokenizer, 256),
    ):
        began = time.process_time()
        call()
        assert time.process_time() - began < 8


@pytest.mark.parametrize("kind", ["word", "whitespace", "char", "bpe", "wordpiece", "fastai"])
def test_a_row_of_20_megabytes_costs_milliseconds(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    texts = [long_text(1, 3000) * 7000]
    texts += ["ab" * 10**7, "a" * 2 * 10**7]
    for text in texts:
        began = time.process_time()
        encoded = encode_texts(Dataset.from_dict({"text": [text]}), tokenizer, 256)
        assert time.process_time() - began < 5
        assert encoded["length"].to_pylist()[0] <= 256
    pieces = list(beginnings.pieces_to_learn_from(texts, truncated=True))
    assert [len(piece) <= beginnings.LONG for piece in pieces] == [True] * len(texts)
    assert "".join(beginnings.pieces_to_learn_from(texts, truncated=False)) == "".join(texts)
