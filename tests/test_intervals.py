"""Intervals are those of a bootstrap by the task's own score, whichever way they are computed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from polyhead import intervals as bootstrap
from polyhead.data.example import Example, Labels, Span, Spans, Tree, Value, WordLabels
from polyhead.intervals import Answered, Intervals, compare, draws, intervals
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


# --- two models on the same examples ---


def sides(name: str, count: int = 60) -> tuple[Answered, Answered]:
    """Two that answered the same examples: the second has all right that the first has, and half of the others."""
    task, examples, predicted = answered(name, count)
    rng = random.Random(9)
    better = [e.layers["l"] if rng.random() < 0.5 else p for e, p in zip(examples, predicted, strict=True)]
    return Answered(task, examples, predicted), Answered(task, examples, better)


@pytest.mark.parametrize("name", CASES)
def test_the_same_answers_differ_by_nothing(name: str) -> None:
    side, _ = sides(name)
    found = compare(side, side)
    assert found.examples == 60
    assert set(found.figures) == set(side.task.score(side.examples, side.predicted))
    for figure, both in found.figures.items():
        assert (both.difference, both.p, both.interval, both.sure) == (0.0, 1.0, (0.0, 0.0), False), figure


@pytest.mark.parametrize("name", CASES)
def test_one_that_is_better_everywhere_is_surely_better(name: str) -> None:
    worse, better = sides(name, 200)
    main = worse.task.metric
    forth, back = compare(worse, better).figures[main], compare(better, worse).figures[main]
    assert forth.first == back.second == worse.task.score(worse.examples, worse.predicted)[main]
    assert forth.second == back.first == better.task.score(better.examples, better.predicted)[main]
    assert forth.difference > 0 and forth.sure and forth.p == 1 / 1000
    assert forth.interval is not None and 0 < forth.interval[0] < forth.difference < forth.interval[1]
    assert back.interval is not None
    assert (-back.interval[1], -back.interval[0]) == pytest.approx(forth.interval)
    assert (back.difference, back.p) == (-forth.difference, forth.p)


@pytest.mark.parametrize("name", ["tagging", "ner", "test_intervals.Slow"])
def test_both_are_scored_on_the_same_resamples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 80)
    monkeypatch.setattr(bootstrap, "SLOW_RESAMPLES", 80)
    task, examples, predicted = answered(name)
    other = [*predicted[15:], *[example.layers["l"] for example in examples[15:]]]
    if name != "test_intervals.Slow":
        other = [e.layers["l"] if i % 3 else p for i, (e, p) in enumerate(zip(examples, predicted, strict=True))]
    found = compare(Answered(task, examples, predicted), Answered(task, examples, other), seed=5).figures
    rows = draws(len(examples), 80, 5)
    one, two = by_scores(task, examples, predicted, rows), by_scores(task, examples, other, rows)
    reference = np.subtract(two[task.metric], one[task.metric])
    both = found[task.metric]
    assert both.interval == pytest.approx(tuple(np.quantile(reference, [0.025, 0.975])), abs=1e-12)
    share = np.mean(reference * np.sign(both.difference) <= 1e-12)
    assert both.p == pytest.approx(min(1, max(2 * share, 1 / 80)))


def test_p_is_that_of_the_normal_approximation() -> None:
    """Of accuracies that differ by chance alone p is seldom small, and about what a z-test of the pairs says."""
    rng = random.Random(4)
    task = make_task("it", {"type": "classification", "data": "d", "layer": "l"})
    examples = [Example(text="x", layers={"l": "a"}) for _ in range(800)]
    first = ["a" if rng.random() < 0.70 else "b" for _ in examples]
    second = ["a" if rng.random() < 0.73 else "b" for _ in examples]
    both = compare(Answered(task, examples, first), Answered(task, examples, second)).figures["accuracy"]
    each = np.asarray([(b == "a") - (a == "a") for a, b in zip(first, second, strict=True)], dtype=float)
    z = each.mean() / (each.std() / np.sqrt(len(each)))
    from scipy.stats import norm

    assert both.p == pytest.approx(2 * norm.sf(abs(z)), abs=0.04)
    error = each.std() / np.sqrt(len(each))
    assert both.interval == pytest.approx((each.mean() - 1.96 * error, each.mean() + 1.96 * error), abs=0.2 * error)


def test_resamples_that_one_cannot_score_are_left_out_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    worse, better = sides("test_intervals.Slow", 40)
    score = Slow.score
    calls = 0

    def stumbling(*given: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise KeyError("a label that is not there")
        return score(*given)

    whole = compare(worse, better).figures["accuracy"]
    monkeypatch.setattr(type(worse.task), "score", stumbling)
    found = compare(worse, better).figures["accuracy"]
    assert found.difference == whole.difference
    assert found.interval == pytest.approx(whole.interval, abs=0.05), "pairs stay pairs"
    assert found.interval is not None and found.interval[0] >= 0


def test_a_figure_that_no_resample_has_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    worse, better = sides("test_intervals.Slow", 10)
    calls = 0

    def only_whole(*_: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return {"accuracy": calls / 4} if calls <= 2 else 1 / 0

    monkeypatch.setattr(type(worse.task), "score", only_whole)
    both = compare(worse, better).figures["accuracy"]
    assert (both.difference, both.interval, both.p, both.sure) == (0.25, None, None, False)


def test_only_figures_that_both_have_and_compute_alike_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from own_text import Recall

    examples = [Example(text="x", layers={"l": text}) for text in ("the cat sat on it .", "a dog was here .")]
    one = Answered(Recall(name="it", data="d", layer="l"), examples, ["the cat sat .", "a dog was here ."])
    other = Answered(Recall(name="it", data="d", layer="l", language="zh"), examples, ["the cat", "a dog"])
    assert set(compare(one, one).figures) == {"bleu", "chrf", "length_ratio"}
    found = compare(one, other)
    assert set(found.figures) == {"chrf", "length_ratio"}
    assert found.signatures == {"chrf": one.task.signatures()["chrf"]}
    spans = [answered("ner", 30, seed) for seed in (0, 0)]
    given = [Spans(span for span in value if span.label != "z") for value in spans[1][2] if isinstance(value, Spans)]
    gold = [
        Example(words=e.words, layers={"l": Spans(s for s in e.layers["l"] if s.label != "z")}) for e in spans[0][1]
    ]  # type: ignore[union-attr]
    names = compare(Answered(spans[0][0], gold, spans[0][2]), Answered(spans[0][0], gold, given)).figures
    assert "f1/z" not in names and "f1/x" in names, "one of them never says z"


@pytest.mark.parametrize("seed", range(3))
def test_bleu_is_compared_as_sacrebleu_compares_it(seed: int) -> None:
    """Its own paired bootstrap has another rule for p, which here comes out nearly the same, and other resamples."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    from own_text import Recall

    rng = random.Random(seed)
    words = [f"w{i}" for i in range(50)]
    gold = [" ".join(rng.choices(words, k=rng.randint(4, 20))) for _ in range(300)]
    one, other = (
        [" ".join(w if rng.random() < right else rng.choice(words) for w in text.split()) for text in gold]
        for right in (0.80, 0.81)
    )
    task = Recall(name="it", data="d", layer="l")
    examples = [Example(text="x", layers={"l": text}) for text in gold]
    both = compare(Answered(task, examples, one), Answered(task, examples, other)).figures["bleu"]
    test = PairedTest([("A", one), ("B", other)], {"BLEU": BLEU()}, [gold], test_type="bs", n_samples=1000)
    _, found = test()
    first, second = found["BLEU"]
    assert (both.first, both.second) == pytest.approx((first.score / 100, second.score / 100), abs=1e-12)  # type: ignore[union-attr]
    assert both.p == pytest.approx(second.p_value, abs=0.06)  # type: ignore[union-attr]


def test_a_comparison_is_plain_data() -> None:
    import json

    worse, better = sides("regression", 40)
    table = json.loads(json.dumps(compare(worse, better).to_dict()))
    assert set(table) == {"examples", "resamples", "figures", "signatures", "main", "lower_is_better"}
    rmse = table["figures"]["rmse"]
    assert rmse["difference"] == pytest.approx(rmse["second"] - rmse["first"])
    assert list(rmse) == ["first", "second", "difference", "interval", "p"]
