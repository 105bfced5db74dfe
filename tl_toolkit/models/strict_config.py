"""A configuration that only accepts its own fields."""

from dataclasses import fields
from difflib import get_close_matches
from typing import Any, ClassVar

from transformers import PreTrainedConfig

# Names that transformers itself writes into a saved config.json or passes to a configuration. They describe the state
# of a loaded checkpoint, not the architecture, so they are not fields of any family.
_BOOKKEEPING = frozenset({
    "attn_implementation", "auto_map", "base_model_pp_plan", "base_model_tp_plan", "experts_implementation",
    "model_type", "name_or_path", "num_labels", "output_attentions", "per_layer_config", "quantization_config",
    "tie_last_hidden_states", "torch_dtype", "transformers_weights",
})  # fmt: skip
# Arguments for finding and reading the file, which `from_pretrained` also passes on.
_LOADING = frozenset({"_from_auto", "_from_pipeline", "adapter_kwargs", "code_revision", "gguf_file", "_commit_hash"})


class StrictConfig(PreTrainedConfig):
    """Base class of every family's configuration: unknown names are errors, and the code is saved with a model.

    `PreTrainedConfig` stores unknown keywords as attributes, so a misspelt field silently keeps its default. This class
    only accepts annotated fields and transformers' own bookkeeping. Types are checked by
    `huggingface_hub.dataclasses.strict`, which decorates every subclass (this needs real types as annotations: no
    `from __future__ import annotations` in a configuration file).

    All families have the fields below; their docstrings describe the others. Sizes are numbers of units, dropouts are
    probabilities.

    Args:
        vocab_size: number of token ids.
        initializer_range: embeddings are initialised uniformly in [-initializer_range, initializer_range].
        use_cache: return the state after a window (`past_key_values`) in evaluation mode.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens. Only `attention_mask` identifies padding,
            never the id.

    Class attributes:
        sizes: the fields that must be at least 1 if they are set.
        auto_classes: `auto_map` of every instance, {Auto class: "file.Class"}, with all heads of the family, so a
            folder saved by one head can be loaded by any other with `trust_remote_code=True`.
    """

    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    sizes: ClassVar[tuple[str, ...]] = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers")
    auto_classes: ClassVar[dict[str, str]] = {}
    _auto_class: ClassVar[str | None] = "AutoConfig"  # makes `save_pretrained` copy the code

    vocab_size: int = 30000
    initializer_range: float | int = 0.1
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self._reject_unknown(kwargs)
        model_type = kwargs.get("model_type", self.model_type)
        if model_type != self.model_type:
            raise ValueError(f"{type(self).__name__} is for model_type {self.model_type!r}, not {model_type!r}.")
        # Entries loaded from the Hub name their repository ("user/name--file.Class") and take precedence.
        kwargs["auto_map"] = {**self.auto_classes, **(kwargs.get("auto_map") or {})}
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        for name in self.sizes:
            if (size := getattr(self, name)) is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")

    def validate_dropouts(self) -> None:
        for name in sorted(self.known_names()):
            if name.endswith("_dropout") and not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability and must be in [0, 1), got {getattr(self, name)}.")

    @classmethod
    def known_names(cls) -> set[str]:
        """The names of all fields, and the aliases that transformers maps to them (`attribute_map`)."""
        return {field.name for field in fields(cls)} | set(cls.attribute_map)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, except that an unused keyword raises an error instead of being dropped."""
        return_unused_kwargs = kwargs.pop("return_unused_kwargs", False)
        config, unused = super().from_dict(config_dict, return_unused_kwargs=True, **kwargs)
        if return_unused_kwargs:
            return config, unused
        cls._reject_unknown({name for name in unused if name not in _LOADING})
        return config

    def update(self, config_dict: dict[str, Any]) -> None:
        """Set several fields at once; an unknown name raises an error."""
        self._reject_unknown(config_dict)
        super().update(config_dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields and bookkeeping.

        Other attributes of an instance are left out, because loading would reject them. They do not raise an error when
        saving, because transformers' own model tests set the epsilon of every type of norm on every configuration.
        """
        kept = self.known_names() | _BOOKKEEPING
        every = super().to_dict()
        return {name: value for name, value in every.items() if name in kept or name.startswith("_")}

    @classmethod
    def _reject_unknown(cls, names: Any) -> None:
        known = cls.known_names()
        for name in names:
            if name in known or name in _BOOKKEEPING or name.startswith("_"):
                continue
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            own = sorted(known - {field.name for field in fields(PreTrainedConfig)})
            raise ValueError(f"{cls.__name__} has no field {name!r}.{hint} Its fields are: {', '.join(own)}.")
