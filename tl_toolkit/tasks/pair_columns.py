"""Which column is translated into which, told from names and types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.columns import describe, is_string
from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    from datasets import Dataset

    from ..config.arguments import DataArguments

# What sources and targets are called, in order of preference, compared in lower case.
PAIRS = (
    ("source", "target"), ("src", "tgt"), ("input", "output"), ("human", "iso"), ("question", "answer"),
    ("document", "summary"), ("article", "highlights"),
)  # fmt: skip
TRANSLATIONS = "translation"


@dataclass(frozen=True)
class PairColumns:
    """The two texts of a row: columns, or entries of one column that holds a text for each language.

    Attributes:
        source, target: names; there may be no target when there is only something to translate.
        within: the column whose entries they are; None where they are columns themselves.
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
    """Find the text that is translated and its translation among `features` (a `datasets.Features`).

    A column that is named is taken; else the column, or the entry of a column "translation", that is called like the
    language that is named; else two columns with conventional names.

    Raises:
        UserError: a name that is missing or no text, or nothing that says what is translated into what.
    """
    within = TRANSLATIONS if _has_entries(features.get(TRANSLATIONS)) else None
    texts = _entries(features[within]) if within else [name for name in features if is_string(features[name])]
    pair = {}
    for role in ("source", "target"):
        for flag in (f"{role}_column", f"{role}_lang"):
            if (named := getattr(arguments, flag)) is not None and role not in pair:
                _check(named, flag, texts, features, within, required=role == "source" or target_required)
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
            f"It is not clear which text is translated into which: name them by --source_column and --target_column, "
            f"or by --source_lang and --target_lang where they are called after languages. {_available(features)}"
        )
    if pair["source"] == pair.get("target"):
        raise UserError(f"{pair['source']!r} is named for the source and for the target: each is a text of its own.")
    return PairColumns(pair["source"], pair.get("target"), within)


def _check(
    name: str, flag: str, texts: list[str], features: Mapping[str, Any], within: str | None, required: bool
) -> None:
    if name in texts or not required:
        return
    if within is None and name in features:
        raise UserError(
            f"The column {name!r} (--{flag}) is {describe(features[name])}, not a string. {_available(features)}"
        )
    where = f"entry of the column {within!r}" if within else "column of texts"
    raise UserError(
        f"There is no {where} called {name!r} (--{flag}); there are {listing(texts)}.{nearest(name, texts)}"
    )


def _has_entries(feature: Any) -> bool:
    """Whether a column holds structures, such as `datasets.Translation`; others may be called so, too."""
    return isinstance(feature, dict) or type(feature).__name__ == "Translation"


def _entries(feature: Any) -> list[str]:
    """The names of the texts in a column of structures, such as a `datasets.Translation`."""
    languages = getattr(feature, "languages", None)
    return list(languages) if languages else [name for name in feature if is_string(feature[name])]


def _available(features: Mapping[str, Any]) -> str:
    return f"The columns are {', '.join(f'{name!r} ({describe(feature)})' for name, feature in features.items())}."
