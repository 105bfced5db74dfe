"""The boundary between the frozen body of a model and its trained head, found by running it once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PASSING = (nn.Dropout, nn.Identity)
"""Modules that belong to the head if they directly precede its first trained module."""


class _Call(NamedTuple):
    module: nn.Module
    given: Tensor
    returned: Tensor


class HeadInput:
    """The input of the trained modules of a model, if these are a chain: each reads only what the one before returns.

    The features of a row are what the first module of the chain reads: (features,) for a row, or (tokens, features) if
    every token has an output. Some models (decoders) apply their head to every token and select one output for each
    row; its features are those of the selected token.

    Attributes:
        modules: the chain. Without randomness (in evaluation mode) it turns features into the model's logits.
        selects: whether the model selects the output of a token for each row.
    """

    def __init__(self, modules: list[nn.Module], selects: bool) -> None:
        self.modules = modules
        self.selects = selects

    @property
    def final(self) -> nn.Linear:
        """The last module, whose outputs are the logits."""
        final = self.modules[-1]
        assert isinstance(final, nn.Linear)
        return final

    @property
    def parameters(self) -> set[int]:
        """The identities of the parameters of the chain."""
        return {id(parameter) for module in self.modules for parameter in module.parameters()}

    def logits(self, features: Tensor) -> Tensor:
        """(…, features) -> (…, outputs)"""
        for module in self.modules:
            features = module(features)
        return features

    def run(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features of a batch, (rows, features) or (rows, tokens, features) in float32, and logits, without dropout."""
        seen: dict[str, Tensor] = {}

        def read(module: nn.Module, given: tuple[Any, ...]) -> None:
            seen["features"] = given[0].detach()

        def mark(module: nn.Module, given: Any, returned: Tensor) -> Tensor:
            seen["outputs"] = returned.detach().requires_grad_()
            return seen["outputs"]

        hooks = [self.modules[0].register_forward_pre_hook(read)]
        if self.selects:
            hooks.append(self.modules[-1].register_forward_hook(mark))
        with _in_evaluation(model, hooks), torch.enable_grad() if self.selects else torch.inference_mode():
            logits = model(**inputs)["logits"]
            total = logits.sum()
        features = seen["features"].float()
        if self.selects:  # 1 for the selected token of each row, and 0 for the others: (rows, tokens)
            (selected,) = torch.autograd.grad(total, seen["outputs"])
            features = torch.einsum("rt,rtf->rf", selected[..., 0].to(features.dtype), features)
        return features, logits.detach()


def head_input(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> HeadInput | None:
    """Return the input of the trained modules of `model`, or None if they are not a chain from features to logits.

    Args:
        model: its trained parameters require gradients, and the others do not.
        inputs: a batch of two rows or more, without labels.
    """
    calls: list[_Call] = []

    def note(module: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(returned, Tensor):
            calls.append(_Call(module, given[0], returned))

    leaves = [module for module in model.modules() if next(module.children(), None) is None]
    hooks = [module.register_forward_hook(note) for module in leaves]
    with _in_evaluation(model, hooks), torch.no_grad():
        logits = model(**inputs).get("logits")
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    last = next((place for place in reversed(range(len(calls))) if _parameters(calls[place]) & trained), None)
    if logits is None or last is None or not isinstance(calls[last].module, nn.Linear):
        return None
    chain = [calls[last]]
    for call in reversed(calls[:last]):
        if not _is_same(call.returned, chain[0].given):
            continue
        is_complete = trained <= {parameter for one in chain for parameter in _parameters(one)}
        if not _parameters(call) <= trained or (is_complete and not isinstance(call.module, _PASSING)):
            break
        chain.insert(0, call)
    found = HeadInput([call.module for call in chain], selects=not _is_same(calls[last].returned, logits))
    others = {parameter for call in calls if not any(call is one for one in chain) for parameter in _parameters(call)}
    if not trained <= found.parameters or others & trained or (found.selects and calls[last].returned.ndim != 3):
        return None
    features, expected = found.run(model, inputs)
    with _in_evaluation(model), torch.no_grad():
        again = found.logits(features)
    same = again.shape == expected.shape and torch.allclose(again, expected.float(), rtol=1e-3, atol=1e-4)
    return found if same else None


@contextmanager
def _in_evaluation(model: nn.Module, hooks: Sequence[RemovableHandle] = ()) -> Iterator[None]:
    """Within this context, the model is in evaluation mode; afterwards, the hooks are removed."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


def _is_same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same values in memory; a view of the same shape is the same."""
    return first.data_ptr() == second.data_ptr() and first.shape == second.shape and first.stride() == second.stride()


def _parameters(call: _Call) -> set[int]:
    return {id(parameter) for parameter in call.module.parameters()}
