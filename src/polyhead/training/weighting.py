"""How the losses of a batch's tasks become one step: by fixed or learnt weights, or by joining their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from polyhead import ranks
from polyhead.tasks import LossSum
from polyhead.training.conflicts import AGGREGATORS, make_aggregator

Cosines = dict[str, float]
"""For two tasks ("a b") the cosine between their gradients of the shared weights, from -1 to 1."""

SAMPLE = 1_000_000
"""Over at least about half so many of the shared weights cosines are measured."""

STRIDES = (1, 2, 3, 5, 7, 11, 17, 23, 31, 47, 61, 89, 127, 181, 257, 367, 521, 739, 1049)
"""Every so many-th weight is taken; primes, so that no row or column of a matrix is always left out."""

TEMPERATURE = 2.0
"""Dynamic weight averaging: how even the weights are; the value of Liu et al. 2019."""


class Weighting:
    """The weighted sum of each task's loss per unit, a unit being a word or a text.

    A task's loss is divided by the units that a batch usually has of it, not by those that this batch happens to have:
    so every unit counts the same, and one text alone in a batch does not pull as hard as ten. (Dividing by the batch's
    own units cost two points of sentiment accuracy and of span F1 after the first epoch of the benchmark.)

    Args:
        weights: What each task's loss counts.
        usual: The mean number of units of each task in a batch of this stage.
    """

    def __init__(self, weights: Mapping[str, float], usual: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self.usual = dict(usual)
        self.others: dict[str, nn.Parameter] = {}
        """Weights of its own that learn along."""

    def begin_epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Take note of each task's mean loss in each of the stage's epochs so far."""

    def terms(self, losses: Mapping[str, LossSum]) -> dict[str, Tensor]:
        """What each task adds to the loss of a batch. Scalars."""
        return {name: self._weighed(name, loss) for name, loss in losses.items()}

    def backward(
        self, losses: Mapping[str, LossSum], shared: Sequence[Tensor], *, scale: float = 1.0, measure: bool = False
    ) -> Cosines:
        """Add the gradients of a batch to those of all weights.

        Args:
            losses: Of the tasks that some example of the batch carries; at least one. Several processes name the same
                tasks, each with the loss of its own share, which is a number without a gradient where it has no part.
            shared: The weights that tasks have in common and that learn.
            scale: What the whole is multiplied with.
            measure: Whether to take the cosines between tasks, which costs a backward pass for each further task.
                They are those of a sample of the weights, if there are very many.

        Returns:
            The cosines, if they were to be measured and there are two tasks.
        """
        terms = {name: scale * term for name, term in self.terms(losses).items()}
        if len(terms) > 1 and shared and self.joins:
            rows = ranks.added_on_first(_gradients(list(terms.values()), shared))
            if ranks.first():  # the others get it with the heads' gradients, when these are added up
                _add_gradient(shared, self.join(rows))
        elif len(terms) > 1 and shared and measure:
            rows = ranks.added_on_first(_sampled_gradients(list(terms.values()), shared))
        else:
            whole = sum(terms.values(), start=torch.zeros(()))
            if whole.requires_grad:
                whole.backward()  # type: ignore[no-untyped-call]
            return {}
        return _cosines(list(terms), rows) if measure else {}

    def to(self, device: torch.device) -> None:
        """Learn on a device whatever it learns."""
        for weight in self.others.values():
            weight.data = weight.data.to(device)

    joins: bool = False
    """Whether it needs each task's gradient at every step."""

    def join(self, gradients: Tensor) -> Tensor:
        """One gradient of the shared weights from those of the tasks. Shape (tasks, weights) to (weights,)."""
        return gradients.sum(0)

    def _weighed(self, name: str, loss: LossSum) -> Tensor:
        return self.weights[name] * loss.total / max(1.0, self.usual[name])


class Uncertainty(Weighting):
    """Weights learnt from each task's homoscedastic uncertainty (Kendall et al. 2018): exp(-s) loss + s / 2.

    s is the logarithm of a task's variance, 0 in the beginning. The paper's factor 1/2 on squared errors is left to
    the tasks' own weights.
    """

    def __init__(self, weights: Mapping[str, float], usual: Mapping[str, float]) -> None:
        super().__init__(weights, usual)
        self.others = {f"log_variance.{name}": nn.Parameter(torch.zeros(())) for name in weights}

    def _weighed(self, name: str, loss: LossSum) -> Tensor:
        spread = self.others[f"log_variance.{name}"]
        units = loss.units / max(1.0, self.usual[name])  # so that s grows with the loss per unit, whatever the batch
        return torch.exp(-spread) * super()._weighed(name, loss) + self.weights[name] * units * spread / 2


