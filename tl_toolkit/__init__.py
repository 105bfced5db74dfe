"""Recurrent, attention and transformer models side by side, from scratch and transferred.

Importing the package registers its families with transformers' Auto classes: at once where transformers is there, else
as soon as it is imported, so that what needs numbers alone does not wait for it.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"


class _RegisterWithTransformers(MetaPathFinder):
    """Finds transformers as others do, and registers the families when it has been imported."""

    asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "transformers" or self.asking:
            return None
        self.asking = True  # the other finders are asked, not this one again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            import_module("tl_toolkit.models")

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "transformers" in sys.modules:
    import_module("tl_toolkit.models")
else:
    sys.meta_path.insert(0, _RegisterWithTransformers())


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("tl_toolkit.models")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
