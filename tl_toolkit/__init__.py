"""Recurrent, attention and transformer models side by side, from scratch and transferred.

The verbs of the command are functions (`finetune`, `compare`, ...; see `tl_toolkit.api`), and the classes of the model
families are attributes (`RnnConfig`, ...). They are loaded when they are first used.

Importing the package registers its families with transformers' Auto classes and with peft: at once if these are
imported already, else as soon as they are imported, so that code without models does not wait for them.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .errors import UserError as UserError

__version__ = "0.2.0.dev0"

_FROM_API = (
    "Comparison", "Trained", "compare", "convert", "decide", "decision", "ensemble", "explain", "export", "finetune",
    "generate", "predict", "pretrain", "publish",
)  # fmt: skip


class _AfterImport(MetaPathFinder):
    """Finds a package as others do, and imports a module of the toolkit when it has been imported."""

    def __init__(self, package: str, module: str) -> None:
        self.package, self.module, self.asking = package, module, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self.package or self.asking:
            return None
        self.asking = True  # the other finders are asked, not this one again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_import(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            import_module(self.module)

        spec.loader.exec_module = execute_and_import  # type: ignore[method-assign]
        return spec


# The families in transformers' Auto classes, and what peft adapts in them by default.
for _package, _module in [("transformers", "tl_toolkit.models"), ("peft", "tl_toolkit.peft_defaults")]:
    if _package in sys.modules:
        import_module(_module)
    else:
        sys.meta_path.insert(0, _AfterImport(_package, _module))


def __getattr__(name: str) -> Any:
    """The public names, each loaded when it is first used: the verbs, and the classes of the model families."""
    if name in _FROM_API:
        return getattr(import_module("tl_toolkit.api"), name)
    if name == "models":
        return import_module("tl_toolkit.models")
    if name == "__all__" or not name.startswith("_"):
        families = import_module("tl_toolkit.models")
        if name == "__all__":
            return [*_FROM_API, "UserError", *families.__all__]
        if name in families.__all__:
            return getattr(families, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "models", *__getattr__("__all__")})
