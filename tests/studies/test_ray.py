"""Runs on a Ray cluster on this machine: the same results as in one process, and a killed process costs one attempt."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import runs
from polyhead.errors import PolyheadError
from polyhead.studies import run_study
from polyhead.studies.learn import Order, learn
from polyhead.studies.queue import RayWorkers, workers
from polyhead.studies.ways import Lesson

MOOD = '[tasks.mood]\ntype = "classification"\ndata = "ud"\nlayer = "sentiment"\n'


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    found = pytest.importorskip("ray", reason="ray is not installed")
    try:
        with workers("ray", 1, 1):
            pass
    except PolyheadError as error:
        if "timed out during startup" in str(error):  # ray's own limit, too short where much else runs
            pytest.skip(str(error))
        raise
    yield found
    found.shutdown()


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path / "files")
    stages = "[[stages]]\nepochs = 1\nbatch_pieces = 96\n"
    return runs.write_recipe(folder, tiny_encoder, stages, tasks=MOOD)


def end_itself(order: Order) -> dict[str, Any]:
    """Be killed at the first attempt."""
    if not order.folder.exists():
        order.folder.mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"figures": {}, "seconds": 1.0, "curve": []}


def fail(order: Order) -> dict[str, Any]:
    raise ValueError(f"a fault of our own in {order.folder.name}")


def test_a_cluster_gives_what_one_process_gives(ray: Any, recipe: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wish: dict[str, Any] = {"ways": ["fine-tuned"], "sizes": [4], "seeds": [1]}
    made = run_study(recipe, "mood", tmp_path / "study", on="ray", at_once=1, tell=said.append, **wish)
    assert not made.failures and not ray.is_initialized(), "what was begun is ended"
    (result,) = made.results
    (lesson,) = made.lessons
    order = made.order(lesson)
    alone = learn(Order(tmp_path / "alone", order.recipe, order.base, order.target, order.split, order.threads))
    assert result.figures == alone["figures"]
    assert [score for _, score in result.curve] == [score for _, score in alone["curve"]]
    one, other = (
        (folder / "model" / "model.safetensors").read_bytes() for folder in (order.folder, tmp_path / "alone")
    )
    assert one == other, "the same weights, bit by bit"


def test_a_killed_process_is_told_from_a_fault_and_is_tried_again(ray: Any, tmp_path: Path) -> None:
    from polyhead.studies.queue import run_all

    lessons = [Lesson("a", {"tasks": {}}), Lesson("b", {"tasks": {}})]
    done: dict[str, Any] = {}
    with workers("ray", 2, 1) as here:
        assert isinstance(here, RayWorkers) and here.room <= 2
        here.learn = ray.remote(num_cpus=1, max_retries=0)(end_itself)
        run_all(
            lessons,
            lambda lesson: Order(tmp_path / lesson.name, {}, tmp_path, "mood", "test", 1),
            here,
            lambda lesson, outcome: done.update({lesson.name: outcome}),
            {},
        )
        here.learn = ray.remote(num_cpus=1, max_retries=0)(fail)
        with pytest.raises(Exception, match="a fault of our own") as caught:
            here.submit(Order(tmp_path / "c", {}, tmp_path, "mood", "test", 1)).result()
        assert not isinstance(caught.value, BrokenProcessPool)
    assert done.keys() == {"a", "b"} and all("error" not in outcome for outcome in done.values())


def test_without_a_cluster_at_the_address_it_is_told(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(PolyheadError, match="no Ray cluster at nowhere"), workers("ray", None, 1):
        pass
