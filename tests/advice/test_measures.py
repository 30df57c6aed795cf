"""Measures against the definitions that they come from, computed the long way; and what an interval must hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from polyhead.advice.measures import Floats, Measured, h_score, logme, measured, sure


def data(count: int, width: int, classes: int = 3, seed: int = 0) -> tuple[Floats, Floats]:
    """Features, the first few of which tell a class, and the classes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width))
    found = (features[:, :classes] + 0.7 * rng.normal(size=(count, classes))).argmax(1)
    return features + 0.3, np.eye(classes)[found]


def evidence(features: Floats, column: Floats) -> float:
    """The highest evidence per unit over both precisions, with the covariance of gold written out."""

    def less(logs: Floats) -> float:
        prior, noise = np.exp(np.clip(logs, -20, 20))
        covariance = np.eye(len(features)) / noise + features @ features.T / prior
        return -float(multivariate_normal.logpdf(column, np.zeros(len(features)), covariance, allow_singular=True))

    settings = {"xatol": 1e-6, "fatol": 1e-8, "maxiter": 4000}
    starts = [(0.0, 0.0), (3.0, 3.0), (5.0, 0.0)]
    return max(-minimize(less, start, method="Nelder-Mead", options=settings).fun for start in starts) / len(features)


@pytest.mark.parametrize(("count", "width"), [(40, 6), (15, 30)])
def test_logme_is_the_highest_evidence(count: int, width: int) -> None:
    """With fewer units than features, too."""
    features, gold = data(count, width)
    expected = np.mean([evidence(features, column) for column in gold.T])
    assert logme(features, gold) == pytest.approx(expected, abs=1e-6)


def test_logme_does_not_depend_on_how_features_are_turned_or_stretched() -> None:
    features, gold = data(60, 10)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]
    assert logme(1e3 * features @ turn, gold) == pytest.approx(logme(features, gold), abs=1e-6)
    assert logme(np.hstack([features, np.zeros((60, 5))]), gold) == pytest.approx(logme(features, gold), abs=1e-9)


def test_logme_of_numbers_is_higher_where_features_tell_them() -> None:
    features, _ = data(200, 8)
    told = features[:, :1] + 0.1 * np.random.default_rng(2).normal(size=(200, 1))
    untold = told[np.random.default_rng(3).permutation(200)]
    assert logme(features, told) > logme(features, untold) + 0.5


def test_a_class_that_none_has_counts_for_nothing() -> None:
    features, gold = data(40, 6)
    more = np.hstack([gold, np.zeros((40, 1))])
    assert logme(features, more) == logme(features, gold)
    assert h_score(features, more) == pytest.approx(h_score(features, gold))


@pytest.mark.parametrize(("count", "width"), [(50, 8), (20, 40)])
def test_the_h_score_is_that_of_the_shrunk_covariance(count: int, width: int) -> None:
    features, gold = data(count, width)
    covariance, shrunk = ledoit_wolf(features)
    centred = features - features.mean(0)
    means = (gold.T @ centred) / gold.sum(0)[:, None]
    between = sum(share * np.outer(mean, mean) for share, mean in zip(gold.mean(0), means, strict=True))
    expected = (1 - shrunk) * np.trace(np.linalg.inv(covariance) @ between)
    assert h_score(features, gold) == pytest.approx(expected, rel=1e-9)


def test_features_that_do_not_differ_are_worth_nothing() -> None:
    _, gold = data(20, 3)
    assert h_score(np.ones((20, 4)), gold) == 0
    assert np.isfinite(logme(np.zeros((20, 4)), gold))
    assert logme(np.zeros((20, 4)), gold) < logme(data(20, 3)[0], gold)


def test_an_interval_holds_the_difference_of_means_as_often_as_it_says() -> None:
    """Of means the truth is known: 95 % intervals of a difference hold it about that often."""
    rng = np.random.default_rng(5)

    def mean(features: Floats, gold: Floats) -> float:
        return float(features.mean())

    groups = np.repeat(np.arange(10), 20)
    held = called = 0
    for _ in range(400):
        common = rng.normal(size=(200, 1))
        first, second = (common + 0.5 * rng.normal(size=(200, 1)) for _ in range(2))
        both = [(1.0, measured(mean, first, first, groups)), (-1.0, measured(mean, second, second, groups))]
        found = sure(both)
        held += found.low <= 0 <= found.high
        called += found.p < 0.05
    assert 0.92 <= held / 400 <= 0.98
    assert called == 400 - held


def test_what_is_the_same_is_the_same_for_sure() -> None:
    one = Measured(0.5, np.array([0.4, 0.5, 0.6]))
    found = sure([(1.0, one), (-1.0, one)])
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    alone = sure([(1.0, Measured(0.5, np.array([0.5])))])
    assert alone.p == 1.0 and np.isinf(alone.high)
