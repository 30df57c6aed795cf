"""Learning curves: what more labels bring, how many of them a way saves, and what still more would bring.

Everything that is read off a curve gets its interval from the same draws: curves as they might as well have come out,
had the test examples been others and the seeds, too. See :mod:`polyhead.studies.effects` for what varies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from polyhead.intervals import LEVEL
from polyhead.studies.effects import Contributions, Spread, spread

DRAWS = 1000
FITTED = 200
"""Of how many draws a curve is fitted for the interval of what it foretells."""

STEEPEST, TRIED, FINER = 3.0, 61, 2
"""The highest power of a curve, how many powers are tried at once, and how often again around the best."""

SEED = 1
"""Of the draws."""

LEAST_SIZES = 4
"""A curve of three numbers takes at least so many sizes."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """The main figure of a way by size.

    Attributes:
        sizes: Numbers of training examples, rising. Shape (sizes,).
        values: The mean over seeds at each. Shape (sizes,).
        drawn: The same as they might as well have come out. Shape (draws, sizes).
    """

    sizes: Floats
    values: Floats
    drawn: Floats


@dataclass(frozen=True, slots=True)
class Needed:
    """How many examples one way needs for what another reaches.

    Attributes:
        value: Their number; ``None`` if the way does not reach it with all that there are.
        low, high: The interval; ``None`` likewise.
        below: Whether the smallest size is already enough, so that ``value`` is an upper bound.
    """

    value: float | None
    low: float | None
    high: float | None
    below: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What more examples would bring, by a power law.

    Attributes:
        sizes: Numbers of examples beyond what there is.
        values, low, high: The figure at each, and its interval.
        tested: What the smaller sizes foretell for the largest one that was trained, ``None`` with too few sizes.
        seen: What that size reached indeed.
    """

    sizes: list[int]
    values: list[float]
    low: list[float]
    high: list[float]
    tested: float | None
    seen: float


