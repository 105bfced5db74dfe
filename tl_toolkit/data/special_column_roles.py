"""Determine the columns of captioning, translation and tagging tasks from their names and types."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing, nearest
from .column_roles import available, check_named, only_or_known
from .column_types import inner, is_integer, is_list, is_string

if TYPE_CHECKING:
    from datasets import Dataset

    from ..config.arguments import DataArguments

# Conventional names of each role, in order of preference, compared in lower case.

# --- pictures and captions ------------------------------------------------------------------------------------------

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png")
CAPTION_NAMES = (
    "caption", "captions", "text", "texts", "description", "descriptions", "sentence", "sentences", "alt_text",
    "sentences_raw", "title", "answer", "label_text",
)  # fmt: skip


@dataclass(frozen=True)
class CaptionColumns:
    """Names of the columns; `caption` is None if there are only pictures to describe."""

    image: str
    caption: str | None


def find_caption_columns(
    features: Mapping[str, Any], arguments: DataArguments, caption_required: bool = True
) -> CaptionColumns:
    """Find the picture and its caption or captions among `features` (a `datasets.Features`).

    A specified column is used; otherwise the only one of the right type, and of several the one with a conventional
    name.

    Raises:
        UserError: a specified column is missing or has the wrong type, or a role has no or several candidates.
    """
    image = _find(
        features, "image_column", arguments.image_column, _is_image, IMAGE_NAMES,
        lambda feature: _is_image(feature) or is_string(feature), "{}, not a picture",
    )  # fmt: skip
    if image is None:
        raise _not_clear(features, "picture", "image_column", _is_image)
    wrong = "{}, not a text or a list of texts"
    text = _find(features, "text_column", arguments.text_column, _is_caption, CAPTION_NAMES, wrong=wrong)
    if text is None and caption_required:
        raise _not_clear(features, "caption", "text_column", _is_caption)
    return CaptionColumns(image, text)


def _is_image(feature: Any) -> bool:
    """Return whether a column holds pictures, or bytes of picture files with or without paths."""
    if isinstance(feature, dict):
        return {"bytes", "path"} == set(feature)
    return type(feature).__name__ == "Image" or str(getattr(feature, "dtype", "")) in ("binary", "large_binary")


def _is_caption(feature: Any) -> bool:
    """Return whether a column holds texts or lists of texts."""
    return is_string(feature) or (is_list(feature) and is_string(inner(feature)))


def _find(
    features: Mapping[str, Any], flag: str, named: str | None, fits: Callable[[Any], bool], known: tuple[str, ...],
    fits_named: Callable[[Any], bool] | None = None, wrong: str = "{}", taken: Container[str | None] = (),
) -> str | None:  # fmt: skip
    """Return the column specified by `--flag`, else the only one that fits, else one with a conventional name, or None.

    Args:
        fits_named, wrong: type check of a specified column, and the message if it fails (see `check_named`).
        taken: columns that have another role.
    """
    if named is not None:
        check_named(features, flag, named, fits_named or fits, wrong)
        return named
    return only_or_known([name for name, kind in features.items() if fits(kind) and name not in taken], known)


def _not_clear(features: Mapping[str, Any], what: str, flag: str, fits: Callable[[Any], bool]) -> UserError:
    fitting = [repr(name) for name, feature in features.items() if fits(feature)]
    trouble = f"candidates are {', '.join(fitting)}" if fitting else "no column has the right type"
    return UserError(
        f"The {what} column cannot be determined: {trouble}. Specify it with --{flag}. {available(features)}"
    )


# --- pairs of texts -------------------------------------------------------------------------------------------------

PAIRS = (
    ("source", "target"), ("src", "tgt"), ("input", "output"), ("human", "iso"), ("question", "answer"),
    ("document", "summary"), ("article", "highlights"),
)  # fmt: skip
TRANSLATIONS = "translation"


@dataclass(frozen=True)
class PairColumns:
    """The two texts of a row: columns, or entries of one column that holds a text for each language.

    Attributes:
        source, target: names; `target` is None if there are only texts to translate.
        within: the column that contains both as entries; None if they are columns.
    """

    source: str
    target: str | None
    within: str | None = None

    def read(self, split: Dataset) -> dict[str, list[Any]]:
        """The texts of a split as columns `source` and `target`."""
        names = {"source": self.source, **({} if self.target is None else {"target": self.target})}
        if self.within is None:
            return {role: split[name][:] for role, name in names.items()}
        entries = split[self.within][:]
        return {role: [entry and entry[name] for entry in entries] for role, name in names.items()}


def find_pair(features: Mapping[str, Any], arguments: DataArguments, target_required: bool = True) -> PairColumns:
    """Find the text to translate and its translation among `features` (a `datasets.Features`).

    A specified column is used; otherwise the column, or the entry of a column "translation", named after the specified
    language; otherwise two columns with conventional names.

    Raises:
        UserError: a specified column is missing or not a text, or source and target cannot be determined.
    """
    within = TRANSLATIONS if _has_entries(features.get(TRANSLATIONS)) else None
    texts = _entries(features[within]) if within else [name for name in features if is_string(features[name])]
    pair = {}
    for role in ("source", "target"):
        for flag in (f"{role}_column", f"{role}_lang"):
            if (named := getattr(arguments, flag)) is not None and role not in pair:
                _check_text(named, flag, texts, features, within, required=role == "source" or target_required)
                if named in texts:
                    pair[role] = named
    if not pair:
        lower = {name.lower(): name for name in reversed(texts)}
        for source, target in PAIRS:
            if source in lower and (target in lower or not target_required):
                pair = {"source": lower[source], **({"target": lower[target]} if target in lower else {})}
                break
    if not target_required and "source" not in pair and len(texts) == 1:
        pair["source"] = texts[0]
    missing = [role for role in ("source", "target") if role not in pair and (role == "source" or target_required)]
    if missing:
        raise UserError(
            f"The source and target columns cannot be determined: specify them with --source_column and "
            f"--target_column, or with --source_lang and --target_lang if their names are languages. "
            f"{available(features)}"
        )
    if pair["source"] == pair.get("target"):
        raise UserError(f"{pair['source']!r} is named as both source and target: name two different columns.")
    return PairColumns(pair["source"], pair.get("target"), within)


def _check_text(
    name: str, flag: str, texts: list[str], features: Mapping[str, Any], within: str | None, required: bool
) -> None:
    if name in texts or not required:
        return
    if within is None and name in features:
        check_named(features, flag, name, is_string, "{}, not a string")
    where = f"entry of the column {within!r}" if within else "column of texts"
    raise UserError(f"There is no {where} named {name!r} (--{flag}); there are {listing(texts)}.{nearest(name, texts)}")


def _has_entries(feature: Any) -> bool:
    """Return whether a column holds structures, such as `datasets.Translation`."""
    return isinstance(feature, dict) or type(feature).__name__ == "Translation"


def _entries(feature: Any) -> list[str]:
    """Return the names of the texts in a column of structures, such as `datasets.Translation`."""
    languages = getattr(feature, "languages", None)
    return list(languages) if languages else [name for name in feature if is_string(feature[name])]


# --- words and tags -------------------------------------------------------------------------------------------------

WORDS_NAMES = ("tokens", "words", "token", "word", "sentence", "text", "forms", "form")
TAGS_NAMES = (
    "ner_tags", "tags", "upos", "pos_tags", "labels", "label", "ner", "pos", "ner_labels", "tag", "chunk_tags", "xpos",
)  # fmt: skip


@dataclass(frozen=True)
class WordColumns:
    """Names of the columns; `label` is None if there are no tags."""

    text: str
    label: str | None


def find_word_columns(
    features: Mapping[str, Any], arguments: DataArguments, label_required: bool = True
) -> WordColumns:
    """Find the words (a list of strings) and their tags (a list of classes, strings or integers).

    The selection and the errors are those of `find_caption_columns`.
    """
    text_column, label_column = arguments.text_column, arguments.label_column
    words, tags = "a list of strings", "a list of classes, strings or integers"
    wrong = "{{}}, but --task token-classification labels every word of a sentence and needs {}"
    taken = {label_column, *TAGS_NAMES}
    text = _find(features, "text_column", text_column, _is_words, WORDS_NAMES, None, wrong.format(words), taken)
    if text is None:
        raise _unclear(features, "word", words, "text_column", _is_words, taken)
    label = _find(features, "label_column", label_column, _is_tags, TAGS_NAMES, None, wrong.format(tags), {text})
    if text == label_column:
        raise UserError(f"--text_column and --label_column both name {text!r}. {available(features)}")
    if label is None and label_required:
        raise _unclear(features, "tag", tags, "label_column", _is_tags, {text})
    return WordColumns(text, label)


def _unclear(
    features: Mapping[str, Any], what: str, kind: str, flag: str, fits: Callable[[Any], bool],
    taken: Container[str | None],
) -> UserError:  # fmt: skip
    several = [repr(name) for name, feature in features.items() if fits(feature) and name not in taken]
    others = [repr(name) for name, feature in features.items() if fits(feature) and name in taken]
    excluded = f" except {', '.join(others)}" if others else ""
    if several:
        trouble = f"there are several candidates ({', '.join(several)})"
    else:
        trouble = f"no column{excluded} holds {kind} (JSON Lines and Parquet files can hold lists, csv files cannot)"
    return UserError(
        f"The {what} column cannot be determined: {trouble}. Specify it with --{flag}. {available(features)}"
    )


def _is_words(feature: Any) -> bool:
    return is_list(feature) and is_string(inner(feature))


def _is_tags(feature: Any) -> bool:
    return is_list(feature) and (is_string(inner(feature)) or is_integer(inner(feature)))
