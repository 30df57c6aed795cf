"""Which examples an epoch goes through: pure functions, so their properties can be stated in full."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from polyhead.training.sampling import Replay, draws, epoch_batches, epoch_order

sizes_of = st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any)
samplings = st.one_of(st.sampled_from(["proportional", "uniform"]), st.floats(0.2, 50))


def made(sizes: list[int], seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and numbers of rows of examples; most have one row, as in real data."""
    rng = np.random.default_rng(seed)
    return rng.integers(3, 40, sum(sizes)), 1 + (rng.random(sum(sizes)) < 0.1).astype(np.int64) * 2


def dataset_of(example: int, sizes: list[int]) -> int:
    return int(np.searchsorted(np.cumsum(sizes), example, side="right"))


@given(sizes_of, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_proportional_epoch_takes_each_example_once(sizes: list[int], seed: int) -> None:
    lengths, rows = made(sizes)
    plan = epoch_batches(sizes, lengths, rows, budget=64, sampling="proportional", seed=(seed,))
    assert sorted(np.concatenate(plan).tolist()) == list(range(sum(sizes)))


@given(sizes_of, samplings, st.integers(8, 300))
@settings(max_examples=100, deadline=None)
def test_batches_hold_the_budget_and_are_never_empty(sizes: list[int], sampling: float, budget: int) -> None:
    lengths, rows = made(sizes)
    for batch in epoch_batches(sizes, lengths, rows, budget=budget, sampling=sampling, seed=(1, 2)):
        assert len(batch) > 0
        cost = lengths[batch].max() * rows[batch].sum()
        assert cost <= budget or len(batch) == 1, "only a text that is too long by itself may go beyond"


@given(sizes_of, samplings)
@settings(max_examples=60, deadline=None)
def test_the_batches_are_those_of_the_draws(sizes: list[int], sampling: float) -> None:
    lengths, rows = made(sizes)
    plan = np.concatenate(epoch_batches(sizes, lengths, rows, budget=50, sampling=sampling, seed=(4,)))
    found = Counter(dataset_of(example, sizes) for example in plan)
    assert [found[i] for i in range(len(sizes))] == draws(sizes, sampling)


@given(sizes_of, samplings)
@settings(max_examples=60, deadline=None)
def test_an_epoch_covers_before_it_repeats(sizes: list[int], sampling: float) -> None:
    """Within a dataset no example is drawn twice more often than another: whole passes, then a rest without repeats."""
    order = epoch_order(sizes, sampling, np.random.default_rng(5))
    times = Counter(order.tolist())
    first = 0
    for size in sizes:
        counts = [times[example] for example in range(first, first + size)]
        assert not counts or max(counts) - min(counts) <= 1
        first += size


def test_uniform_draws_from_each_alike() -> None:
    assert draws([900, 90, 10, 0], "uniform") == [333, 333, 333, 0]


def test_a_temperature_draws_by_the_root_of_the_size() -> None:
    """Arivazhagan et al. 2019: n ** (1 / T), with T = 2 here: 30 : 10, of 1000 examples in all."""
    assert draws([900, 100], 2.0) == [750, 250]
    assert draws([900, 100], 1.0) == [900, 100]
    assert draws([900, 100], 1e6) == [500, 500]


def test_no_dataset_is_left_out_of_an_epoch() -> None:
    assert draws([100_000, 1], 0.2)[1] == 1


@given(sizes_of, samplings)
@settings(max_examples=60, deadline=None)
def test_an_epoch_is_about_as_long_whatever_the_sampling(sizes: list[int], sampling: float) -> None:
    assert abs(sum(draws(sizes, sampling)) - sum(sizes)) <= len(sizes)


@pytest.mark.parametrize("sampling", ["proportional", "uniform", 3.0])
def test_the_plan_is_a_pure_function_of_the_seed(sampling: float) -> None:
    sizes = [40, 25]
    lengths, rows = made(sizes)

    def plan(*seed: int) -> list[list[int]]:
        np.random.seed(np.random.randint(1000))
        given_ = epoch_batches(sizes, lengths, rows, budget=64, sampling=sampling, seed=seed)
        return [batch.tolist() for batch in given_]

    assert plan(1, 0, 0) == plan(1, 0, 0)
    others = [plan(1, 0, 1), plan(1, 1, 0), plan(2, 0, 0)]
    assert all(other != plan(1, 0, 0) for other in others), "run, stage and epoch each have an order of their own"


def test_batches_mix_datasets_and_gather_like_lengths() -> None:
    sizes = [300, 300]
    lengths, rows = made(sizes)
    rows[:] = 1
    plan = epoch_batches(sizes, lengths, rows, budget=400, sampling="proportional", seed=(1,))
    mixed = [len({dataset_of(example, sizes) for example in batch}) == 2 for batch in plan]
    assert sum(mixed) > 0.8 * len(plan)
    filling = sum(int(lengths[batch].max()) * len(batch) for batch in plan) / int(lengths.sum())
    assert filling < 1.1, "less than a tenth of the pieces are filling"
    means = [float(lengths[batch].mean()) for batch in plan]
    assert means != sorted(means), "yet long batches do not all come last"


@given(sizes_of, samplings, st.floats(0.05, 0.9))
@settings(max_examples=60, deadline=None)
def test_replayed_datasets_come_on_top_with_their_share(sizes: list[int], sampling: float, share: float) -> None:
    sizes = [*sizes, 30, 90]
    replay = Replay(frozenset({len(sizes) - 2, len(sizes) - 1}), share)
    counts = draws(sizes, sampling, replay)
    assert counts[:-2] == draws(sizes[:-2], sampling), "the stage's own examples are those without replay"
    own, again = sum(counts[:-2]), sum(counts[-2:])
    assert again == pytest.approx(sum(sizes[:-2]) * share / (1 - share), abs=3)
    if again > 40:
        assert counts[-1] / again == pytest.approx(0.75, abs=0.05), "by their sizes"
    assert own == sum(counts) - again


@given(sizes_of, samplings, st.integers(8, 300))
@settings(max_examples=60, deadline=None)
def test_batches_of_one_dataset(sizes: list[int], sampling: float, budget: int) -> None:
    lengths, rows = made(sizes)
    plan = epoch_batches(sizes, lengths, rows, budget=budget, sampling=sampling, seed=(1,), mixed=False)
    mixed = epoch_batches(sizes, lengths, rows, budget=budget, sampling=sampling, seed=(1,))
    assert all(len({dataset_of(example, sizes) for example in batch}) == 1 for batch in plan)
    assert sorted(np.concatenate(plan).tolist()) == sorted(np.concatenate(mixed).tolist())
