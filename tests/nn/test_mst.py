"""The decoder finds the best tree with one root: compared with all such trees, for few words."""

import itertools
import time
import tracemalloc
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from polyhead.nn import mst

Floats = npt.NDArray[np.floating]


def is_tree(heads: tuple[int, ...]) -> bool:
    """By walking up from every word; the slow and plain twin of what is tested."""
    for word in range(1, len(heads) + 1):
        steps = 0
        while word and steps <= len(heads):
            word, steps = heads[word - 1], steps + 1
        if word:
            return False
    return heads.count(0) == 1


@cache
def trees(n: int) -> npt.NDArray[np.int64]:
    """All trees of n words with one root: (trees, n) heads."""
    return np.array([heads for heads in itertools.product(range(n + 1), repeat=n) if is_tree(heads)])


def best(scores: Floats) -> float:
    """The score of the best tree with one root, by trying all."""
    n = len(scores) - 1
    return float(scores[np.arange(1, n + 1), trees(n)].sum(axis=1, dtype=np.float64).max())


def check(scores: Floats) -> None:
    heads, score = mst.decode(scores)
    assert heads.dtype == np.int64
    assert is_tree(tuple(heads.tolist()))
    assert score == pytest.approx(scores[np.arange(1, len(scores)), heads].sum(dtype=np.float64), abs=1e-9)
    assert score == pytest.approx(best(scores), abs=1e-9)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 2), (3, 9), (4, 64), (5, 625), (6, 7776)])
def test_brute_force_tries_all_trees(n: int, count: int) -> None:
    assert len(trees(n)) == count == n ** (n - 1)  # Cayley's formula, for rooted trees


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("root_bonus", [0.0, 2.0, 20.0, -20.0])
def test_random_scores(n: int, root_bonus: float) -> None:
    rng = np.random.default_rng(n)
    for _ in range(60):
        scores = rng.normal(scale=2.0, size=(n + 1, n + 1))
        scores[:, 0] += root_bonus  # positive: without the demand for one root there would be many
        check(scores)


