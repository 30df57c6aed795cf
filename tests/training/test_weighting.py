"""How losses become a step: fixed, learnt and dynamic weights, and torchjd's methods on problems with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from polyhead.tasks import LossSum
from polyhead.training.conflicts import AGGREGATORS, project
from polyhead.training.records import Cosine
from polyhead.training.weighting import Cosines, Weighting, make_weighting


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


def two_tasks(weighting: Weighting, *, measure: bool = False) -> tuple[torch.Tensor, list[torch.Tensor], Cosines]:
    """Two tasks whose gradients of two shared weights are known, (1, 0) and (-2, 1), each with a weight of its own."""
    shared = torch.zeros(2, requires_grad=True)
    own = [torch.tensor(1.0, requires_grad=True) for _ in range(2)]
    pulls = [torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 1.0])]
    losses = {n: LossSum((p * shared).sum() + 3.0 * o, 1) for n, p, o in zip("ab", pulls, own, strict=True)}
    cosines = weighting.backward(losses, [shared], measure=measure)
    assert shared.grad is not None
    return shared.grad, [o.grad for o in own if o.grad is not None], cosines


ONES = {"a": 1.0, "b": 1.0}
KNOWN = {
    "weights": (-1.0, 1.0),
    "pcgrad": (0.2, 1.4),  # a without b's direction, (0.2, 0.4), and b without a's, (0, 1)
    "upgrad": (0.1, 0.7),  # the mean of the same two projections
    "dualproj": (0.0, 0.5),  # the mean gradient (-0.5, 0.5) without what goes against a
}


@pytest.mark.parametrize("combine", ["weights", "pcgrad", "upgrad", "dualproj"])
def test_two_tasks_that_pull_apart_with_a_known_answer(combine: str) -> None:
    gradient, own, _ = two_tasks(make_weighting(combine, ONES, ONES))
    assert gradient.tolist() == pytest.approx(KNOWN[combine], abs=1e-3)
    assert [float(grad) for grad in own] == [3.0, 3.0], "heads get their own task's gradient"


def test_mgda_finds_the_shortest_mixture() -> None:
    gradient, _, _ = two_tasks(make_weighting("mgda", ONES, ONES))
    mixtures = [torch.tensor([a - 2 * (1 - a), 1 - a]) for a in torch.linspace(0, 1, 1001).tolist()]
    assert gradient.tolist() == pytest.approx(min(mixtures, key=lambda g: float(g.norm())).tolist(), abs=2e-3)


@pytest.mark.parametrize("combine", AGGREGATORS)
def test_methods_against_conflicts_agree_with_torchjd(combine: str) -> None:
    from torchjd import aggregation

    kind, settings = AGGREGATORS[combine]
    rows = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
    torch.manual_seed(3)
    ours, _, _ = two_tasks(make_weighting(combine, ONES, ONES))
    torch.manual_seed(3)
    if combine in ("upgrad", "dualproj"):
        settings = {"projector": project}
    assert torch.allclose(ours, getattr(aggregation, kind)(**settings)(rows))
    if combine not in ("graddrop", "cagrad"):  # which promise something else
        assert float((rows @ ours).min()) > -1e-3, "no task loses by the joined step"


def test_weights_scale_what_is_joined() -> None:
    gradient, _, _ = two_tasks(make_weighting("pcgrad", {"a": 2.0, "b": 1.0}, ONES))
    assert gradient.tolist() == pytest.approx((2 * 0.2 + 0.0, 2 * 0.4 + 1.0))


def test_the_projection_is_the_best_one() -> None:
    """No random point of the dual cone is nearer to the gradient that is projected."""
    torch.manual_seed(0)
    rows = torch.randn(4, 6, dtype=torch.float64)
    rows[1] -= 2 * rows[0]
    u = torch.rand(4, dtype=torch.float64)
    weights = project(u, rows @ rows.T)
    point, goal = rows.T @ weights, rows.T @ u
    assert float((rows @ point).min()) > -1e-4
    assert bool((weights >= u - 1e-9).all())
    for _ in range(2000):
        other = rows.T @ (u + torch.rand(4, dtype=torch.float64) * 3)
        if float((rows @ other).min()) >= 0:
            assert float((other - goal).norm()) >= float((point - goal).norm()) - 1e-4


def test_measuring_cosines_changes_no_gradient() -> None:
    plain, own, nothing = two_tasks(Weighting(ONES, ONES))
    measured, same, cosines = two_tasks(Weighting(ONES, ONES), measure=True)
    assert torch.equal(plain, measured) and own == same
    assert nothing == {}
    assert cosines == {"a b": pytest.approx(-2 / 5**0.5)}


def test_gradients_of_several_batches_add_up() -> None:
    """With two batches in a step the joined gradients are added to what is there."""
    shared = torch.zeros(2, requires_grad=True)
    pulls = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-2.0, 1.0])}
    weighting = make_weighting("pcgrad", ONES, ONES)
    for _ in range(2):
        weighting.backward({n: LossSum((p * shared).sum(), 1) for n, p in pulls.items()}, [shared], scale=0.5)
    assert shared.grad is not None
    assert shared.grad.tolist() == pytest.approx([0.2, 1.4])
    weighting.backward({"a": LossSum((pulls["a"] * shared).sum(), 1)}, [shared])
    assert shared.grad.tolist() == pytest.approx([1.2, 1.4]), "a batch of one task has nothing to join"


def test_uncertainty_weighs_by_the_inverse_loss() -> None:
    """Where losses stay as they are, a task's weight goes to half the inverse of its loss."""
    weighting = make_weighting("uncertainty", ONES, ONES)
    optimizer = torch.optim.SGD(weighting.others.values(), lr=0.3)
    constant = {"a": 4.0, "b": 0.25}
    for _ in range(300):
        optimizer.zero_grad()
        losses = {name: LossSum(torch.tensor(value), 1) for name, value in constant.items()}
        weighting.backward(losses, [])
        optimizer.step()
    found = {name: float(torch.exp(-weighting.others[f"log_variance.{name}"].detach())) for name in constant}
    assert found == pytest.approx({"a": 1 / 8, "b": 2.0}, rel=1e-2)


