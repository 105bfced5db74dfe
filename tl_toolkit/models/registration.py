"""Register a family with transformers' Auto classes without importing its models before they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import transformers
from transformers import AutoConfig

from .strict_config import StrictConfig


class LazyModelClass:
    """A placeholder for a model class in the tables of the Auto classes, which imports the class on first use.

    Importing a model imports most of transformers, which takes seconds; a program that only prints its help should
    not have to wait for that.
    """

    def __init__(self, module: str, name: str, config_class: type[StrictConfig]) -> None:
        self.__module__ = module
        self.__name__ = self.__qualname__ = name
        self.config_class = config_class  # read by the Auto classes' `register`

    def load(self) -> type:
        """The class itself."""
        return getattr(import_module(self.__module__), self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.load(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.load()(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return (getattr(other, "__module__", None), getattr(other, "__name__", None)) == (
            self.__module__,
            self.__name__,
        )

    def __hash__(self) -> int:
        return hash((self.__module__, self.__name__))


def register(config_class: type[StrictConfig]) -> dict[str, LazyModelClass]:
    """Register a configuration and, for each Auto class in its `auto_classes`, a model of the family.

    Returns the models by name.
    """
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    package = config_class.__module__.rpartition(".")[0]
    models = {}
    for auto_class, reference in config_class.auto_classes.items():
        if auto_class == "AutoConfig":
            continue
        module, _, name = reference.partition(".")
        models[name] = LazyModelClass(f"{package}.{module}", name, config_class)
        getattr(transformers, auto_class).register(config_class, models[name], exist_ok=True)
    return models
