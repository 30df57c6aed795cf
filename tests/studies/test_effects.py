"""What a study may conclude, on experiments whose truth is known."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from polyhead.data.example import Example, Spans
from polyhead.intervals import Answered
from polyhead.studies.effects import (
    Contributions,
    contributions,
    difference,
    estimates,
    gains,
    holm,
    mean,
    sample,
    spread,
)
from polyhead.tasks.classification import Classification
from polyhead.tasks.ner import Ner
from polyhead.tasks.regression import Regression

REPEATS = 1500


def layout(values: NDArray[np.float64]) -> dict[int, Contributions]:
    """Runs by seed from what each example makes of the figure, shape (seeds, examples)."""
    return {s: Contributions(float(row.mean()), row - row.mean()) for s, row in enumerate(values)}


def experiment(rng: np.random.Generator, *, seeds: int, examples: int, gain: float, of_seeds: float) -> list[float]:
    """Two ways on the same examples: hard ones are hard for both, a seed is lucky, and the rest is chance."""
    hard = rng.normal(0, 0.4, (1, examples))
    first, second = (
        0.6 + hard + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, 0.3, (seeds, examples)) for _ in range(2)
    )
    liked = rng.normal(0, 0.2, (1, examples))  # what the second way is better at, whatever the seed
    found = difference(layout(first), layout(second + gain + liked))
    assert found is not None
    return [found.low, found.high, found.p]


@pytest.mark.parametrize(("seeds", "of_seeds"), [(3, 0.0), (3, 0.01), (3, 0.03), (5, 0.0), (5, 0.02)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, of_seeds: float) -> None:
    rng = np.random.default_rng(5)
    found = np.array([experiment(rng, seeds=seeds, examples=300, gain=0.02, of_seeds=of_seeds) for _ in range(REPEATS)])
    held = np.mean((found[:, 0] <= 0.02) & (found[:, 1] >= 0.02))
    assert 0.93 <= held <= 0.97, held


@pytest.mark.parametrize("of_seeds", [0.0, 0.02])
def test_where_there_is_no_gain_a_difference_is_seldom_called(of_seeds: float) -> None:
    rng = np.random.default_rng(6)
    found = np.array([experiment(rng, seeds=3, examples=300, gain=0.0, of_seeds=of_seeds) for _ in range(REPEATS)])
    called = np.mean((found[:, 0] > 0) | (found[:, 1] < 0))
    assert called <= 0.06, called  # 5 in 100, give or take what 1,500 experiments leave to chance
    assert np.array_equal(found[:, 2] < 0.05, (found[:, 0] > 0) | (found[:, 1] < 0)), "p and interval say the same"


def test_one_seed_and_one_example() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, (3, 50))
    alone = mean(list(layout(values[:1]).values()))
    low, high = stats.t.interval(0.95, 49, values[0].mean(), values[0].std(ddof=1) / np.sqrt(50))
    assert (alone.low, alone.high) == (pytest.approx(low), pytest.approx(high))
    by_seed = mean(list(layout(values[:, :1]).values()))
    low, high = stats.t.interval(0.95, 2, values[:, 0].mean(), values[:, 0].std(ddof=1) / np.sqrt(3))
    assert (by_seed.low, by_seed.high) == (pytest.approx(low), pytest.approx(high))
    single = mean(list(layout(values[:1, :1]).values()))
    assert single.low == single.value == single.high
    assert difference(layout(values[:1]), {7: layout(values)[0]}) is None, "no seed in common"


def test_the_same_answers_are_no_difference() -> None:
    runs = layout(np.random.default_rng(0).normal(0.5, 0.1, (3, 50)))
    same = difference(runs, runs)
    assert same is not None and (same.value, same.low, same.high, same.p, same.sure) == (0, 0, 0, 1, False)


def test_spread_of_seeds_leaves_out_what_few_examples_bring() -> None:
    rng = np.random.default_rng(1)
    quiet = [
        spread(list(layout(rng.normal(0, 0.5, (1, 200)) + rng.normal(0, 0.3, (4, 200))).values())).of_seeds
        for _ in range(400)
    ]
    loud = [
        spread(list(layout(rng.normal(0, 0.1, (4, 1)) + rng.normal(0, 0.3, (4, 200))).values())).of_seeds
        for _ in range(400)
    ]
    assert np.mean(quiet) < 0.0005 and np.mean(loud) == pytest.approx(0.01, rel=0.15)


def test_what_examples_contribute_is_what_leaving_them_out_changes() -> None:
    task = Ner(name="it", data="d", layer="e")
    gold = [[(0, 1, "A")], [(0, 1, "A"), (1, 2, "B")], [], [(0, 1, "B")]]
    given = [[(0, 1, "A")], [(0, 1, "B")], [(0, 1, "A")], [(0, 1, "B")]]
    examples = [Example(words=["a", "b"], layers={"e": Spans(spans)}) for spans in gold]
    predicted = [Spans(spans) for spans in given]
    found = contributions(Answered(task, examples, predicted))
    assert found.figure == pytest.approx(task.score(examples, predicted)["f1"])
    for left, own in enumerate(found.of):
        rest = [i for i in range(4) if i != left]
        without = task.score([examples[i] for i in rest], [predicted[i] for i in rest])["f1"]
        expected = 3 * (found.figure - without)
        others = [
            3
            * (
                found.figure
                - task.score(*([side[i] for i in range(4) if i != j] for side in (examples, predicted)))["f1"]
            )
            for j in range(4)
        ]
        assert own == pytest.approx(expected - np.mean(others))


def test_accuracy_is_taken_apart_exactly() -> None:
    task = Classification(name="it", data="d", layer="m")
    examples = [Example(text="a", layers={"m": label}) for label in "xxyyx"]
    found = contributions(Answered(task, examples, list("xyyyx")))
    assert found.of == pytest.approx(np.array([1, 0, 1, 1, 1]) - 0.8)
    only = contributions(Answered(task, examples[:1], ["x"]))
    assert only.figure == 1 and only.of.tolist() == [0]


def test_figures_that_are_no_sums_are_left_out_in_groups() -> None:
    task = Regression(name="it", data="d", layer="m")
    rng = np.random.default_rng(0)
    gold = rng.normal(size=500)
    examples = [Example(text="a", layers={"m": float(value)}) for value in gold]
    found = contributions(Answered(task, examples, (gold + rng.normal(size=500)).tolist()))
    assert len(found.of) == 200 and abs(found.of.mean()) < 1e-9
    error = found.of.std(ddof=1) / np.sqrt(200)
    assert error == pytest.approx((1 - 0.5) / np.sqrt(500), rel=0.25), "of a correlation: (1 - r²) / √n"


def test_holm_raises_ps_by_how_many_there_are() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


SIZES = (50, 100, 200, 500, 2000)


def grown(rng: np.random.Generator, ways: int, luck: float, gain: float) -> dict[tuple[int, int], dict[int, Any]]:
    """Pairs of ways at five sizes with three seeds; the luck of seeds falls with the size, and is largest in way 0."""
    found: dict[tuple[int, int], dict[int, Any]] = {}
    for size in SIZES:
        hard, shared = rng.normal(0, 0.3, (1, 300)), rng.normal(0, 1, (3, 1))
        runs = []
        for way in range(ways):
            own = luck * (200 / size) ** 0.3 * (2 if way == 0 else 1) * (shared + rng.normal(0, 1, (3, 1))) / 2**0.5
            values = 0.5 + gain * way + hard + rng.normal(0, 0.15, (1, 300)) + own + rng.normal(0, 0.3, (3, 300))
            runs.append(layout(values))
        for first, second in combinations(range(ways), 2):
            made = gains(runs[first], runs[second])
            assert made is not None
            found.setdefault((first, second), {})[size] = made
    return found


def test_sizes_tell_each_other_how_far_seeds_differ() -> None:
    """Intervals hold the truth as often, and far more is seen where there is something."""
    rng = np.random.default_rng(7)
    held: dict[tuple[int, int], list[bool]] = {}
    false = seen = alone = tests = 0
    for _ in range(100):
        nothing = grown(rng, 4, 0.02, 0.0)
        made = estimates(nothing)
        for pair, sizes in made.items():
            held.setdefault(pair, []).extend(one.low <= 0 <= one.high for one in sizes.values())
        false += min(holm([one.p for sizes in made.values() for one in sizes.values()])) <= 0.05
        much = grown(rng, 4, 0.02, 0.06)
        seen += sum(p <= 0.05 for p in holm([one.p for sizes in estimates(much).values() for one in sizes.values()]))
        single = [estimates({0: {size: one}})[0][size] for sizes in much.values() for size, one in sizes.items()]
        alone += sum(p <= 0.05 for p in holm([one.p for one in single]))
        tests += len(single)
    shares = [np.mean(found) for found in held.values()]
    assert 0.93 <= np.mean(shares) <= 0.97 and min(shares) > 0.9, shares
    assert false <= 11, "5 in 100 studies, give or take what 100 leave to chance"
    assert seen > 0.5 * tests and seen > 2 * alone, (seen, alone, tests)


def test_sizes_that_agree_on_nothing_do_not_lean_on_each_other() -> None:
    """Where the luck of seeds jumps from size to size, a size that was lucky stays unsure."""
    rng = np.random.default_rng(8)
    lucky: list[bool] = []
    for _ in range(300):
        luck = {size: 0.003 if number % 2 else 0.06 for number, size in enumerate(SIZES)}
        samples = {
            0: {
                size: sample(list(layout(rng.normal(0, luck[size], (3, 1)) + rng.normal(0, 0.3, (3, 300))).values()))
                for size in SIZES
            }
        }
        lucky += [one.low <= 0 <= one.high for size, one in estimates(samples)[0].items() if luck[size] > 0.01]
    assert np.mean(lucky) >= 0.85, np.mean(lucky)


def test_one_size_stands_alone() -> None:
    runs = list(layout(np.random.default_rng(0).normal(0.5, 0.1, (3, 50))).values())
    assert estimates({"a": {10: sample(runs)}, "b": {20: sample(runs)}}) == {
        "a": {10: mean(runs)},
        "b": {20: mean(runs)},
    }
    same = gains(dict(enumerate(runs)), dict(enumerate(runs)))
    assert same is not None
    assert all(one.value == one.low == one.high == 0 for one in estimates({"a": {1: same, 2: same}})["a"].values())