def curves(runs: Mapping[str, Mapping[int, Mapping[int, Contributions]]], *, seed: int = SEED) -> dict[str, Curve]:
    """The curve of each way.

    Args:
        runs: For each way and size the runs by seed, all over the same test examples.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    examples = len(next(run.of for sizes in runs.values() for found in sizes.values() for run in found.values()))
    weights = np.asarray(rng.multinomial(examples, np.full(examples, 1 / examples), size=DRAWS), dtype=np.float64) - 1
    found = {}
    for way, sizes in runs.items():
        known = sorted(size for size, by_seed in sizes.items() if by_seed)
        values, drawn = [], []
        for size in known:
            of = list(sizes[size].values())
            here = spread(of)
            values.append(here.mean)
            drawn.append(here.mean + _by_examples(of, weights) + _by_seeds(here, rng))
        if known:
            found[way] = Curve(np.array(known, dtype=np.float64), np.array(values), np.stack(drawn, axis=1))
    return found


def _by_examples(runs: Sequence[Contributions], weights: Floats) -> Floats:
    """How far the mean over seeds is off, where examples are drawn that often. Shape (draws,)."""
    mean = np.mean([run.of for run in runs], axis=0)
    off: Floats = weights @ mean / len(mean)
    return off


def _by_seeds(here: Spread, rng: np.random.Generator) -> Floats:
    """How far the mean is off, where seeds are others; nothing with one seed, of which nothing can be known."""
    if here.seeds < 2 or here.of_seeds <= 0:
        return np.zeros(DRAWS)
    off: Floats = np.sqrt(here.of_seeds / here.seeds) * rng.standard_t(here.seeds - 1, size=DRAWS)
    return off


def needed(curve: Curve, reached: Curve, size: float) -> Needed:
    """How many examples the way of ``curve`` needs for what the way of ``reached`` has with ``size``.

    Between sizes the curve is a line over the logarithm of the size, after it was made to never fall.
    """
    place = int(np.flatnonzero(reached.sizes == size)[0])
    value = _crossing(curve.sizes, curve.values, reached.values[place])
    drawn = np.array([_crossing(curve.sizes, *pair) for pair in zip(curve.drawn, reached.drawn[:, place], strict=True)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    below = value <= curve.sizes[0]
    return Needed(_finite(value), _finite(low), _finite(high), bool(below))


def _crossing(sizes: Floats, values: Floats, score: float) -> float:
    """The first size with at least this score; infinite if none has."""
    rising = isotonic_regression(values).x
    if score > rising[-1]:
        return float("inf")
    place = int(np.searchsorted(rising, score))
    if place == 0:
        return float(sizes[0])
    share = (score - rising[place - 1]) / (rising[place] - rising[place - 1])
    return float(np.exp(np.interp(share, [0, 1], np.log(sizes[place - 1 : place + 1]))))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def forecast(curve: Curve, sizes: Sequence[int], *, best: float = 1.0) -> Forecast | None:
    """What more examples would bring: what is lacking falls as a power of the size (Hestness et al. 2017).

    Args:
        curve: A way's, of at least four sizes; else there is nothing to fit.
        sizes: Numbers of examples to foretell.
        best: The highest figure that there is.
    """
    if len(curve.sizes) < LEAST_SIZES:
        return None
    wanted = np.array(sizes, dtype=np.float64)
    drawn = _foretold(curve.sizes, curve.drawn[:FITTED], wanted, best)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    tested = None
    if len(curve.sizes) > LEAST_SIZES:
        tested = float(_foretold(curve.sizes[:-1], curve.values[None, :-1], curve.sizes[-1:], best)[0, 0])
    values = _foretold(curve.sizes, curve.values[None], wanted, best)[0]
    return Forecast(list(sizes), values.tolist(), low.tolist(), high.tolist(), tested, float(curve.values[-1]))


def _foretold(sizes: Floats, values: Floats, wanted: Floats, best: float) -> Floats:
    """What the power law that fits best says of other sizes.

    For a given power the law is linear in the two other numbers, so the power alone is searched for, finer in the end.

    Args:
        sizes: Shape (sizes,).
        values: Curves to fit. Shape (draws, sizes).
        wanted: Other sizes. Shape (wanted,).
        best: The highest figure that there is.

    Returns:
        Shape (draws, wanted).
    """
    lacking = np.maximum(best - values, 1e-6)
    logs = np.log(sizes / sizes[0])
    powers = np.broadcast_to(np.linspace(0, STEEPEST, TRIED), (len(values), TRIED))
    for _ in range(FINER):
        law = _fitted(lacking, powers, logs)
        step = (powers[:, 1] - powers[:, 0])[:, None]
        powers = np.clip(law[:, 2:] + step * np.linspace(-1, 1, TRIED), 0, STEEPEST)
    floor, scale, power = _fitted(lacking, powers, logs).T[:, :, None]
    foretold: Floats = best - floor - scale * (wanted / sizes[0]) ** -power
    return foretold


def _fitted(lacking: Floats, powers: Floats, logs: Floats) -> Floats:
    """The floor, the scale and the power that fit best; the floor is at most what is lacking least.

    Args:
        lacking: Shape (draws, sizes).
        powers: Those to try. Shape (draws, powers).
        logs: Logarithms of the sizes over the smallest. Shape (sizes,).

    Returns:
        Shape (draws, 3).
    """
    basis = np.exp(-powers[:, :, None] * logs)  # (draws, powers, sizes)
    aim = lacking[:, None]
    least, most = lacking.min(1)[:, None], 2 * lacking.max(1)[:, None] + 1e-6
    means, mean = basis.mean(2), aim.mean(2)
    spread = ((basis - means[:, :, None]) ** 2).sum(2)
    free = ((basis - means[:, :, None]) * aim).sum(2) / np.maximum(spread, 1e-12)
    scales = [np.clip(free, 0, most)]
    floors = [np.clip(mean - scales[0] * means, 0, least)]
    for edge in (np.zeros_like(least), least):  # where the floor is held at an end, the scale is another
        floors.append(np.broadcast_to(edge, free.shape))
        scales.append(np.clip(((aim - edge[:, :, None]) * basis).sum(2) / (basis**2).sum(2), 0, most))
    off = [
        ((floor[:, :, None] + scale[:, :, None] * basis - aim) ** 2).sum(2)
        for floor, scale in zip(floors, scales, strict=True)
    ]
    which = np.argmin(np.concatenate(off, axis=1), axis=1)
    rows = np.arange(len(lacking))
    tried = (np.concatenate(floors, axis=1), np.concatenate(scales, axis=1), np.tile(powers, 3))
    return np.stack([part[rows, which] for part in tried], axis=1)
