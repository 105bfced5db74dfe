"""The recipes, configurations and launch files that the toolkit brings along, found by name from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, nearest

_PACKAGE = Path(__file__).parents[1]
# A wheel has them in the package, a checkout beside it.
RECIPES = next((folder for folder in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes") if folder.is_dir()), _PACKAGE)


class Kind(NamedTuple):
    """A group of shipped files: where they lie, and how they are used."""

    title: str
    pattern: str


KINDS = (
    Kind("Configurations, for --config NAME", "configs/*.yaml"),
    Kind('Launch files, for accelerate launch --config_file "$(tl-toolkit configs NAME)"', "accelerate/*.yaml"),
    Kind('Recipes, for accelerate launch "$(tl-toolkit configs NAME)"', "*.py"),
)


def shipped_files() -> dict[str, Path]:
    """All shipped files by name."""
    return {path.name: path for kind in KINDS for path in sorted(RECIPES.glob(kind.pattern))}


def find_config(name: str | Path) -> Path:
    """The file `name` if it exists, else the shipped file of that name, with or without `.yaml`; else `name` itself."""
    path, files = Path(name).expanduser(), shipped_files()
    if path.exists() or path.parent != Path():
        return path
    return files.get(path.name) or files.get(f"{path.name}.yaml") or path


def nearest_config(path: Path) -> str:
    """The shipped file that a name which was not found may have meant, as part of an error message."""
    name = path.name if path.suffix else f"{path.name}.yaml"
    return nearest(name, shipped_files()) + " `tl-toolkit configs` lists the files that come with the toolkit."


def describe_configs(name: str | None = None) -> str:
    """The path of the shipped file `name`; without a name all of them with a line each, and the folder they are in.

    Raises:
        UserError: no shipped file has this name.
    """
    if name is not None:
        path = find_config(Path(name).name)
        if path not in shipped_files().values():
            raise UserError(f"No shipped file is named {name!r}.{nearest_config(Path(name))}")
        return str(path)
    width = max(map(len, shipped_files()), default=0)
    groups = []
    for kind in KINDS:
        lines = [f"  {path.name:<{width}}  {_first_line(path)}" for path in sorted(RECIPES.glob(kind.pattern))]
        groups.append("\n".join([f"{kind.title}:", *lines]))
    return "\n\n".join([*groups, f"They are in {RECIPES}"])


def _first_line(path: Path) -> str:
    """What a file does, as its first line says: a comment, or a docstring."""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().strip().strip('#"').strip()
