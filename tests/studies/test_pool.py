"""What to label next: doubt and unlikeness, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from polyhead.data.example import Example, Prediction, WordLabels
from polyhead.studies.pool import Candidates, doubt_of, spread_out


def test_doubt_is_one_less_the_geometric_mean() -> None:
    assert doubt_of(Prediction("a", 0.9)) == pytest.approx(0.1)
    assert doubt_of(Prediction(WordLabels(["a", "b"]), (0.4, 0.9))) == pytest.approx(0.4)
    assert doubt_of(Prediction(WordLabels(), ())) == 0
    assert doubt_of(Prediction("a", 0.0)) < 1


def test_chosen_texts_are_unsure_and_unlike_each_other() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 16)) * 5
    group = np.repeat(np.arange(8), 50)
    vectors = (centres[group] + rng.normal(size=(400, 16)) * 0.1).astype(np.float32)
    doubts = np.where(group < 6, 0.5, 0.001) + rng.uniform(0, 0.01, size=400)
    chosen = spread_out(vectors, doubts, 6)
    assert len(set(chosen)) == 6 and chosen[0] == int(np.argmax(doubts))
    assert set(group[chosen].tolist()) == set(range(6)), "one of each unsure group, none of the sure ones"
    assert chosen == spread_out(vectors, doubts, 6)


def test_all_are_chosen_if_there_are_no_more_and_copies_last() -> None:
    vectors = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]], dtype=np.float32)
    chosen = spread_out(vectors, np.array([0.4, 0.5, 0.3, 0.2]), 10)
    assert sorted(chosen) == [0, 1, 2, 3] and chosen[:2] == [1, 3]
    assert spread_out(np.ones((1, 2), dtype=np.float32), np.zeros(1), 5) == [0]


def test_candidates_are_the_least_sure_in_bounded_memory() -> None:
    rng = np.random.default_rng(1)
    doubts = rng.permutation(1000) / 1000
    kept = Candidates(room=50)
    for doubt in doubts:
        kept.add(Example(text=str(doubt)), Prediction("a", 1 - doubt), float(doubt), np.zeros(4))
        assert len(kept.doubts) < 100
    kept.cut()
    assert kept.doubts == sorted(doubts, reverse=True)[:50]
    assert [example.text for example in kept.examples] == [str(doubt) for doubt in kept.doubts]