def test_dynamic_weights_favour_what_falls_slowly() -> None:
    weighting = make_weighting("dynamic", {"a": 1.0, "b": 0.5}, ONES)
    weighting.begin_epoch([{"a": 2.0, "b": 2.0}])
    assert weighting.weights == {"a": 1.0, "b": 0.5}
    weighting.begin_epoch([{"a": 9.0, "b": 9.0}, {"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 2.0}])
    pulls = {"a": math.exp(0.5 / 2), "b": math.exp(1.0 / 2)}
    total = sum(pulls.values())
    assert weighting.weights == pytest.approx({"a": 2 * pulls["a"] / total, "b": 0.5 * 2 * pulls["b"] / total})
    weighting.begin_epoch([{"a": 1.0}, {"a": 1.0}])
    assert weighting.weights == {"a": 1.0, "b": 0.5}, "a task that was not seen keeps its weight"


def test_dynamic_weights_survive_a_loss_that_leaps_up_or_is_no_number() -> None:
    weighting = make_weighting("dynamic", {"a": 1.0, "b": 0.5, "c": 2.0}, dict.fromkeys("abc", 1.0))
    weighting.begin_epoch([{"a": 1e-6, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}])
    assert weighting.weights == pytest.approx({"a": 3.0, "b": 0.0, "c": 0.0})
    weighting.begin_epoch([{"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": math.nan, "c": 1.0}])
    assert weighting.weights == pytest.approx({"a": 1.0, "b": 0.5, "c": 2.0}), "a task without a loss keeps its weight"
    weighting.begin_epoch([{"a": 1.0, "b": math.inf, "c": 1.0}, {"a": 1.0, "b": 1.0, "c": 2.0}])
    assert all(math.isfinite(weight) for weight in weighting.weights.values())


def test_pairs_that_pull_apart_are_those_that_surely_do() -> None:
    def of(*values: float) -> Cosine:
        return Cosine.of(len(values), sum(values), sum(value**2 for value in values))

    assert of(*[-0.2, -0.1] * 6).against
    assert not of(*[-0.2, -0.1] * 4).against, "too few to tell"
    assert not of(*[-0.031, -0.03] * 6).against, "sure, and next to nothing"
    assert not of(*[-0.6, 0.5] * 6).against, "below 0 in the mean, but not for sure"
    assert of(*[-0.2, -0.1] * 6).mean == pytest.approx(-0.15)
    assert of(*[-0.2, -0.1] * 6).error == pytest.approx(0.05 * (12 / 11) ** 0.5 / 12**0.5)


def test_a_sample_tells_the_cosines_of_very_many_weights() -> None:
    """Gradients of three million weights in matrices with rows and columns of very different size."""
    torch.manual_seed(0)
    shared = [torch.zeros(1000, 2000, requires_grad=True), torch.zeros(500, 2000, requires_grad=True)]
    sizes = torch.rand(2000) ** 4
    common = [torch.randn_like(weight) * sizes for weight in shared]
    pulls = {name: [a * c + torch.randn_like(c) * sizes for c in common] for name, a in (("a", 1.0), ("b", -0.7))}
    losses = {
        name: LossSum(sum(((p * w).sum() for p, w in zip(parts, shared, strict=True)), start=torch.zeros(())), 1)
        for name, parts in pulls.items()
    }
    cosines = Weighting(ONES, ONES).backward(losses, shared, measure=True)
    whole = {name: torch.cat([part.flatten() for part in parts]) for name, parts in pulls.items()}
    expected = float(torch.nn.functional.cosine_similarity(whole["a"], whole["b"], dim=0))
    assert cosines["a b"] == pytest.approx(expected, abs=0.005)
    assert shared[0].grad is not None
    torch.testing.assert_close(shared[0].grad, pulls["a"][0] + pulls["b"][0])
