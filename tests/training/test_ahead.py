"""Batches laid out ahead of time: the same ones, in any order of asking, and faults come where they are asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import polyhead
import runs
from polyhead.training.ahead import DEPTH, Ahead
from polyhead.training.passes import Passes


def numbers(count: int) -> list[tuple[np.ndarray, int]]:
    return [(np.arange(step + 1), step) for step in range(count)]


def test_what_is_expected_is_laid_out_by_another_thread_and_no_more_than_that() -> None:
    done: list[tuple[int, str]] = []
    ahead = Ahead(lambda rows, step: done.append((step, threading.current_thread().name)) or len(rows))
    ahead.begin(numbers(6))
    assert [ahead.take(rows, step) for rows, step in numbers(6)] == [1, 2, 3, 4, 5, 6]
    ahead.close()
    assert [step for step, _ in done] == list(range(6))
    assert all("ahead" in name for _, name in done)


def test_little_is_laid_out_before_it_is_asked_for() -> None:
    done: list[int] = []
    ahead = Ahead(lambda rows, step: done.append(step))
    ahead.begin(numbers(50))
    ahead.take(*numbers(1)[0])
    ahead.close()
    assert len(done) <= DEPTH + 1


def test_what_was_not_expected_is_laid_out_at_once() -> None:
    ahead = Ahead(lambda rows, step: (rows.tolist(), step))
    ahead.begin(numbers(3))
    assert ahead.take(np.array([7]), 0) == ([7], 0)  # other examples at the step that was expected
    assert ahead.take(np.array([0]), 5) == ([0], 5)
    assert ahead.take(np.array([0]), 0) == ([0], 0)
    ahead.begin([])
    assert ahead.take(np.array([0, 1]), 1) == ([0, 1], 1)
    ahead.close()


def test_a_fault_is_raised_where_its_batch_is_asked_for() -> None:
    def lay_out(rows: np.ndarray, step: int) -> int:
        if step == 1:
            raise ValueError("no such block")
        return step

    ahead = Ahead(lay_out)
    ahead.begin(numbers(3))
    assert ahead.take(*numbers(3)[0]) == 0
    with pytest.raises(ValueError, match="no such block"):
        ahead.take(*numbers(3)[1])
    assert ahead.take(*numbers(3)[2]) == 2
    ahead.close()


def test_a_run_learns_the_same(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, with a step of two batches, and a second stage."""
    stages = "[[stages]]\nepochs = 2\naccumulate = 2\nbatch_pieces = 64\n[[stages]]\nepochs = 1\nbatch_pieces = 64\n"
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, stages)
    right = polyhead.train(recipe, tmp_path / "right").model().state_dict()
    made: list[Ahead[object]] = []
    asked, used = Passes.expect, []

    def expect(self: Passes, batches: object, accumulate: int, number: int) -> None:
        if self.ahead is None:
            self.ahead = Ahead(self._laid_out)
            made.append(self.ahead)
            plain = self.ahead.lay_out
            self.ahead.lay_out = lambda rows, step: used.append(threading.current_thread().name) or plain(rows, step)
        asked(self, batches, accumulate, number)

    monkeypatch.setattr(Passes, "expect", expect)
    found = polyhead.train(recipe, tmp_path / "found").model().state_dict()
    assert len(made) == 2 and used and all("ahead" in name for name in used)  # none was laid out twice, or too late
    assert right.keys() == found.keys() and all(torch.equal(right[name], found[name]) for name in right)
