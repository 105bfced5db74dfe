"""Learn tokenizers for models trained from scratch: words, characters or byte-level pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import UserError, listing, nearest
from .encoding import batches
from .fastai_tokenizer import for_transformers, learn_fastai_tokenizer, learn_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

KINDS = ("word", "whitespace", "char", "bpe", "fastai")
PAD, UNK, BOS, EOS = SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>")

# Characters of a word: letters, combining marks (such as Devanagari vowel signs), digits, underscore and the joiners of
# Indic scripts. In scripts written without spaces, each character is a token.
_LETTER = r"[\p{L}\p{M}\p{N}_\x{200C}\x{200D}&&[^\p{Han}\p{Hiragana}\p{Katakana}]]"
_CLITIC = rf"'(?:s|re|ve|ll|d|m)(?!{_LETTER})"
# Contractions are split as in the Penn treebank (do n't, it 's), as in tokenised corpora and word vectors.
_WORD = "|".join(
    [
        rf"{_LETTER}+?(?=n't(?!{_LETTER}))",
        rf"n't(?!{_LETTER})",
        _CLITIC,
        # o'clock and 3.14 are words; a final apostrophe or full stop is not part of a word
        rf"{_LETTER}+(?:(?:'(?!(?:s|re|ve|ll|d|m)(?!{_LETTER}))|(?<=\p{{N}})[.,](?=\p{{N}})){_LETTER}+)*",
        r"\.{2,}",
        r"-{2,}",
        r"\S",
    ]
)


def kind_for(texts: Iterable[str]) -> str:
    """The kind that suits texts: "char" where most hold one word (names, DNA), else "word"."""
    counts = [len(text.split()) for text in texts]
    return "char" if 2 * sum(count <= 1 for count in counts) > len(counts) else "word"


def build_tokenizer(
    kind: str,
    texts: Iterable[str],
    *,
    vocab_size: int = 30_000,
    min_frequency: int = 2,
    lowercase: bool | None = None,
    max_length: int | None = None,
    more_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """Learn a vocabulary and return it as a fast tokenizer of transformers.

    Ids 0 to 3 are `<pad>`, `<unk>`, `<bos>` and `<eos>`; none of them is added to texts. The order of the vocabulary
    depends only on the texts: by descending frequency, then by characters.

    Args:
        kind: "word" (words, numbers and punctuation marks), "whitespace" (text between spaces, for tokenised texts),
            "char" (Unicode characters, spaces included), "bpe" (byte-level pairs; encodes any text and decodes to
            exactly the same text) or "fastai" (words by the rules of `fastai_tokenizer`, with other special tokens).
        texts: training texts.
        vocab_size: maximum number of tokens, special tokens included.
        min_frequency: minimum frequency of a token (for "bpe", of a merge).
        lowercase: by default True for "word" and False for the others.
        max_length: longest input of the model in tokens, stored as `model_max_length`.
        more_words: for "word", "whitespace" and "fastai", words to append to the vocabulary, in their order, up to
            `vocab_size`. So words that have vectors are known even if they do not occur in the training texts.

    Raises:
        UserError: an unknown kind, a size that is too small, or texts without a token that is frequent enough.
    """
    if kind not in KINDS:
        raise UserError(f"There is no tokenizer kind {kind!r}; the kinds are {listing(KINDS)}.{nearest(kind, KINDS)}")
    smallest = len(SPECIAL_TOKENS) + (256 if kind == "bpe" else 1)
    if vocab_size < smallest:
        raise UserError(f"A {kind} tokenizer needs a vocabulary of at least {smallest} tokens, not {vocab_size}.")
    if min_frequency < 1:
        raise UserError(f"The minimum frequency of a token must be 1 or more, but is {min_frequency}.")
    if kind == "fastai":
        return learn_fastai_tokenizer(texts, vocab_size, min_frequency, lowercase, max_length, more_words)
    lowercase = kind == "word" if lowercase is None else lowercase
    build = {
        "word": _word_tokenizer,
        "whitespace": _whitespace_tokenizer,
        "char": _char_tokenizer,
        "bpe": _byte_pair_tokenizer,
    }[kind]
    tokenizer = build(texts, vocab_size, min_frequency, lowercase)
    if tokenizer.get_vocab_size() <= len(SPECIAL_TOKENS):
        raise UserError(
            f"The {kind} tokenizer found no token that occurs at least {min_frequency} times in the training texts: "
            f"lower --tokenizer_min_frequency, or use more texts."
        )
    if kind in ("word", "whitespace"):
        append_words(tokenizer, map(tokenizer.normalizer.normalize_str, more_words), vocab_size)
    special = {"pad_token": PAD, "unk_token": UNK, "bos_token": BOS, "eos_token": EOS}
    return for_transformers(tokenizer, kind, max_length, **special)


def _word_tokenizer(texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({UNK: 0}, unk_token=UNK))
    steps = [normalizers.NFC(), normalizers.Replace("\u2019", "'")]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lowercase else steps)
    # An inverted pattern with "removed" keeps the matches and drops the text between them.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return learn_words(tokenizer, texts, vocab_size, min_frequency, SPECIAL_TOKENS)


def _whitespace_tokenizer(texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({UNK: 0}, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase()] if lowercase else [])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = learn_words(tokenizer, texts, vocab_size, min_frequency, SPECIAL_TOKENS)
    # If a text contains a special token as a word, as WikiText does with <unk>, the trainer numbers it twice.
    learned = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    ordered = [*SPECIAL_TOKENS, *(word for word, _ in learned if word not in SPECIAL_TOKENS)]
    tokenizer.model = models.WordLevel({word: index for index, word in enumerate(ordered)}, unk_token=UNK)
    return tokenizer


def append_words(tokenizer: Tokenizer, words: Iterable[str], vocab_size: int, unk_token: str = UNK) -> None:
    """Append normalised words to the vocabulary of a word-level tokenizer, in place, up to `vocab_size` tokens."""
    from tokenizers import models

    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    for word in words:
        if len(vocabulary) >= vocab_size:
            break
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer.model = models.WordLevel(vocabulary, unk_token=unk_token)


def _char_tokenizer(texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({UNK: 0}, unk_token=UNK))
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.)"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return learn_words(tokenizer, texts, vocab_size, min_frequency, SPECIAL_TOKENS)


def _byte_pair_tokenizer(texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches(texts), trainer)
    return tokenizer
