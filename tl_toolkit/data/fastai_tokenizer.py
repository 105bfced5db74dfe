"""fastai's text rules as a fast tokenizer (Howard and Ruder 2018; fastai 2, `fastai.text.core`).

fastai rewrites a text by eight rules and then splits it with spaCy: `Wow!!!!` becomes `xxbos xxmaj wow xxrep 4 !`.
Here the rules are normalizers and the splitting is done by pre-tokenizers of the tokenizers library, so that everything
is in one `tokenizer.json`. Replacements in that library cannot refer to the match. Marks are therefore *inserted* by
patterns with zero-width matches, and the text that they replace is removed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from html.entities import entitydefs
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .encoding import batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

UNK, PAD, BOS, EOS, FLD, REP, WREP, UP, MAJ = SPECIAL_TOKENS = (
    *("xxunk", "xxpad", "xxbos", "xxeos", "xxfld"),
    *("xxrep", "xxwrep", "xxup", "xxmaj"),
)
FILLER = "xxfake"  # pads fastai's vocabularies to a multiple of eight
_MARK = "\ue000"  # a private-use character, which texts do not contain
_MOST_REPEATED_CHARACTERS, _MOST_REPEATED_WORDS = 99, 20

_FIX_HTML = (
    *(("#39;", "'"), ("amp;", "&"), ("#146;", "'"), ("nbsp;", " "), ("#36;", "$"), ("\\n", "\n"), ("quot;", "'")),
    *(("<br />", "\n"), ('\\"', '"'), ("<unk>", UNK), (" @.@ ", "."), (" @-@ ", "-"), ("...", " …")),
)

# What spaCy splits off at the start, at the end and inside of words (spacy/lang/punctuation.py), for lower-case text.
# Onigmo's syntax: \K excludes the text before it from the match, \G is the end of the last match.
_QUOTES = r"""'"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"""
_PUNCTUATION = r"…,:;!?¿¡()\[\]{}<>_#*&。？！，、；：～·।،۔؛٪"
_SYMBOL = "[\\p{So}&&[^▁]]"
_EMOTICON = r"[:;=]['’]?-?[)(\]\[]+|[:;]-?[po](?![\p{L}0-9])|\(-?[:;=]|\)-?:|(?<![\p{L}0-9.,])8-?\)|<3(?![\p{L}0-9])"
_CLIPPED = r"['’](?:em|cause|cos|cuz|bout|nuff|s)(?![\p{L}0-9])"
_PREFIX = rf"{_EMOTICON}|{_CLIPPED}|\.\.+|''|[{_PUNCTUATION}{_QUOTES}§%=—–\p{{Sc}}{_SYMBOL}]|\+(?![0-9])"
_UNITS = "[kcmd]?m[²³]?|ha|[µn]m|yd|in|ft|[mµk]?g|t|lb|oz|mph|mbar|[mkgt]b|%"
# a full stop that is part of the word
_ABBREVIATION = r"(?<!\A[a-zäöü]|\Aco|\Avs|\Aa\.m|\Ap\.m|\Ai\.e|\Ae\.g|\Av\.s)"
_SUFFIX = (
    rf"{_EMOTICON}|\.\.+|''|['’]s|(?<!\Aol)[{_PUNCTUATION}{_QUOTES}—–{_SYMBOL}]|(?<=[0-9])\+|(?<=[0-9])\p{{Sc}}"
    rf"|(?<=[0-9])(?:{_UNITS})"
    rf"|{_ABBREVIATION}(?<=[0-9\p{{Ll}}\p{{Lo}}%²\-+{_PUNCTUATION}{_QUOTES}])\."
)
_LETTER = r"[\p{L}\p{M}]"
_INFIX = (
    rf"\.\.+|…|{_SYMBOL}|(?<=[0-9])[+\-*^](?=[0-9\-])|(?<={_LETTER}),(?={_LETTER})"
    rf"|(?<=[{_QUOTES}])\.(?=[{_QUOTES}])"
    rf"|(?<=[\p{{L}}\p{{M}}0-9])(?:---|--|——|[\-–—~])(?={_LETTER})|(?<=[\p{{L}}\p{{M}}0-9])[:<>=/](?={_LETTER})"
)
# Words in spaCy's table of English exceptions: contractions with and without apostrophe.
_NEGATED = r"do|does|did|ca|could|have|has|had|ai|are|is|was|were|might|must|need|ought|sha|should|wo|would|may|dare"
_CONTRACTIONS = "|".join(
    [
        rf"\A(?:{_NEGATED})\K(?:n['’]t|nt)\z",
        r"\A(?:i|you|he|she|it|we|they|who|what|where|when|why|how|there|that|this)\K['’](?:ll|d|ve|re|m|s)\z",
        r"\Ai\K(?:m|ve|d)\z|\A(?:you|they|what)\K(?:re|ve)\z|\A(?:we|who)\Kve\z|\A(?:you|they)\Kll\z",
        r"\A(?:that|what|there|he|she|who|where|how|when|why)\Ks\z",
        r"\A(?:could|might|must|should|would)\K(?:['’]ve|ve)\z",
        r"\A(?:we|you|he|they|it)\Kd\z|\A1?[0-9]\K(?:am|pm|a\.m\.|p\.m\.)\z",
        r"\Acan\Knot\z|\Agon\Kna\z|\Agot\Kta\z",
    ]
)


