"""How long ways train, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from polyhead.studies.folder import Result
from polyhead.studies.minutes import Minutes, in_all, until_equal
from polyhead.studies.words import minutes_words


def run(way: str, seed: int, curve: list[tuple[float, float]], size: int = 100) -> Result:
    return Result(way, size, seed, {"accuracy": curve[-1][1]}, 2.0 * curve[-1][0], curve, f"{way}-{seed}")


def test_the_clock_stops_at_what_the_lowest_way_ends_with() -> None:
    slow = [run("slow", seed, [(60.0 * n, 0.1 * n) for n in range(1, 8)]) for seed in (1, 2)]
    fast = [run("fast", seed, [(30.0, 0.6), (60.0, 0.75), (90.0, 0.9)]) for seed in (1, 2)]
    small = [run("fast", 1, [(1.0, 0.99)], size=10)]
    one, other = until_equal([*slow, *fast, *small], lower=False)
    assert (one.way, one.size, one.minutes) == ("slow", 100, [7.0, 7.0])
    assert (other.way, other.minutes) == ("fast", [1.0, 1.0]), "0.7 is passed at the second epoch"
    assert one.score == pytest.approx(0.7)
    falling = until_equal([run("a", 1, [(60.0, 3.0), (120.0, 2.0)]), run("b", 1, [(60.0, 1.5)])], lower=True)
    assert [found.minutes for found in falling] == [[2.0], [1.0]] and falling[0].score == 2.0
    assert falling[0].mean == pytest.approx(2.0) and falling[0].low is falling[0].high is None, (
        "one seed tells no range"
    )
    assert in_all(slow) == {("slow", 100): 14.0}


def test_a_seed_that_never_gets_there_leaves_no_mean() -> None:
    low = [run("low", 1, [(60.0, 0.5)]), run("low", 2, [(60.0, 0.7)])]
    high = [run("high", 1, [(30.0, 0.9)]), run("high", 2, [(30.0, 0.9)])]
    one, other = until_equal([*low, *high], lower=False)
    assert one.minutes == [None, 1.0] and one.mean is None and minutes_words(one) == "1.0 or never"
    assert other.mean == pytest.approx(0.5) and minutes_words(Minutes("x", 1, 0.5, [None])) == "never"


def test_intervals_of_minutes_hold_the_truth() -> None:
    """Four ways of three seeds whose minutes differ by a third: the interval of the first holds its true middle."""
    rng = np.random.default_rng(7)
    held, repeats, middles = 0, 1500, (4.0, 9.0, 2.0, 6.0)
    for _ in range(repeats):
        results = [
            run(str(way), seed, [(60 * middle * float(np.exp(rng.normal(0, 0.3))), 0.8)])
            for way, middle in enumerate(middles)
            for seed in (1, 2, 3)
        ]
        first = until_equal(results, lower=False)[0]
        assert first.low is not None and first.high is not None
        held += first.low <= middles[0] <= first.high
    assert 0.93 <= held / repeats <= 0.97