@pytest.mark.parametrize("n", range(1, 7))
def test_ties(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(60):
        check(rng.integers(-2, 2, size=(n + 1, n + 1)).astype(np.float64))
    check(np.zeros((n + 1, n + 1)))


@cache
def trees_with_any_roots(n: int) -> npt.NDArray[np.int64]:
    """All trees of n words with one root or more: (trees, n) heads."""
    rest = np.indices((n + 1,) * (n - 1)).reshape(n - 1, (n + 1) ** (n - 1))
    found = []
    for first in range(n + 1):
        edge = np.ones((1, (n + 1) ** (n - 1)), dtype=np.int64)
        ancestors = np.concatenate((edge * 0, edge * first, rest))  # (n + 1, ways to choose the heads)
        heads = ancestors[1:]
        for _ in range(n.bit_length()):
            ancestors = np.take_along_axis(ancestors, ancestors, axis=0)
        found.append(heads[:, ~ancestors.any(axis=0)].T)
    return np.concatenate(found)


@pytest.mark.parametrize("n", range(1, 8))
def test_brute_force_tries_all_trees_with_any_roots(n: int) -> None:
    heads = trees_with_any_roots(n)
    assert len(heads) == (n + 1) ** (n - 1)  # Cayley's formula
    if n < 7:
        assert {*map(tuple, heads[(heads == 0).sum(axis=1) == 1])} == {*map(tuple, trees(n))}


def textbook(arcs: dict[int, dict[int, float]]) -> float:
    """The score of the best tree with any number of roots, as the proof has it: contract one cycle, start again.

    Args:
        arcs: dependent -> head -> score.
    """
    if not all(arcs.values()):
        return -np.inf
    best_heads = {dependent: max(heads, key=heads.__getitem__) for dependent, heads in arcs.items()}
    for word in arcs:
        cycle: list[int] = []
        while word in arcs and word not in cycle:
            cycle.append(word)
            word = best_heads[word]
        if word in cycle:
            cycle = cycle[cycle.index(word) :]
            break
    else:
        return sum(max(heads.values()) for heads in arcs.values())
    new = max(arcs) + 1
    contracted: dict[int, dict[int, float]] = {new: {}}
    for dependent, heads in arcs.items():
        row = contracted.setdefault(new if dependent in cycle else dependent, {})
        less = heads[best_heads[dependent]] if dependent in cycle else 0.0
        for head, score in heads.items():
            if dependent not in cycle or head not in cycle:
                to = new if head in cycle else head
                row[to] = max(score - less, row.get(to, -np.inf))
    return sum(arcs[member][best_heads[member]] for member in cycle) + textbook(contracted)


def textbook_of(scores: Floats) -> float:
    """``textbook`` for a matrix; nan and -inf mean that there is no such arc."""
    rows = enumerate(scores[1:].tolist(), start=1)
    return textbook({d: {h: s for h, s in enumerate(row) if s > -np.inf and h != d} for d, row in rows})


def check_spanning_tree(scores: npt.NDArray[np.float64], expected: float) -> None:
    """The unconstrained search finds a tree of the expected score; with -inf, it says that there is none."""
    before = scores.copy()
    if expected == -np.inf:
        with pytest.raises(ValueError, match="no tree"):
            mst._spanning_tree(scores)
    else:
        heads = mst._spanning_tree(scores)
        assert heads.dtype == np.int64
        assert is_tree((0, *(heads + 1).tolist()))  # all its roots hung on one new word
        assert scores[np.arange(1, len(scores)), heads].sum() == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("density", [1.0, 0.6, 0.35])
def test_all_trees_of_up_to_seven_words(n: int, ties: bool, density: float) -> None:
    rng = np.random.default_rng([n, ties, int(density * 100)])
    candidates = trees_with_any_roots(n)
    single = (candidates == 0).sum(axis=1) == 1
    for _ in range(8):
        scores = rng.normal(size=(n + 1, n + 1))
        if ties:
            scores = rng.integers(-2, 2, size=scores.shape).astype(np.float64)
        scores[1:, 0] -= rng.choice([0.0, 3.0])  # where the root is wanted by few, cycles go deep
        scores[rng.random(scores.shape) >= density] = -np.inf
        np.fill_diagonal(scores, -np.inf)
        totals = scores[np.arange(1, n + 1), candidates].sum(axis=1)
        assert textbook_of(scores) == pytest.approx(totals.max(), abs=1e-9)
        check_spanning_tree(scores, totals.max())
        check_spanning_tree(np.where(scores == -np.inf, np.nan, scores), totals.max())
        heads, score = mst.decode(scores)
        assert is_tree(tuple(heads.tolist()))
        assert score == pytest.approx(totals[single].max(), abs=1e-9)


@pytest.mark.parametrize("n", [15, 60])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_spanning_tree_of_long_sentences(n: int, ties: bool, density: float) -> None:
    rng = np.random.default_rng([n, ties, int(density * 100)])
    for root_bonus in (0.0, -2.0, -20.0):
        scores = rng.normal(size=(n + 1, n + 1))
        if ties:
            scores = np.round(scores)
        scores[rng.random(scores.shape) >= density] = np.nan
        scores[1:, 0] += root_bonus
        check_spanning_tree(scores, textbook_of(np.where(np.eye(n + 1) > 0, np.nan, scores)))


@pytest.mark.parametrize("root", [1, 17, 40])
def test_cycles_within_cycles(root: int) -> None:
    # Words 1 and 2 form a cycle, that one another with 3, that one with 4, and so on: the deepest nesting there is.
    n = 40
    scores = np.full((n + 1, n + 1), np.nan)
    scores[1, 2] = 0.0
    for word in range(2, n + 1):
        scores[word, word - 1] = 0.0
        scores[1, word] = -float(word)
        scores[word - 1, word] = -100.0
    scores[root, 0] = -500.0
    # From the root up the chain at no cost; and down, at 100 a step or by one arc to word 1.
    down = 0.0 if root == 1 else -float(root)
    check_spanning_tree(scores, -500.0 + down)


def best_of_root_candidates(scores: Floats) -> float:
    """The best tree with one root, by an unconstrained search for each word that could be the root.

    The search itself is compared with others above; what is checked here is which words hang on the root.
    """
    found = []
    for root in range(1, len(scores)):
        only = scores.astype(np.float64)
        only[:, 0] = np.nan  # no such arc
        only[root, 0] = scores[root, 0]
        heads = mst._spanning_tree(only)
        found.append(only[np.arange(1, len(only)), heads].sum())
    return float(max(found))


@pytest.mark.parametrize("n", [15, 30, 60])
@pytest.mark.parametrize("root_bonus", [0.0, 3.0, 300.0])
def test_long_sentences(n: int, root_bonus: float) -> None:
    rng = np.random.default_rng(n)
    for _ in range(5):
        scores = rng.normal(scale=3.0, size=(n + 1, n + 1))
        scores[:, 0] += root_bonus
        scores[2, 3] = -np.inf  # brings the bound for impossible arcs into the sums
        heads, score = mst.decode(scores)
        assert is_tree(tuple(heads.tolist()))
        scores[2, 3] = np.nan
        assert score == pytest.approx(best_of_root_candidates(scores), abs=1e-6)


@pytest.mark.parametrize("forbidden", [-np.inf, float(np.finfo(np.float32).min)])
def test_forbidden_arcs(forbidden: float) -> None:
    rng = np.random.default_rng(0)
    feasible = 0
    for _ in range(200):
        scores = rng.normal(size=(6, 6)) + np.array([4.0, 0, 0, 0, 0, 0])
        scores[rng.random(scores.shape) < 0.5] = forbidden
        if best(scores) < -1e30:
            # No tree does without them: still a tree with one root.
            heads, _ = mst.decode(scores)
            assert is_tree(tuple(heads.tolist()))
        else:
            feasible += 1
            check(scores)
    assert 40 < feasible < 160


def test_unread_cells_may_hold_anything() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 6))
    heads, score = mst.decode(scores)
    scores[0] = np.nan
    np.fill_diagonal(scores, np.inf)
    again, same = mst.decode(scores)
    assert (again.tolist(), same) == (heads.tolist(), score)


