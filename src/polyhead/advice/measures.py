"""What features are worth for a task before a head has learnt: LogME, the H-score, and how sure a difference of two is.

Both measures fit linear heads in closed form and ask how well these do without being asked on other data: LogME by the
evidence of a Bayesian linear regression, the H-score by how far apart the classes' means are, against how far features
spread anyhow. A library has both (transformer-ranker 0.2.0), but its LogME leaves out the part of the evidence of the
directions that no example shows, which is most of it where there are fewer examples than features, and it asks for
five packages more; so they stand here, exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyhead.intervals import ROUNDING, by_student

Floats = NDArray[np.float64]

GROUPS = 10
"""Into so many parts the examples are cut; a measure is taken anew without each."""

GRID, ROUNDS = 41, 4
"""How many ratios of precisions are tried at a time, and how often around the best of them."""

RATIOS = (1e-10, 1e10)
"""The least and the largest ratio of prior to noise that is tried, in units of the features' mean square."""


def logme(features: Floats, gold: Floats) -> float:
    """The logarithm of maximum evidence (You et al. 2021), per unit and in the mean over the columns of gold.

    A column is taken for a linear function of the features and Gaussian noise, with a Gaussian prior on the weights;
    the evidence is what data so made would have gold as it is with, where the two precisions are those that make it
    highest. For a given ratio t of prior to noise the best noise is known, and with features F = U S V' and the
    squares z of U'y the logarithm is, per unit and up to a constant,

        -1/2 log(q / n) - 1/2n sum log(1 + s / t),   q = y'y - sum z + sum z t / (s + t),

    so only t is searched. Unlike the fixed point of the paper this cannot leave the best one out, and it holds with
    fewer units than features.

    Args:
        features: Shape (units, width).
        gold: A 0 or 1 for each class, or numbers. Shape (units, columns). Columns that are 0 throughout are left out.
    """
    count = len(features)
    values, vectors = _spectrum(features)
    gold = gold[:, (gold != 0).any(0)]
    if not gold.shape[1]:
        return 0.0
    squares = (vectors.T @ (features.T @ gold)) ** 2 / values[:, None]  # (directions, columns)
    total = (gold**2).sum(0)
    rest = np.maximum(total - squares.sum(0), 1e-12 * total)
    scale = float(values.mean()) if len(values) else 1.0
    low, high = (np.full(gold.shape[1], math.log(end * scale)) for end in RATIOS)
    for _ in range(ROUNDS):
        tried = np.linspace(low, high, GRID)  # (ratios, columns), logarithms
        found = np.stack([_evidence(np.exp(one), values, squares, rest, count) for one in tried])
        best = found.argmax(0)
        columns = np.arange(gold.shape[1])
        low, high = tried[np.maximum(best - 1, 0), columns], tried[np.minimum(best + 1, GRID - 1), columns]
    return float(found.max(0).mean())


def _evidence(ratio: Floats, values: Floats, squares: Floats, rest: Floats, count: int) -> Floats:
    """The highest logarithm of evidence per unit of each column, for a ratio of each. Shape (columns,)."""
    ratios = values[:, None] / ratio  # (directions, columns)
    left = rest + (squares / (1 + ratios)).sum(0)
    own: Floats = -0.5 * (np.log(2 * math.pi * left / count) + 1) - np.log1p(ratios).sum(0) / (2 * count)
    return own


def h_score(features: Floats, gold: Floats) -> float:
    """The H-score (Bao et al. 2019): the trace of the features' inverse covariance times that of their class means.

    The covariance is shrunk as Ledoit and Wolf (2004) do, and so is the score (Ibrahim et al. 2022): with few examples
    the plain one is about the number of features whatever they are worth.

    Args:
        features: Shape (units, width).
        gold: A 0 or 1 for each class, each unit with one 1. Shape (units, classes).
    """
    count, width = features.shape
    centred = features - features.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / count)
    values = np.maximum(values, 0)
    level = values.sum() / width
    squared = float((values**2).sum())
    spread = (float(((centred**2).sum(1) ** 2).sum()) / count - squared) / (width * count)
    apart = squared / width - level**2
    shrunk = min(max(spread / apart, 0.0), 1.0) if apart > 0 else 1.0
    if level <= 0:
        return 0.0
    known = gold[:, gold.any(0)]
    sums = known.T @ centred @ vectors  # (classes, width)
    between = (sums**2 / known.sum(0)[:, None]).sum(0) / count
    held = (1 - shrunk) * values + shrunk * level
    return float((1 - shrunk) * (between[held > 0] / held[held > 0]).sum())


def _spectrum(features: Floats) -> tuple[Floats, Floats]:
    """The squares of the singular values above nothing, and the directions.

    Shapes (directions,) and (width, directions).
    """
    values, vectors = np.linalg.eigh(features.T @ features)
    shown = values > max(values[-1], 1e-300) * 1e-10
    return values[shown], vectors[:, shown]


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure of some features, and of the same without each group of examples.

    Attributes:
        value: The measure of all.
        without: Shape (groups,).
    """

    value: float
    without: Floats


def measured(
    measure: Callable[[Floats, Floats], float], features: Floats, gold: Floats, groups: NDArray[np.int64]
) -> Measured:
    """A measure, and what it is without each group.

    The groups are left out, not drawn anew: in a draw with repetition the same example is there twice, and a measure
    takes that for evidence, the more so the more features there are.

    Args:
        measure: Of features and gold.
        features: Shape (units, width).
        gold: Shape (units, columns).
        groups: The group of each unit, from 0 on. Shape (units,).
    """
    without = [measure(features[groups != one], gold[groups != one]) for one in np.unique(groups)]
    return Measured(measure(features, gold), np.asarray(without))


@dataclass(frozen=True, slots=True)
class Sure:
    """A value, or the difference of two, and how sure it is on other examples of the same kind.

    Attributes:
        value: What it is.
        low, high: The ends of its interval.
        p: How likely a value at least so far from 0 would be if the truth were 0, on both sides.
    """

    value: float
    low: float
    high: float
    p: float


def sure(values: Sequence[tuple[float, Measured]]) -> Sure:
    """A sum of measures, each times a factor, taken on the same groups; by the jackknife over groups (Efron 1982).

    Args:
        values: The factor of each measure, and the measure. At least one, all with the same groups.
    """
    value = sum(factor * one.value for factor, one in values)
    without = np.asarray(sum(factor * one.without for factor, one in values))
    count = len(without)
    if count < 2:
        return Sure(value, -math.inf, math.inf, 1.0)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    if error <= ROUNDING * max(1.0, abs(value)):
        value, error = (value if abs(value) > ROUNDING else 0.0), 0.0
    return Sure(value, *by_student(value, error, count - 1))
