"""A model's parameters as groups from embedding to head: what strategies freeze, unfreeze and give rates to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def layer_groups(model: PreTrainedModel) -> list[list[str]]:
    """Names of all parameters of `model`, in groups from embedding to head; the last group is the head.

    A family of the toolkit declares its groups as prefixes (`layer_groups()` of the model). For any other model they
    are derived from the module tree: the longest `nn.ModuleList` of the body holds the layers, one group each; what is
    registered in front of it makes the first group, and what comes behind it (a final norm, a pooler, the classifier)
    the head.

    Raises:
        ValueError: a parameter that no declared group holds, or that two groups hold.
    """
    names = [name for name, _ in model.named_parameters()]
    declared = getattr(model, "layer_groups", None)
    if declared is not None:
        return _by_prefix(names, declared())
    # An encoder-decoder has two stacks; for a head on top of both, the body is one group.
    blocks = None if model.config.is_encoder_decoder else _longest_module_list(model)
    if blocks is None:
        body = f"{model.base_model_prefix}."
        groups = [[n for n in names if n.startswith(body)], [n for n in names if not n.startswith(body)]]
        return [group for group in groups if group]
    prefix, length = blocks
    inside = [name for name in names if name.startswith(f"{prefix}.")]
    if not inside:
        return [names]
    first = names.index(inside[0])
    layers = [[name for name in inside if name.startswith(f"{prefix}.{i}.")] for i in range(length)]
    behind = [name for name in names[first:] if name not in set(inside)]
    return [group for group in [names[:first], *layers, behind] if group]


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Names of the parameters of the head."""
    return set(layer_groups(model)[-1])


def _by_prefix(names: list[str], prefixes: list[list[str]]) -> list[list[str]]:
    groups = [
        [name for name in names if any(name == p or name.startswith(f"{p.rstrip('.')}.") for p in group)]
        for group in prefixes
    ]
    held = sorted(name for group in groups for name in group)
    if held != sorted(names):
        wrong = sorted({name for name in names if held.count(name) != 1})
        raise ValueError(
            f"layer_groups() must hold every parameter once, but these are held by none or several: {wrong}"
        )
    return [group for group in groups if group]


def _longest_module_list(model: PreTrainedModel) -> tuple[str, int] | None:
    from torch import nn

    lists = [(name, len(module)) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda entry: entry[1], default=None)
