"""The conditional random field compared with the enumeration of all tag sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tl_toolkit.models.crf import IGNORED, LinearChainCrf

LABELS = 3
MASKS = {
    "whole": [1, 1, 1, 1, 1],
    "right": [1, 1, 1, 0, 0],
    "left": [0, 0, 1, 1, 1],
    "holes": [0, 1, 0, 1, 1],
    "one": [0, 0, 0, 1, 0],
}


def random_crf(seed: int = 0) -> LinearChainCrf:
    crf = LinearChainCrf(LABELS).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return crf


def enumerated(crf: LinearChainCrf, emissions: Tensor, mask: list[int]) -> dict[tuple[int, ...], float]:
    """The score of every tag sequence of one sentence."""
    places = [place for place, real in enumerate(mask) if real]
    scores = {}
    for tags in itertools.product(range(LABELS), repeat=len(places)):
        score = crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]]
        score = score + sum(emissions[place, tag] for place, tag in zip(places, tags, strict=True))
        score = score + sum(crf.transitions[pair] for pair in itertools.pairwise(tags))
        scores[tags] = score.item()
    return scores


@pytest.fixture
def emissions() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(len(MASKS), 5, LABELS, dtype=torch.float64, generator=generator)


def test_equals_enumeration(emissions: Tensor) -> None:
    crf, mask = random_crf(), torch.tensor(list(MASKS.values()))
    labels = torch.randint(0, LABELS, mask.shape, generator=torch.Generator().manual_seed(3))
    log_marginals, likelihood = crf(emissions, mask, labels)
    path = crf.decode(emissions, mask)
    for row, real in enumerate(MASKS.values()):
        scores = enumerated(crf, emissions[row], real)
        places = [place for place, is_real in enumerate(real) if is_real]
        log_sum = torch.logsumexp(torch.tensor(list(scores.values()), dtype=torch.float64), 0)
        given = tuple(labels[row, places].tolist())
        torch.testing.assert_close(likelihood[row], scores[given] - log_sum)
        assert tuple(path[row, places].tolist()) == max(scores, key=scores.__getitem__)
        for index, place in enumerate(places):
            for tag in range(LABELS):
                among = torch.tensor([s for tags, s in scores.items() if tags[index] == tag], dtype=torch.float64)
                torch.testing.assert_close(log_marginals[row, place, tag], torch.logsumexp(among, 0) - log_sum)
        masked = [place for place, is_real in enumerate(real) if not is_real]
        assert (log_marginals[row, masked] == 0).all() and (path[row, masked] == IGNORED).all()


def test_unknown_tags_are_summed_over(emissions: Tensor) -> None:
    crf, mask = random_crf(1), torch.tensor(list(MASKS.values()))
    labels = torch.tensor([[1, IGNORED, 2, IGNORED, 0]] * len(MASKS))
    _, likelihood = crf(emissions, mask, labels)
    for row, real in enumerate(MASKS.values()):
        scores = enumerated(crf, emissions[row], real)
        known = [labels[row, place].item() for place, is_real in enumerate(real) if is_real]
        among = [
            score
            for tags, score in scores.items()
            if all(given in (IGNORED, tag) for given, tag in zip(known, tags, strict=True))
        ]
        total = torch.logsumexp(torch.tensor(list(scores.values()), dtype=torch.float64), 0)
        torch.testing.assert_close(likelihood[row], torch.logsumexp(torch.tensor(among).double(), 0) - total)


def test_gradient_of_the_likelihood(emissions: Tensor) -> None:
    crf, mask = random_crf(2), torch.tensor(list(MASKS.values()))
    labels = torch.tensor([[1, IGNORED, 2, 0, 0]] * len(MASKS))

    def likelihood(scores: Tensor, start: Tensor, transitions: Tensor, end: Tensor) -> Tensor:
        parameters = {"start_transitions": start, "transitions": transitions, "end_transitions": end}
        return torch.func.functional_call(crf, parameters, (scores, mask, labels))[1]

    inputs = [emissions, crf.start_transitions, crf.transitions, crf.end_transitions]
    assert torch.autograd.gradcheck(likelihood, [tensor.detach().clone().requires_grad_() for tensor in inputs])


def test_rows_without_known_tags() -> None:
    crf = random_crf()
    emissions = torch.randn(2, 4, LABELS, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0]])
    log_marginals, likelihood = crf(emissions, mask, torch.full((2, 4), IGNORED))
    assert (likelihood == 0).all()
    likelihood.sum().backward()
    torch.testing.assert_close(emissions.grad, torch.zeros_like(emissions))
    assert torch.isfinite(log_marginals).all()
    assert (crf.decode(emissions, mask)[0] == IGNORED).all()


@pytest.mark.parametrize("label", [0, -1, LABELS])
def test_labels_of_masked_positions_are_ignored(label: int) -> None:
    gradients = []
    for masked in (IGNORED, label):
        crf, emissions = random_crf(), torch.ones(2, 4, LABELS, dtype=torch.float64)
        labels = torch.tensor([[masked] * 4, [2, masked, 1, 0]])
        crf(emissions, torch.tensor([[0, 0, 0, 0], [1, 0, 1, 1]]), labels)[1].sum().backward()
        gradients.append([parameter.grad for parameter in crf.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_half_precision_is_computed_in_float32() -> None:
    crf, emissions = LinearChainCrf(LABELS), torch.randn(2, 300, LABELS)
    marginals, _ = crf(emissions.bfloat16())
    assert marginals.dtype == torch.float32
    # With zero transitions, the positions are independent.
    torch.testing.assert_close(marginals, emissions.bfloat16().float().log_softmax(-1), atol=1e-3, rtol=1e-4)


def test_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        LinearChainCrf(LABELS)(torch.zeros(2, 4, LABELS), torch.ones(2, 5))


def test_best_path_and_best_marginals_can_differ() -> None:
    """The most probable sequence is b b; but the most probable first tag is a: its two continuations share one half."""
    crf = LinearChainCrf(2)
    scores = torch.tensor([[0.3, 0.3], [0.0, 0.4]]).log().clamp(min=-50)
    with torch.no_grad():
        crf.transitions.copy_(scores)
    emissions = torch.zeros(1, 2, 2)
    assert crf(emissions)[0].exp()[0, 0].argmax() == 0
    assert crf.decode(emissions).tolist() == [[1, 1]]
