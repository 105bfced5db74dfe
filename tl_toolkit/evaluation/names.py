"""Names and texts as they are shown: without folders of this machine, and different names for different things."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path, PureWindowsPath

# An absolute path, or one from the home or a parent folder: /home/anna/lm, ~/lm, ../data/sst2, C:\Users\anna\lm; but
# not the end of a tag, </b>, or +/-.
_PATH = re.compile(r"(?<![\w/.:~-])(?!(?<=<)/\w+>|(?<=\+)/-)(?:~?/|\.{1,2}/|[A-Za-z]:[\\/])[^\s,;:'\"()\[\]{}<>|=]*")
HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^\s/\\'\"]+")  # JSON doubles backslashes


def short_name(name: str) -> str:
    """Return a Hub id or plain name unchanged, and a local path as its last part, because reports hide local paths."""
    local = name.startswith(("/", "./", "../", "~", "\\")) or (name.count("/") > 1 and "://" not in name)
    return (Path(name).name or name) if local else name


def without_paths(text: str, *, relative: bool = True) -> str:
    """`text` with each path shortened to its last part.

    Args:
        relative: also shorten paths from the home or a parent folder, `~/lm` and `../lm`.
    """
    return _PATH.sub(lambda found: last_part(found[0]) if relative or found[0][0] not in "~." else found[0], text)


def last_part(path: str) -> str:
    """The last part of a path of any operating system; `~` for a home folder or the root."""
    if HOME.fullmatch(path.rstrip("/\\")) or Path(path).expanduser() == Path.home():
        return "~"
    return PureWindowsPath(path).name if "\\" in path else path.rstrip("/").rpartition("/")[2] or path


def told_apart(names: Mapping[str, str], shorten: Callable[[str], str]) -> dict[str, str]:
    """A name to show for each id: shortened, and different for different ids.

    Paths that end in the same part keep their last two, `a/net` and `b/net`. Names that are still equal are numbered.

    Args:
        names: names by id, some of which may be paths.
        shorten: returns a name without the folders of a path.
    """
    shown = {key: shorten(name) for key, name in names.items()}
    often = Counter(shown.values())
    equal_paths = [key for key, name in shown.items() if often[name] > 1 and names[key] != name]
    shown |= {key: "/".join(_last_parts(names[key])) or shown[key] for key in equal_paths}
    taken: set[str] = set()
    for key, name in shown.items():
        numbered = (f"{name} ({number})" for number in count(2))
        unused = name if name not in taken else next(own for own in numbered if own not in {*taken, *shown.values()})
        taken.add(unused)
        shown[key] = unused
    return shown


def _last_parts(name: str) -> list[str]:
    """The last two parts of a path, but nothing of its home folder."""
    below = HOME.sub("", name).replace("\\", "/")
    return [part for part in below.split("/") if part not in ("", "~", ".", "..") and not part.endswith(":")][-2:]
