"""Suspected label errors: planted ones are found, whatever the kind of label."""

from __future__ import annotations

import numpy as np
import pytest

from polyhead.data.example import Example, Labels, WordLabels
from polyhead.studies.held import Held
from polyhead.studies.suspects import judge
from polyhead.tasks import Task, make_task

COUNT, WRONG = 200, 20


def held(places: range, chances: np.ndarray, counts: list[int], choices: list[str]) -> Held:
    return Held(np.array(list(places)), np.array(counts), chances.astype(np.float32), choices)


def prepared(table: dict[str, object], examples: list[Example]) -> Task:
    task = make_task("it", {"data": "d", "layer": "it", **table})
    task.prepare(examples)
    return task


def noisy(truth: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of someone who is mostly right."""
    logits = rng.normal(size=(len(truth), width)) + 3 * np.eye(width)[truth]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def found(task: Task, examples: list[Example], parts: list[Held], wrong: set[tuple[int, int]]) -> float:
    judged = judge(task, examples, parts)
    order = np.argsort(judged.quality, kind="stable")[: 2 * len(wrong)]
    return len(wrong & {(int(judged.texts[i]), int(judged.units[i])) for i in order}) / len(wrong)


def test_flipped_labels_are_found_and_counted() -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    truth = rng.integers(3, size=COUNT)
    given = truth.copy()
    given[:WRONG] = (given[:WRONG] + 1) % 3
    examples = [Example(text=str(i), layers={"it": names[label]}) for i, label in enumerate(given)]
    task = prepared({"type": "classification"}, examples)
    chances = noisy(truth, 3, rng)
    half = COUNT // 2
    parts = [held(range(half), chances[:half], [1] * half, names)]
    turned = chances[half:][:, [2, 0, 1]]  # another run may have its labels in another order
    parts.append(held(range(half, COUNT), turned, [1] * half, ["c", "a", "b"]))
    assert found(task, examples, parts, {(i, 0) for i in range(WRONG)}) >= 0.9
    judged = judge(task, examples, parts)
    assert judged.errors is not None and WRONG / 2 <= judged.errors <= 2 * WRONG


def test_words_and_several_labels_are_units_of_their_own() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=(COUNT, 3))
    given = truth.copy()
    given[:WRONG, 1] = 1 - given[:WRONG, 1]
    words = [Example(words=("x",) * 3, layers={"it": WordLabels("ab"[v] for v in row)}) for row in given]
    flat = noisy(truth.ravel(), 2, rng)
    parts = [held(range(COUNT), flat, [3] * COUNT, ["a", "b"])]
    assert found(prepared({"type": "tagging"}, words), words, parts, {(i, 1) for i in range(WRONG)}) >= 0.8
    topics = [Example(text="x", layers={"it": Labels("xyz"[i] for i in np.flatnonzero(row))}) for row in given]
    parts = [held(range(COUNT), flat, [3] * COUNT, ["x", "y", "z"])]
    task = prepared({"type": "classification", "several": True}, topics)
    assert found(task, topics, parts, {(i, 1) for i in range(WRONG)}) >= 0.8
    assert task.reading(topics[0], 1, 0) == "not y" and task.reading(topics[0], 1, 1) == "y"


def test_numbers_that_are_far_off_are_found() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=COUNT)
    given = truth.copy()
    given[:WRONG] += 4
    examples = [Example(text=str(i), layers={"it": float(value)}) for i, value in enumerate(given)]
    parts = [held(range(COUNT), (truth + rng.normal(size=COUNT) * 0.2)[:, None], [1] * COUNT, [])]
    task = prepared({"type": "regression"}, examples)
    assert found(task, examples, parts, {(i, 0) for i in range(WRONG)}) == 1
    assert judge(task, examples, parts).errors is None


def test_what_a_run_has_never_seen_it_cannot_judge() -> None:
    examples = [Example(text=str(i), layers={"it": "ab"[i % 2]}) for i in range(10)]
    examples.append(Example(text="rare", layers={"it": "c"}))
    task = prepared({"type": "classification"}, examples)
    chances = np.tile([[0.7, 0.3]], (11, 1))
    judged = judge(task, examples, [held(range(11), chances, [1] * 11, ["a", "b"])])
    assert 10 not in judged.texts and len(judged.texts) == 10


@pytest.mark.parametrize("count", [1, 3])
def test_few_examples_of_one_class_break_nothing(count: int) -> None:
    examples = [Example(words=("x",), layers={"it": WordLabels(["a"])}) for _ in range(count)]
    task = prepared({"type": "tagging"}, examples)
    judged = judge(task, examples, [held(range(count), np.ones((count, 1)), [1] * count, ["a"])])
    assert len(judged.texts) == count and judged.errors == 0
