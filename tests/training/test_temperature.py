from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from tl_toolkit.models import AwdLstmConfig
from tl_toolkit.training.temperature import fit_temperature, fold_temperature


def confident(rows: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits), and the logits times `factor`."""
    generator = np.random.default_rng(seed)
    logits = 1.5 * generator.normal(size=(rows, 3))
    labels = (log_softmax(logits, axis=1) + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return (factor * logits).astype(np.float32), labels


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_is_the_overconfidence(factor: float) -> None:
    logits, labels = confident(20_011, factor)
    temperature, reason = fit_temperature(logits, labels)
    assert temperature == pytest.approx(factor, rel=0.03) and not reason


def test_it_minimises_the_log_loss() -> None:
    """The same as a search over 1 / T, in which the loss is convex."""
    logits, labels = confident(31, 3.0)

    def loss(inverse: float) -> float:
        return -log_softmax(inverse * logits.astype(float), axis=1)[np.arange(31), labels].mean()

    assert 1 / fit_temperature(logits, labels)[0] == pytest.approx(minimize_scalar(loss, (0.1, 1)).x, rel=1e-4)


def test_it_stays_one_where_it_cannot_be_estimated() -> None:
    logits, labels = confident(19, 4.0)
    assert fit_temperature(logits, labels) == (1.0, "fewer than 20 validation rows")
    logits, labels = confident(37, 4.0)
    assert fit_temperature(logits, np.zeros(37, int))[0] == 1
    assert fit_temperature(logits, logits.argmax(axis=1))[0] == 1  # else it would be as small as allowed
    assert fit_temperature(logits, labels)[0] > 1
    assert fit_temperature(-logits, labels) == (1.0, "the log loss has no minimum between temperatures of 0.05 and 20")


class Head(nn.Module):
    """A classifier of features with a layer of the same size before its last one."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.square, self.out, self.power = nn.Linear(3, 3), nn.Linear(3, 3), power

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits = self.out(torch.relu(self.square(features)))
        return logits.sign() * logits.abs() ** self.power


def test_folding_divides_the_logits_and_nothing_else() -> None:
    torch.manual_seed(0)
    head, features = Head(), torch.randn(7, 3)
    before, square = head(features), head.square.weight.clone()
    assert fold_temperature(head, 1.7, 3, lambda: head(features))
    torch.testing.assert_close(head(features), before / 1.7)
    assert torch.equal(head(features).argmax(1), before.argmax(1)) and torch.equal(head.square.weight, square)


def test_a_head_that_is_not_proportional_is_not_changed() -> None:
    torch.manual_seed(0)
    features = torch.randn(7, 3)
    for head in (Head(power=1.3), Head().to(torch.bfloat16), nn.Linear(3, 5)):
        inputs, before = features.to(next(head.parameters()).dtype), [own.clone() for own in head.parameters()]
        assert not fold_temperature(head, 1.7, 3, lambda head=head, inputs=inputs: head(inputs))
        assert all(torch.equal(own, was) for own, was in zip(head.parameters(), before, strict=True))


def test_averaged_probabilities_are_not_folded_and_those_of_one_direction_are() -> None:
    from transformers import AutoModelForSequenceClassification

    sizes = {"vocab_size": 23, "embedding_size": 5, "hidden_size": 7, "num_hidden_layers": 1, "num_labels": 3}
    ids = torch.randint(4, 23, (5, 11), generator=torch.Generator().manual_seed(1))
    for direction in ("forward", "both"):
        torch.manual_seed(0)
        config = AwdLstmConfig(**sizes, direction=direction, problem_type="single_label_classification")
        model = AutoModelForSequenceClassification.from_config(config).eval()
        before = model(ids).logits
        folded = fold_temperature(model, 0.6, 3, lambda model=model: model(ids).logits)
        assert folded == (direction == "forward")
        torch.testing.assert_close(model(ids).logits, before / 0.6 if folded else before)
