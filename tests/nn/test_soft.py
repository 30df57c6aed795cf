"""Soft labels: divergences against slow references, labels matched by name, and what keeping the largest loses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polyhead.nn import soft as module
from polyhead.nn.crf import Crf, iob2_transitions
from polyhead.nn.soft import binary_soft_loss, divergence, keep, per_example, soft_loss, translate


def slow(p: list[float], q: list[float]) -> float:
    """The divergence of q from p, weighted by the sum of p, where p may sum to less than 1."""
    mass = sum(p)
    return sum(a * math.log(a / mass / b) for a, b in zip(p, q, strict=True) if a > 0)


def chances(*shape: int, seed: int = 0) -> Tensor:
    return torch.softmax(2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_loss_of_a_softmax(temperature: float) -> None:
    p, z = chances(5, 4), torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    q = torch.softmax(z / temperature, dim=1)
    expected = temperature**2 * sum(slow(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    assert soft_loss(z, per_example(keep(p), [2, 3]), temperature).item() == pytest.approx(expected, rel=1e-4)


def test_a_sure_teacher_is_gold() -> None:
    z, gold = torch.randn(6, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 4, 2, 2, 1, 3])
    sure = torch.nn.functional.one_hot(gold, 5).float()
    expected = torch.nn.functional.cross_entropy(z, gold, reduction="sum").item()
    assert soft_loss(z, per_example(keep(sure), [6]), 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_the_largest_are_kept_and_the_others_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    p, z = chances(4, 7, seed=3), torch.randn(4, 7, generator=torch.Generator().manual_seed(4))
    q = torch.softmax(z, dim=1)
    kept = keep(p)
    assert kept.places.shape == (4, 3)
    assert kept.chance.shape == (4, 4)
    assert kept.chance.sum(1) == pytest.approx(1.0)
    expected = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        best = sorted(range(7), key=lambda i: -a[i])[:3]
        rest = [i for i in range(7) if i not in best]
        lumped = [[one[i] for i in best] + [sum(one[i] for i in rest)] for one in (a, b)]
        expected += slow(*lumped)
    found = soft_loss(z, per_example(kept, [4]), 1.0).item()
    assert found == pytest.approx(expected, rel=1e-4)
    assert found < sum(slow(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)), "something is lost"
    own = p.log().requires_grad_()
    soft_loss(own, per_example(kept, [4]), 1.0).backward()
    assert own.grad is not None
    assert own.grad.abs().max() < 1e-6, "but the teacher itself is still the minimum"


def test_texts_with_more_and_fewer_choices_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a parser's heads: a word of a short text has fewer candidates, and the others are impossible."""
    monkeypatch.setattr(module, "KEPT", 3)
    short, long = chances(1, 2, seed=5), chances(2, 6, seed=6)
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(7))
    z[0, 2:] = -torch.inf
    z.requires_grad_()
    together = soft_loss(z, [tuple(keep(short)), tuple(keep(long))], 1.0)
    apart = soft_loss(z[:1, :2], [tuple(keep(short))], 1.0) + soft_loss(z[1:], [tuple(keep(long))], 1.0)
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
    (grad,) = torch.autograd.grad(together, z)
    assert bool(torch.isfinite(grad).all())


