from __future__ import annotations

import pytest
import torch

from polyhead.tasks import LossSum
from polyhead.training.weighting import Weighting


def test_every_unit_counts_the_same_whatever_batch_it_is_in() -> None:
    """Two batches of one task: together they give the gradient of the mean over all units."""
    weight = torch.tensor(2.0, requires_grad=True)
    for values in ([1.0], [4.0, 7.0, 8.0]):
        loss = LossSum((weight * torch.tensor(values)).sum(), len(values))
        Weighting({"a": 1.0}, {"a": 2.0}).backward({"a": loss}, [])
    assert weight.grad is not None
    assert float(weight.grad) / 2 == pytest.approx(sum([1.0, 4.0, 7.0, 8.0]) / 4)


def test_weights_scale_and_add() -> None:
    losses = {"a": LossSum(torch.tensor(6.0), 3), "b": LossSum(torch.tensor(10.0), 5)}
    terms = Weighting({"a": 1.0, "b": 0.5}, {"a": 3.0, "b": 5.0}).terms(losses)
    assert {name: float(term) for name, term in terms.items()} == pytest.approx({"a": 2.0, "b": 0.5 * 2.0})


def test_a_rare_task_is_not_blown_up() -> None:
    """One text in a hundred batches counts as one text, not as a hundred."""
    terms = Weighting({"a": 1.0}, {"a": 0.01}).terms({"a": LossSum(torch.tensor(3.0), 1)})
    assert float(terms["a"]) == pytest.approx(3.0)