def fastai_tokenizer(tokens: Iterable[str], max_length: int | None = None) -> PreTrainedTokenizerFast:
    """Return a tokenizer with fastai's rules and a given vocabulary; it adds `xxbos` before every text.

    There is no end-of-text token: in fastai's streams, texts only have a start token.

    Args:
        tokens: the vocabulary by id. `xxfake`, which may occur several times, becomes `xxfake_1`, `xxfake_2`, …
        max_length: longest input of the model in tokens, stored as `model_max_length`.

    Raises:
        UserError: another token occurs twice, a special token of fastai is missing, or the tokens are sub-words.
    """
    from tokenizers import models, processors

    vocabulary: dict[str, int] = {}
    fillers = 0
    for position, token in enumerate(tokens):
        if token == FILLER:
            fillers += 1
            token = f"{FILLER}_{fillers}"
        if token in vocabulary:
            raise UserError(
                f"The vocabulary contains the token {token!r} twice, at positions {vocabulary[token]} and {position}."
            )
        vocabulary[token] = position
    _check(vocabulary)
    tokenizer = _rules()
    tokenizer.model = models.WordLevel(vocabulary, unk_token=UNK)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return for_transformers(tokenizer, "fastai", max_length, unk_token=UNK, pad_token=PAD, bos_token=BOS)


def learn_fastai_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    min_frequency: int,
    lowercase: bool | None,
    max_length: int | None,
    more_words: Iterable[str],
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with fastai's rules and the most frequent tokens of `texts`; see `build_tokenizer`.

    Raises:
        UserError: `vocab_size` is too small for words, no token is frequent enough, or `lowercase` is False.
    """
    if lowercase is False:
        raise UserError("fastai's rules always lower-case texts and mark upper case: leave --tokenizer_lowercase out.")
    if vocab_size <= len(SPECIAL_TOKENS):
        raise UserError(f"A fastai tokenizer needs more than {len(SPECIAL_TOKENS)} tokens, not {vocab_size}.")
    known = learn_words(_rules(), texts, vocab_size, min_frequency, SPECIAL_TOKENS).get_vocab()
    words = sorted(known.keys() - set(SPECIAL_TOKENS), key=known.__getitem__)  # texts may contain special tokens
    if not words:
        raise UserError(
            f"No token occurs at least {min_frequency} times in the training texts: lower --tokenizer_min_frequency."
        )
    new = (word for word in dict.fromkeys(map(str.lower, more_words)) if word not in known)
    return fastai_tokenizer(islice([*SPECIAL_TOKENS, *words, *new], vocab_size), max_length)


def learn_words(
    tokenizer: Tokenizer, texts: Iterable[str], vocab_size: int, min_frequency: int, special_tokens: Iterable[str]
) -> Tokenizer:
    """Fill the vocabulary of a word-level tokenizer, in place, with the most frequent tokens of texts."""
    from tokenizers import trainers

    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(special_tokens), show_progress=False
    )
    tokenizer.train_from_iterator(batches(texts), trainer)
    return tokenizer


def fastai_vocabulary(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the tokens by id with fastai's spelling: all fillers are `xxfake`."""
    ids = tokenizer.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    return [FILLER if token.startswith(f"{FILLER}_") else token for token in tokens]


