"""Divide a model's parameters into layer groups, which strategies freeze, unfreeze and assign learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def layer_groups(model: PreTrainedModel) -> list[list[str]]:
    """Return the names of all parameters of `model` in groups from embeddings to head; the last group is the head.

    A family of the toolkit declares its groups as prefixes (`layer_groups()` of the model). For other models, groups
    are derived from the module tree: the longest outermost `nn.ModuleList` of the body contains the layers, one group
    each; modules registered before it form the first group, and modules after it (a final norm, a pooler, the
    classifier) form the head.

    A matrix that a language model's head shares with its embeddings is in the group of the head, as in the language
    models of Howard and Ruder (2018): new words are learned there first.

    Raises:
        ValueError: a parameter is in none or in several of the declared groups.
    """
    names = [name for name, _ in model.named_parameters()]  # lists a shared parameter once
    declared = getattr(model, "layer_groups", None)
    if declared is not None:
        groups = _by_prefix(names, declared())
        has_head = any(not name.startswith(f"{model.base_model_prefix}.") for name in groups[-1])
    else:
        groups, has_head = _from_module_tree(model, names)
    shared = _shared_matrix(model)
    if shared is None:
        return groups
    groups = [[name for name in group if name != shared] for group in groups]
    head = groups.pop() if has_head else []
    return [group for group in [*groups, [*head, shared]] if group]


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Return the names of parameters that belong only to the head; a checkpoint with another head lacks them."""
    shared = _shared_matrix(model)
    return {name for name in layer_groups(model)[-1] if name != shared}


def group_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each group: the outermost modules that only hold parameters of this group.

    With BERT: `bert.embeddings`, `bert.encoder.layer.0`, …, `bert.pooler, classifier`.
    """
    others = {name: number for number, group in enumerate(groups) for name in group}
    owners: dict[str, set[int]] = {}  # the groups of the parameters in each module
    for name, number in others.items():
        for prefix in _prefixes(name):
            owners.setdefault(prefix, set()).add(number)
    return [
        ", ".join(dict.fromkeys(next(p for p in _prefixes(name) if len(owners[p]) == 1) for name in group))
        for group in groups
    ]


def _prefixes(name: str) -> list[str]:
    """Return `["a", "a.b", "a.b.c"]` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[: depth + 1]) for depth in range(len(parts))]


def _from_module_tree(model: PreTrainedModel, names: list[str]) -> tuple[list[list[str]], bool]:
    """Return the groups, and whether the last one is a head."""
    # An encoder-decoder has two stacks, so its body is one group.
    blocks = None if model.config.is_encoder_decoder else _longest_module_list(model)
    if blocks is None:
        body = f"{model.base_model_prefix}."
        head = [name for name in names if not name.startswith(body)]
        return [group for group in [[n for n in names if n.startswith(body)], head] if group], bool(head)
    prefix, length = blocks
    inside = [name for name in names if name.startswith(f"{prefix}.")]
    if not inside:
        return [names], False
    first = names.index(inside[0])
    layers = [[name for name in inside if name.startswith(f"{prefix}.{i}.")] for i in range(length)]
    head = [name for name in names[first:] if name not in set(inside)]
    return [group for group in [names[:first], *layers, head] if group], bool(head)


def _by_prefix(names: list[str], prefixes: list[list[str]]) -> list[list[str]]:
    groups = [
        [name for name in names if any(name == p or name.startswith(f"{p.rstrip('.')}.") for p in group)]
        for group in prefixes
    ]
    held = sorted(name for group in groups for name in group)
    if held != sorted(names):
        wrong = sorted({name for name in names if held.count(name) != 1})
        raise ValueError(
            f"layer_groups() must assign every parameter to one group, but these are in none or several: {wrong}"
        )
    return [group for group in groups if group]


def _shared_matrix(model: PreTrainedModel) -> str | None:
    """Return the name of the matrix shared by embeddings and head, or None if there is none."""
    try:
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    except NotImplementedError:  # a model that reads no tokens
        return None
    matrix = getattr(head, "weight", None)
    if matrix is None or matrix is not getattr(embeddings, "weight", None):
        return None
    return next(name for name, parameter in model.named_parameters() if parameter is matrix)


def _longest_module_list(model: PreTrainedModel) -> tuple[str, int] | None:
    from torch import nn

    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    # Inner lists may be longer, for example the experts of a layer.
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return max(((name, lists[name]) for name in outermost), key=lambda entry: entry[1], default=None)