class DynamicAverage(Weighting):
    """Weights by how slowly each task's loss fell over the last two epochs (dynamic weight averaging, Liu et al. 2019).

    A task whose loss falls more slowly than the others' counts more in the next epoch. In the first two all count as
    their own weights say.
    """

    def __init__(self, weights: Mapping[str, float], usual: Mapping[str, float]) -> None:
        super().__init__(weights, usual)
        self.given = dict(weights)

    def begin_epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Set the weights from the last two epochs' losses."""
        self.weights = dict(self.given)
        if len(history) < 2:
            return
        before, last = history[-2:]
        ratios = {name: last[name] / before[name] for name in self.given if before.get(name, 0) > 0 and name in last}
        ratios = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio)}  # a lost step makes it NaN
        highest = max(ratios.values(), default=0.0)  # taken off, so that no loss that leaps up is too much for exp
        pulls = {name: math.exp((ratio - highest) / TEMPERATURE) for name, ratio in ratios.items()}
        for name, pull in pulls.items():
            self.weights[name] = self.given[name] * len(pulls) * pull / sum(pulls.values())


class Joined(Weighting):
    """The tasks' gradients of the shared weights are joined into one by a method against conflicts.

    Heads get their own task's gradient. Costs a backward pass for each task, and memory for each task's gradient.

    Args:
        weights: What each task's loss counts before they are joined.
        usual: The mean number of units of each task in a batch of this stage.
        aggregate: From the tasks' gradients, shape (tasks, weights), to one, shape (weights,).
    """

    joins = True

    def __init__(
        self, weights: Mapping[str, float], usual: Mapping[str, float], aggregate: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(weights, usual)
        self.aggregate = aggregate

    def join(self, gradients: Tensor) -> Tensor:
        """The aggregated gradient; one that is no number is left for the optimizer to see."""
        return self.aggregate(gradients) if bool(torch.isfinite(gradients).all()) else gradients.sum(0)


def make_weighting(combine: str, weights: Mapping[str, float], usual: Mapping[str, float]) -> Weighting:
    """The weighting of this name, as a stage's ``combine`` gives it.

    Raises:
        PolyheadError: It needs a library that is not installed.
    """
    if combine in AGGREGATORS:
        return Joined(weights, usual, make_aggregator(combine))
    kinds = {"weights": Weighting, "uncertainty": Uncertainty, "dynamic": DynamicAverage}
    return kinds[combine](weights, usual)


def _gradients(terms: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """Each term's gradient of the shared weights; those of all others are added up. Shape (terms, weights)."""
    before = [weight.grad for weight in shared]
    rows = torch.zeros(len(terms), sum(weight.numel() for weight in shared), device=shared[0].device)
    for row, term in zip(rows, terms, strict=True):
        for weight in shared:
            weight.grad = None
        if not term.requires_grad:
            continue
        term.backward(retain_graph=term is not terms[-1])  # type: ignore[no-untyped-call]
        start = 0
        for weight in shared:
            if weight.grad is not None:
                row[start : start + weight.numel()] = weight.grad.flatten()
            start += weight.numel()
    for weight, grad in zip(shared, before, strict=True):
        weight.grad = grad
    return rows


def _sampled_gradients(terms: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """Add every term's gradient as usual; what each one adds to a sample of the shared weights. Shape (terms, sample).

    A million weights tell a cosine to about 0.001, and so no task's gradient must be held as a whole.
    """
    stride = next(
        prime for prime in STRIDES if sum(w.numel() for w in shared) <= prime * SAMPLE or prime == STRIDES[-1]
    )

    def sample() -> Tensor:
        parts = (torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in shared)
        return torch.cat([part.flatten()[::stride].float() for part in parts])

    rows, before = [], sample()
    for number, term in enumerate(terms):
        if term.requires_grad:
            term.backward(retain_graph=number < len(terms) - 1)  # type: ignore[no-untyped-call]
        after = sample()
        rows.append(after - before)
        before = after
    return torch.stack(rows)


def _add_gradient(shared: Sequence[Tensor], gradient: Tensor) -> None:
    """Add a gradient of all shared weights, laid out in a row, to each one's own."""
    start = 0
    for weight in shared:
        part = gradient[start : start + weight.numel()].view_as(weight).to(weight.dtype)
        weight.grad = part.clone() if weight.grad is None else weight.grad + part
        start += weight.numel()


def _cosines(names: Sequence[str], rows: Tensor) -> Cosines:
    lengths = rows.norm(dim=1).clamp_min(1e-30)
    found = ((rows @ rows.T) / lengths[:, None] / lengths).tolist()
    return {f"{names[i]} {names[j]}": found[i][j] for i, j in combinations(range(len(names)), 2)}
