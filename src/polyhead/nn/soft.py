"""Soft labels: distributions that a teacher's head gives, matched by label name, kept small, and learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Soft: TypeAlias = tuple[NDArray[Any], ...]
"""What a teacher's head says of one example: one or several arrays, whose shapes and meaning the head's type knows."""

KEPT = 32
"""So many probabilities of a distribution are kept, the largest ones, and the sum of all others as one more."""


class Choices(NamedTuple):
    """Distributions over labels, the largest probabilities only.

    Attributes:
        places: The labels kept, by their place. Shape (units, kept).
        chance: Their probabilities, and that of all other labels together. A row sums to what the teacher gives to
            labels that the student has, perhaps to less than 1. Shape (units, kept + 1).
    """

    places: NDArray[np.int32]
    chance: NDArray[np.float32]


def translate(chances: Tensor, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    """Probabilities of a teacher's labels in the order of the student's; 0 for those that the teacher does not know.

    What the teacher gives to labels that the student lacks is left out, so that rows may sum to less than 1.

    Args:
        chances: Shape (units, their labels).
        theirs: The teacher's labels.
        ours: The student's labels.

    Returns:
        Shape (units, our labels).
    """
    if list(theirs) == list(ours):
        return chances
    place = {label: i for i, label in enumerate(theirs)}
    known = [i for i, label in enumerate(ours) if label in place]
    out = chances.new_zeros(len(chances), len(ours))
    out[:, known] = chances[:, [place[ours[i]] for i in known]]
    return out


def keep(chances: Tensor) -> Choices:
    """The largest probabilities of each row, and the sum of the others.

    Args:
        chances: Shape (units, labels).
    """
    kept = min(KEPT, chances.shape[1])
    best, index = chances.float().topk(kept, dim=1)
    if kept == chances.shape[1]:
        rest = best.new_zeros(len(best), 1)
    else:
        rest = (chances.float().sum(1, keepdim=True) - best.sum(1, keepdim=True)).clamp_min(0)
    both = torch.cat([best, rest], dim=1).numpy(force=True)
    return Choices(index.to(torch.int32).numpy(force=True), both)


def per_example(choices: Choices, counts: Sequence[int]) -> list[Soft]:
    """Distributions of all units as those of each example, which has so many of them: the parts of ``Choices``."""
    ends = np.cumsum(counts)
    return [(choices.places[e - n : e], choices.chance[e - n : e]) for n, e in zip(counts, ends, strict=True)]


def soft_loss(logits: Tensor, soft: Sequence[Soft], temperature: float) -> Tensor:
    """How far a softmax is from what a teacher said of the same units, summed over them (Hinton et al. 2015).

    It is 0 where the two agree; where the teacher is sure of a label, it is the cross entropy of that label. The
    temperature's square keeps gradients of one size.

    Args:
        logits: The student's; -inf for what cannot be. Shape (all units, labels).
        soft: What the teacher said of each example at this temperature, one after the other; the parts of ``Choices``.
        temperature: What logits are divided by.

    Returns:
        A scalar.
    """
    return temperature**2 * divergence(torch.log_softmax(logits / temperature, dim=1), soft)


def divergence(log_chances: Tensor, soft: Sequence[Soft]) -> Tensor:
    """The Kullback-Leibler divergence of a student from its teacher, summed over units.

    Labels of which only the sum is kept are compared as one. A unit counts by the probability that the teacher gives
    to labels that the student can give at all.

    Args:
        log_chances: The student's; -inf for what cannot be. Shape (all units, labels).
        soft: What the teacher said of each example, one after the other; the parts of ``Choices``.

    Returns:
        A scalar.
    """
    if not len(log_chances):
        return log_chances.sum()
    target, seen, rest = _spread(soft, log_chances)
    possible = log_chances > -torch.inf
    target, others = target * possible, possible & ~seen
    rest = rest * others.any(1)
    summed = rest > 0
    # Rows without a rest are given something finite to sum: a gradient of 0 times infinity would be no number.
    finite = torch.where(summed[:, None], log_chances, 0.0)
    log_rest = torch.logsumexp(finite.masked_fill(summed[:, None] & ~others, -torch.inf), dim=1)
    cross = (target * torch.where(target > 0, log_chances, 0.0)).sum() + (rest * log_rest).sum()
    mass = target.sum(1) + rest
    own = torch.xlogy(target, target).sum() + torch.xlogy(rest, rest).sum() - torch.xlogy(mass, mass).sum()
    return own - cross


def binary_soft_loss(logits: Tensor, chances: Tensor, temperature: float) -> Tensor:
    """As ``soft_loss``, where each label is decided on its own.

    Args:
        logits: The student's. Shape (units, labels).
        chances: The teacher's probabilities, NaN for labels that it does not know. Shape (units, labels).
        temperature: What logits are divided by.
    """
    known = ~chances.isnan()
    p, z = chances[known], logits[known] / temperature
    cross = p * nn.functional.logsigmoid(z) + (1 - p) * nn.functional.logsigmoid(-z)
    own = torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)
    return temperature**2 * (own - cross).sum()


def _spread(soft: Sequence[Soft], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kept probabilities in their places, (units, labels); where one is kept; and the others' sums, (units,)."""
    width = max(one[0].shape[1] for one in soft)
    # What fills up shorter rows goes to one more label, which is cut off again.
    places = np.concatenate([_wider(one[0], width, like.shape[1]) for one in soft]).astype(np.int64)
    chance = np.concatenate([_wider(one[1][:, :-1], width, 0) for one in soft])
    rest = np.concatenate([one[1][:, -1] for one in soft])
    index = torch.from_numpy(places).to(like.device)
    target = like.new_zeros(len(like), like.shape[1] + 1)
    target.scatter_(1, index, torch.from_numpy(chance).to(like.device))
    seen = torch.zeros_like(target, dtype=torch.bool).scatter_(1, index, value=True)
    return target[:, :-1], seen[:, :-1], torch.from_numpy(rest).to(like.device)


def _wider(rows: NDArray[Any], width: int, filling: int) -> NDArray[Any]:
    missing = width - rows.shape[1]
    return rows if not missing else np.pad(rows, ((0, 0), (0, missing)), constant_values=filling)
