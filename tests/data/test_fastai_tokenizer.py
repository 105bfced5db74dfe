"""fastai's text rules; the expected tokens were derived by hand from fastai's definitions."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from tl_toolkit.data.fastai_tokenizer import SPECIAL_TOKENS, fastai_tokenizer, fastai_vocabulary
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError

RULES = [
    # spaces and line breaks: a single space separates tokens, other white space is a token
    ("The film", "xxmaj the film"),
    ("a   b\nc", "a b \n c"),
    ("a \n\n b", "a \n\n\u2581 b"),
    # upper case
    ("I saw NASA at Rome's", "i saw xxup nasa at xxmaj rome 's"),
    ("McDonald iPhone A", "mcdonald iphone a"),
    ("STOP! Stop!", "xxup stop ! xxmaj stop !"),
    # repeated characters and words
    ("goood!!!!", "g xxrep 3 o d xxrep 4 !"),
    ("aaabbb", "xxrep 3 a xxrep 3 b"),
    ("-" * 30, "xxrep 30 -"),
    ("x" * 150, "xxrep 99 x"),
    ("no no no, he", "xxwrep 3 no , he"),
    ("very very bad", "very very bad"),
    ("it was bad bad bad bad", "it was xxwrep 4 bad"),
    # remains of HTML
    ("a<br />b &amp; c", "a \n b & & c"),
    ("it#39;s &lt;b&gt; caf&eacute;", "it 's < b > caf\u00e9"),
    ("Rock <unk> @-@ roll...", "xxmaj rock xxunk - roll \u2026"),
    ("a/b #1", "a / b # 1"),
    # words
    ("don't cannot we're it's", "do n't can not we 're it 's"),
    ("well-known 3.14 10,234 $5 5%", "well - known 3.14 10,234 $ 5 5 %"),
    ('"Yes," (he) said.', '" yes , " ( he ) said .'),
    ("no end.The end :-)", "no end.the end :-)"),
    ("", ""),
]


@pytest.fixture(scope="module")
def every_word():
    words = {word for _, result in RULES for word in result.split(" ")} - {""}
    return fastai_tokenizer([*SPECIAL_TOKENS, *sorted(words - set(SPECIAL_TOKENS)), "xxfake", "xxfake"])


@pytest.mark.parametrize(("text", "expected"), RULES)
def test_rules(every_word, text, expected):
    tokens = every_word.convert_ids_to_tokens(every_word(text)["input_ids"])
    assert tokens == ["xxbos", *(expected.split(" ") if expected else [])]


def test_saved_and_loaded(tmp_path, every_word):
    every_word.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text, _ in RULES] + ["never seen", "\U0001f600\U0001f600\U0001f600"]
    assert loaded(texts)["input_ids"] == every_word(texts)["input_ids"]
    assert (loaded.unk_token_id, loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2, None)
    assert loaded("never")["input_ids"] == [2, 0]
    assert loaded("film", add_special_tokens=False)["input_ids"] == loaded("film")["input_ids"][1:]


def test_fillers_are_numbered_and_restored():
    tokens = [*SPECIAL_TOKENS, "the", "xxfake", "xxfake"]
    tokenizer = fastai_tokenizer(tokens)
    assert len(tokenizer) == 12 and fastai_vocabulary(tokenizer) == tokens


def test_learned_from_texts():
    texts = ["The the film", "FILM film bad", "the <unk>"]
    tokenizer = build_tokenizer("fastai", texts, min_frequency=1, max_length=13, more_words=["Zebra", "the"])
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*SPECIAL_TOKENS, "film", "the", "bad", "zebra"]
    assert tokenizer("The ZEBRA")["input_ids"] == [2, 8, 10, 7, 12] and tokenizer.model_max_length == 13
    assert len(build_tokenizer("fastai", texts, vocab_size=10, min_frequency=1)) == 10
    assert "bad" not in build_tokenizer("fastai", texts, min_frequency=2).get_vocab()


def test_unsupported_input_is_refused():
    with pytest.raises(UserError, match="'the' twice, at positions 9 and 11"):
        fastai_tokenizer([*SPECIAL_TOKENS, "the", "a", "the"])
    with pytest.raises(UserError, match="lacks the special tokens xxpad"):
        fastai_tokenizer(["xxunk", "xxbos", "the"])
    with pytest.raises(UserError, match="SentencePiece sub-words"):
        fastai_tokenizer([*SPECIAL_TOKENS, *(f"\u2581{letter}" for letter in "abcdefgh")])
    with pytest.raises(UserError, match="more than 9 tokens, not 9"):
        build_tokenizer("fastai", ["the"], vocab_size=9)
    with pytest.raises(UserError, match="at least 3 times"):
        build_tokenizer("fastai", ["the the"], min_frequency=3)
    with pytest.raises(UserError, match="lower-case"):
        build_tokenizer("fastai", ["the"], lowercase=False)
