"""Learning curves, read as their owner would, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from polyhead.studies.curves import Curve, curves, forecast, needed
from polyhead.studies.effects import Contributions


def certain(sizes: list[int], values: list[float], draws: int = 20) -> Curve:
    """A curve that nothing is uncertain about."""
    return Curve(np.array(sizes, dtype=float), np.array(values), np.tile(values, (draws, 1)))


def test_how_many_examples_another_way_needs() -> None:
    slow, fast = certain([100, 1000, 10_000], [0.5, 0.6, 0.7]), certain([100, 1000], [0.65, 0.72])
    found = needed(slow, fast, 100)
    assert found.value == pytest.approx(10**3.5) and found.low == found.high == pytest.approx(found.value)
    assert not found.below
    beyond = needed(slow, fast, 1000)
    assert beyond.value is beyond.high is None, "all that there are do not do it"
    easy = needed(fast, slow, 100)
    assert (easy.value, easy.below) == (100, True), "the smallest size does as much"


def test_a_curve_that_dips_is_read_as_one_that_rises() -> None:
    dip = certain([100, 1000, 10_000], [0.6, 0.5, 0.7])
    assert needed(dip, certain([100], [0.55]), 100).value == 100, "100 and 1,000 are as good: 0.55 in the mean"
    assert needed(dip, certain([100], [0.56]), 100).value == pytest.approx(1000 * 10 ** (0.01 / 0.15))


def test_intervals_of_what_is_saved_hold_the_truth() -> None:
    """The other way needs 8 times as many: both rise by 0.1 for every ten times, one being 0.0903 higher."""
    rng = np.random.default_rng(3)
    sizes, examples = [100, 1000, 10_000], 800
    truth = 10 ** (2 + 0.0903 / 0.1)
    held, repeats = 0, 150
    for _ in range(repeats):
        hard = rng.normal(0, 0.4, examples)
        runs: dict[str, dict[int, dict[int, Contributions]]] = {}
        for way, lead in (("slow", 0.0), ("fast", 0.0903)):
            for place, size in enumerate(sizes):
                for seed in range(4):
                    values = 0.5 + 0.1 * place + lead + rng.normal(0, 0.01) + hard + rng.normal(0, 0.2, examples)
                    run = Contributions(float(values.mean()), values - values.mean())
                    runs.setdefault(way, {}).setdefault(size, {})[seed] = run
        found = curves(runs)
        one = needed(found["slow"], found["fast"], 100)
        held += (one.low or 0) <= truth <= (one.high or np.inf)
    assert held / repeats >= 0.9, held / repeats


def test_a_power_law_is_foretold() -> None:
    sizes = [50, 100, 200, 500, 1000, 2000]
    values = [0.95 - 0.8 * size**-0.35 for size in sizes]
    found = forecast(certain(sizes, values), [4000, 20_000])
    assert found is not None
    assert found.values == pytest.approx([0.95 - 0.8 * size**-0.35 for size in (4000, 20_000)], abs=2e-3)
    assert found.tested == pytest.approx(values[-1], abs=1e-3) and found.seen == values[-1]
    assert forecast(certain(sizes[:3], values[:3]), [4000]) is None, "three sizes say nothing of a law of three numbers"
