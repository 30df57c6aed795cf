"""Intervals are those of a bootstrap by the task's own score, whichever way they are computed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from polyhead import intervals as bootstrap
from polyhead.data.example import Example, Labels, Span, Spans, Tree, Value, WordLabels
from polyhead.intervals import Intervals, draws, intervals
from polyhead.tasks import Task, make_task


class Slow(Task):
    """A user's own type, which scores and knows no counts."""

    prepare = head = target = None  # type: ignore[assignment]

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        right = sum(e.layers[self.layer] == p for e, p in zip(examples, predicted, strict=True))
        return {"accuracy": right / len(examples)}


CASES: dict[str, dict[str, Any]] = {
    "classification": {},
    "several": {"type": "classification", "several": True},
    "tagging": {},
    "lemmatization": {},
    "ner": {},
    "parsing": {},
    "regression": {},
    "test_intervals.Slow": {},
}
EXACT = [name for name in CASES if name not in ("regression", "test_intervals.Slow")]


def value(name: str, rng: random.Random, size: int) -> Value:
    if name == "several":
        return Labels(label for label in "abc" if rng.random() < 0.3)
    if name == "ner":
        return Spans(Span(i, i + 1, rng.choice("xyz")) for i in range(size) if rng.random() < 0.3)
    if name == "parsing":
        return Tree(
            tuple(rng.choice([i, 0]) for i in range(size)),
            tuple(rng.choice(["nsubj", "nsubj:pass", "det"]) for _ in range(size)),
        )
    if name in ("tagging", "lemmatization"):
        return WordLabels(rng.choice(["A", "B", None]) for _ in range(size))
    return float(rng.random()) if name == "regression" else rng.choice("ab")


def answered(name: str, count: int = 30, seed: int = 0) -> tuple[Task, list[Example], list[Value]]:
    """A task, examples with random gold, and answers that are right for about half of them."""
    rng = random.Random(seed)
    task = make_task("it", {"type": name, "data": "d", "layer": "l", **CASES[name]})
    examples, predicted = [], []
    for _ in range(count):
        size = rng.randint(1, 6)
        gold = value(name, rng, size)
        examples.append(Example(words=("w",) * size, layers={"l": gold}))
        predicted.append(gold if rng.random() < 0.5 else value(name, rng, size))
    return task, examples, predicted


def by_scores(task: Task, examples: Sequence[Example], predicted: Sequence[Value], rows: Any) -> dict[str, list[float]]:
    """The reference: draw, score, note the figures."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, figure in task.score([examples[i] for i in row], [predicted[i] for i in row]).items():
            found.setdefault(name, []).append(figure)
    return found


@pytest.mark.parametrize("at_once", [bootstrap.AT_ONCE, 100])
@pytest.mark.parametrize("name", EXACT)
def test_counts_give_what_the_score_of_each_resample_gives(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "AT_ONCE", at_once)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 60)
    task, examples, predicted = answered(name)
    found = intervals(task, examples, predicted, seed=5)
    reference = by_scores(task, examples, predicted, draws(len(examples), 60, 5))
    assert set(found.figures) == set(reference) >= {task.metric}
    for figure, values in reference.items():
        assert found.figures[figure] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12), figure


@pytest.mark.parametrize("name", CASES)
def test_a_score_lies_in_its_interval(name: str) -> None:
    task, examples, predicted = answered(name, 200)
    found = intervals(task, examples, predicted)
    assert (found.examples, found.resamples) == (200, 1000)
    assert intervals(task, examples, predicted) == found, "the same answers get the same intervals"
    for figure, score in task.score(examples, predicted).items():
        low, high = found.figures[figure]
        assert low < score < high, figure


def test_the_interval_of_an_accuracy_is_as_wide_as_theory_has_it() -> None:
    task, examples, predicted = answered("classification", 2000)
    accuracy = task.score(examples, predicted)["accuracy"]
    low, high = intervals(task, examples, predicted).figures["accuracy"]
    error = np.sqrt(accuracy * (1 - accuracy) / 2000)
    assert (low, high) == pytest.approx((accuracy - 1.96 * error, accuracy + 1.96 * error), abs=0.25 * error)


def test_perfect_answers_have_no_width() -> None:
    task, examples, _ = answered("tagging", 40)
    found = intervals(task, examples, [example.layers["l"] for example in examples])
    assert found.figures["accuracy"] == (1.0, 1.0)


def test_resamples_without_any_gold_word_are_left_out() -> None:
    task, _, _ = answered("tagging")
    examples = [Example(words=("w",), layers={"l": WordLabels(["A"] if i == 0 else [None])}) for i in range(4)]
    assert intervals(task, examples, [WordLabels("A")] * 4).figures == {"accuracy": (1.0, 1.0)}


def test_slow_scores_get_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SLOW_EXAMPLES", 30 * 150)
    task, examples, predicted = answered("test_intervals.Slow", 30)
    assert intervals(task, examples, predicted).resamples == 150
    monkeypatch.setattr(bootstrap, "SLOW_EXAMPLES", 1)
    assert intervals(task, examples, predicted).resamples == bootstrap.SLOW_RESAMPLES


def test_intervals_are_plain_data() -> None:
    found = Intervals(3, 10, {"f1": (0.1, 0.2)})
    assert found.to_dict() == {"examples": 3, "resamples": 10, "figures": {"f1": (0.1, 0.2)}}


def test_a_score_that_stumbles_over_a_resample_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    task, examples, predicted = answered("test_intervals.Slow", 30)
    score = type(task).score
    calls = 0

    def stumbling(*given: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise KeyError("a label that is not there")
        return score(*given)

    monkeypatch.setattr(type(task), "score", stumbling)
    low, high = intervals(task, examples, predicted).figures["accuracy"]
    assert 0 < low < high < 1
    monkeypatch.setattr(type(task), "score", lambda *_: 1 / 0)
    assert intervals(task, examples, predicted).figures == {}