def test_float32_and_views_are_read_and_left_alone() -> None:
    # A logits tensor comes as float32, and as [head, dependent] seen from the other side.
    scores = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32).T
    before = scores.copy()
    check(scores)
    assert (scores == before).all()


def test_one_root_is_not_repaired_greedily() -> None:
    # Both words want the root; the one that wants it more (2) must still give way: 9 + 8 > 10 + 1.
    scores = np.array([[0, 0, 0], [9, 0, 1], [10, 8, 0]], dtype=np.float64)
    heads, score = mst.decode(scores)
    assert (heads.tolist(), score) == ([0, 1], 17.0)


def test_no_words() -> None:
    heads, score = mst.decode(np.zeros((1, 1)))
    assert (heads.shape, score) == ((0,), 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_none_are_named(value: float) -> None:
    scores = np.zeros((4, 4))
    scores[2, 3] = value
    with pytest.raises(ValueError, match=f"head 3 for word 2 is {value}"):
        mst.decode(scores)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (0, 0), (2, 3, 3)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        mst.decode(np.zeros(shape))


@pytest.mark.parametrize("n", range(1, 6))
def test_is_single_rooted(n: int) -> None:
    for heads in itertools.product(range(n + 1), repeat=n):
        assert mst.is_single_rooted(np.array(heads)) == is_tree(heads)


def test_the_fast_path_is_taken_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("the best heads are a tree already")

    monkeypatch.setattr(mst, "_spanning_tree", refuse)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(26, 26)) - 10.0
    gold = [0, *(int(rng.integers(1, word)) for word in range(2, 26))]
    scores[np.arange(1, 26), gold] = -0.1
    times = []
    for _ in range(50):
        start = time.perf_counter()
        heads, _ = mst.decode(scores)
        times.append(time.perf_counter() - start)
    assert heads.tolist() == gold
    assert sorted(times)[25] < 1e-3  # some 20 microseconds; the margin is for busy machines


def test_memory_is_that_of_a_few_scores_for_each_arc() -> None:
    """It bounds how long a sentence may be: what is held for an arc is counted in bytes."""
    n = 400
    scores = np.random.default_rng(0).normal(size=(n + 1, n + 1)).astype(np.float32)
    assert not mst.is_single_rooted(scores[1:].argmax(axis=1)), "else nothing is searched"
    tracemalloc.start()
    mst.decode(scores)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * n**2