def test_labels_are_matched_by_name() -> None:
    p = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    found = translate(p, ["a", "b", "c"], ["c", "x", "a"])
    assert torch.equal(found, torch.tensor([[0.7, 0.0, 0.1], [0.0, 0.0, 0.5]]))
    assert translate(p, ["a", "b", "c"], ["a", "b", "c"]) is p
    # what goes to a label that the student lacks counts for nothing: the second word counts half
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(8))
    q = torch.softmax(z, dim=1).tolist()
    expected = slow([0.7, 0.0, 0.1], q[0]) + slow([0.0, 0.0, 0.5], q[1])
    assert soft_loss(z, per_example(keep(found), [2]), 1.0).item() == pytest.approx(expected, rel=1e-4)
    nothing = torch.zeros(2, 3)
    assert soft_loss(z, per_example(keep(nothing), [2]), 1.0).item() == 0.0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_labels_that_are_decided_alone(temperature: float) -> None:
    p, z = torch.rand(3, 4, generator=torch.Generator().manual_seed(9)), torch.linspace(-3, 3, 12).view(3, 4)
    p[0, 0], p[0, 1] = 0.0, 1.0
    q = torch.sigmoid(z / temperature)
    pairs = list(zip(p.flatten().tolist(), q.flatten().tolist(), strict=True))
    expected = temperature**2 * sum(slow([a, 1 - a], [b, 1 - b]) for a, b in pairs)
    assert binary_soft_loss(z, p, temperature).item() == pytest.approx(expected, rel=1e-4)
    unknown = p.clone()
    unknown[:, 2] = torch.nan
    three = [0, 1, 3]
    assert binary_soft_loss(z, unknown, temperature).item() == pytest.approx(
        binary_soft_loss(z[:, three], p[:, three], temperature).item()
    )


TAGS = ["O", "B-X", "I-X"]


def slow_marginals(crf: Crf, scores: Tensor, temperature: float) -> Tensor:
    """By going through all sequences. Shape (words, tags)."""
    length = len(scores)
    total = torch.zeros(length, len(TAGS), dtype=torch.float64)
    for path in itertools.product(range(len(TAGS)), repeat=length):
        value = crf.first[path[0]] + sum(scores[i, tag] for i, tag in enumerate(path))
        value = value + sum(crf.follow[a, b] for a, b in itertools.pairwise(path))
        weight = math.exp(value.item() / temperature)
        for i, tag in enumerate(path):
            total[i, tag] += weight
    return (total / total.sum(1, keepdim=True)).float()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_of_a_crf(temperature: float) -> None:
    """Marginals of teacher and student by enumeration; a teacher without a CRF may like what no sequence allows."""
    torch.manual_seed(0)
    teacher, student = Crf(*iob2_transitions(TAGS)), Crf(*iob2_transitions(TAGS))
    for crf in (teacher, student):
        torch.nn.init.normal_(crf.soft_follow)
        torch.nn.init.normal_(crf.soft_first)
    theirs, ours = torch.randn(4, 3), torch.randn(4, 3)
    mask = torch.ones(1, 4, dtype=torch.bool)
    p = slow_marginals(teacher, theirs, temperature)
    found = teacher.log_marginals(theirs[None], mask, temperature)[0]
    assert torch.allclose(found.exp(), p, atol=1e-5)
    q = slow_marginals(student, ours, temperature)
    ours.requires_grad_()
    log_q = student.log_marginals(ours[None], mask, temperature)[0]
    loss = divergence(log_q, per_example(keep(p), [4]))
    assert loss.item() == pytest.approx(sum(slow(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)), rel=1e-3)
    (grad,) = torch.autograd.grad(loss, ours, retain_graph=True)
    assert bool(torch.isfinite(grad).all())
    free = divergence(log_q, per_example(keep(chances(4, 3)), [4]))  # gives I-X to the first word, too
    grads = torch.autograd.grad(free, [ours, student.soft_follow, student.soft_first])
    assert math.isfinite(free.item())
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_extreme_scores_stay_finite() -> None:
    z = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 1e4]], requires_grad=True)
    p = torch.tensor([[0.0, 0.0, 1.0], [1e-30, 0.5, 0.5]])
    loss = soft_loss(z, per_example(keep(p), [2]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4, rel=1e-3)
    assert z.grad is not None
    assert bool(torch.isfinite(z.grad).all())


def test_no_words_at_all() -> None:
    z = torch.zeros(0, 3, requires_grad=True)
    loss = soft_loss(z, [(np.zeros((0, 3), np.int32), np.zeros((0, 4), np.float32))], 1.0)
    loss.backward()
    assert loss.item() == 0.0
