"""Biaffine scorers against torch's own bilinear layer and a loop over pairs."""

from __future__ import annotations

import pytest
import torch

from polyhead.nn.biaffine import ArcScorer, Perceptron, RelationScorer


@pytest.mark.parametrize("size", [1, 5])
def test_relation_scorer_equals_bilinear(size: int) -> None:
    torch.manual_seed(0)
    relations = 3
    scorer = RelationScorer(size, relations)
    bilinear = torch.nn.Bilinear(size, size, relations, bias=False)
    with torch.no_grad():  # ours as (size, relations, size): from the dependent, over relations, to the head
        bilinear.weight.copy_(scorer.weight.view(size, relations, size).transpose(0, 1))
    dependents, heads = torch.randn(7, size, requires_grad=True), torch.randn(7, size, requires_grad=True)
    expected = bilinear(dependents, heads) + scorer.linear(torch.cat([dependents, heads], dim=1))
    found = scorer(dependents, heads)
    torch.testing.assert_close(found, expected)
    ways = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, [dependents, heads], ways, retain_graph=True),
        torch.autograd.grad(expected, [dependents, heads], ways),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_no_arcs_have_no_scores() -> None:
    assert RelationScorer(4, 3)(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 3)


def test_arc_scorer_equals_a_loop() -> None:
    torch.manual_seed(1)
    scorer = ArcScorer(4)
    dependents, heads = torch.randn(2, 3, 4), torch.randn(2, 4, 4)
    found = scorer(dependents, heads)
    assert found.shape == (2, 3, 4)
    for b in range(2):
        for d in range(3):
            for h in range(4):
                extended = torch.cat([dependents[b, d], torch.ones(1)])  # the 1 gives each head its bias
                torch.testing.assert_close(found[b, d, h], extended @ scorer.weight @ heads[b, h])


def test_perceptron_is_linear_above_zero_and_leaky_below() -> None:
    layer = Perceptron(2, 2, 0.0)
    with torch.no_grad():
        layer[0].weight.copy_(torch.eye(2))
        layer[0].bias.zero_()
    torch.testing.assert_close(layer(torch.tensor([[2.0, -2.0]])), torch.tensor([[2.0, -0.2]]))