def _check(vocabulary: dict[str, int]) -> None:
    missing = [token for token in (UNK, PAD, BOS) if token not in vocabulary]
    if missing:
        raise UserError(
            f"The vocabulary is not a vocabulary of fastai 2: it lacks the special tokens {', '.join(missing)}."
        )
    if sum(token.startswith("▁") for token in vocabulary) > len(vocabulary) / 4:
        raise UserError(
            "The vocabulary consists of SentencePiece sub-words (▁the), but the fastai tokenizer only supports "
            "vocabularies of whole words."
        )


def for_transformers(tokenizer: Tokenizer, name: str, max_length: int | None, **more: Any) -> PreTrainedTokenizerFast:
    """Return `tokenizer` as one of transformers, which pads on the right and returns no token types.

    `more` are its special tokens.
    """
    from transformers import PreTrainedTokenizerFast

    limit = {} if max_length is None else {"model_max_length": max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=name,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **more,
        **limit,
    )


def _rules() -> Tokenizer:
    """Return fastai's eight rules in their order and the splitting, with an empty vocabulary."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    def replace(pattern: str, content: str) -> normalizers.Replace:
        return normalizers.Replace(Regex(pattern), content)

    # Entities that html.unescape replaces: those of HTML 4, with semicolon.
    entities = [(f"&{name};", text) for name, text in entitydefs.items()]
    tokenizer = Tokenizer(models.WordLevel({UNK: 0}, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(" "),  # the library cannot insert at the start of a text
            *(normalizers.Replace(old, new) for old, new in (*_FIX_HTML, *entities, (_MARK, ""))),
            # replace_rep: cccc becomes xxrep 4 c. Mark the start of a run, insert its length, keep one character.
            replace(r"(.|\n)\K(?!\1)(?=(\S)\2\2)", _MARK),
            *(
                replace(rf"{_MARK}(?=(\S)\1{{{count - 1}}}(?!\1))", f" {REP} {count} ")
                for count in range(3, _MOST_REPEATED_CHARACTERS)
            ),
            replace(_MARK, f" {REP} {_MOST_REPEATED_CHARACTERS} "),
            replace(rf" {REP} [0-9]+ (\S)\K\1+", " "),
            # replace_wrep: no no no becomes xxwrep 3 no, in the same way
            replace(r"\s(?=(\w+)(?:\s+\1){2,}(?!\w))", f" {_MARK}"),
            replace(rf"(?<!\w)(\w+)\K {_MARK}(?=\1(?!\w))", " "),
            *(
                replace(rf"{_MARK}(?=(\w+)(?:\s+\1){{{count - 1}}}(?!\w|\s+\1(?!\w)))", f"{WREP} {count} ")
                for count in range(3, _MOST_REPEATED_WORDS)
            ),
            replace(_MARK, f"{WREP} {_MOST_REPEATED_WORDS} "),
            replace(rf"{WREP} [0-9]+ (\w+)\K(?:\s+\1)+(?!\w)", " "),
            *(normalizers.Replace(sign, f" {sign} ") for sign in "/#\\"),  # spec_add_spaces
            replace(" {2,}", " "),  # rm_useless_spaces
            replace(r"(?<=\s)(?=[A-Z][^a-z\s]+(?=\s|\z))", f"{UP} "),  # replace_all_caps
            replace(r"(?<=\s)(?=[A-Z][^A-Z\s]*[a-z][^A-Z\s]*(?=\s|\z))", f"{MAJ} "),  # replace_maj
            normalizers.Lowercase(),
            normalizers.Strip(),
            replace(r"(?<=[^\S ]) ", "▁"),  # a space inside a whitespace token
        ]
    )

    def part(pattern: str) -> pre_tokenizers.Split:
        return pre_tokenizers.Split(Regex(pattern), behavior="isolated")

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(?<=\S) "), behavior="removed"),  # one space separates, others are tokens
            part(r"\s[\s▁]*"),
            part(rf"\G(?:{_PREFIX})"),
            part(rf"(?:{_SUFFIX})(?=(?:{_SUFFIX})*\z)"),
            part(_CONTRACTIONS),
            part(_INFIX),
        ]
    )
    return tokenizer
