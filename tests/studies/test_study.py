"""A study on tiny data: it goes on, it grows, and what fails costs nothing that is finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import polyhead.studies.study as module
import runs
from polyhead.cli import app
from polyhead.errors import PolyheadError
from polyhead.studies import Study, answers, run_study
from polyhead.studies.learn import FIGURES, Order, learn
from polyhead.studies.queue import LocalWorkers, Outcome
from polyhead.studies.words import headline, verdict_words
from studies.inline import Inline

pytestmark = pytest.mark.usefixtures("one_thread")

MOOD = '[tasks.mood]\ntype = "classification"\ndata = "ud"\nlayer = "sentiment"\n'
ENTITIES = '[tasks.entities]\ntype = "ner"\ndata = "names"\nlayer = "entities"\n'
STAGE = "[[stages]]\nepochs = 1\nbatch_pieces = 96\n"


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path / "files")
    path = folder / "recipe.toml"
    top = f'encoder = "{tiny_encoder}"\nprecision = "fp32"\ndevice = "cpu"\n'
    path.write_text("\n".join([top, runs.DATA, MOOD, ENTITIES, STAGE]), encoding="utf-8")
    return path


Asked = Callable[..., Study]


@pytest.fixture
def ask(recipe: Path, tmp_path: Path, here: Inline) -> Asked:
    def ask(**changes: Any) -> Study:
        wish: dict[str, Any] = {"ways": ["fine-tuned", "from:entities"], "sizes": [4, 8], "seeds": [1, 2]}
        return run_study(recipe, "mood", tmp_path / "study", **{**wish, **changes})

    return ask


def names(here: Inline) -> list[str]:
    return [order.folder.name.rpartition("-")[0] for order in here.orders]


def test_a_study_trains_each_run_once_and_grows(ask: Asked, here: Inline, tmp_path: Path) -> None:
    said: list[str] = []
    made = ask(tell=said.append)
    assert sorted(names(here)) == sorted(
        [f"source-entities-{seed}" for seed in (1, 2)]
        + [f"{way}-{size}-{seed}" for way in ("fine-tuned", "from-entities") for size in (4, 8) for seed in (1, 2)]
    )
    assert said[0].startswith("8 runs are asked for; 10 trainings to do")
    assert sum("left, about" in one for one in said) == 9, "after the first it says how long the others will take"
    lines = [json.loads(line) for line in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]
    assert [(line["way"], line["size"], line["seed"]) for line in lines[:3]] == [
        ("fine-tuned", 4, 1),
        ("from:entities", 4, 1),
        ("fine-tuned", 4, 2),
    ]
    assert all(0 <= line["figures"]["accuracy"] <= 1 and line["curve"] for line in lines)
    here.orders.clear()
    again = ask()
    assert not here.orders and again.results == made.results
    ask(ways=["fine-tuned"], sizes=[6], seeds=[1])
    ask(ways=["frozen"], sizes=[4], seeds=[1])
    more = ask(seeds=[3])
    assert names(here)[:2] == ["fine-tuned-6-1", "frozen-4-1"] and len(here.orders) == 2 + 5
    assert len(more.results) == 8 + 2 + 4, "what was asked before is still there"


def test_every_way_can_be_gone(ask: Asked) -> None:
    ways = ["scratch", "frozen", "fine-tuned", "joint", "joint-fine-tuned"]
    made = ask(ways=ways, sizes=[8], seeds=[1])
    assert [result.way for result in made.results] == ways and not made.failures
    found = answers(made)
    assert found is not None and headline(found)
    assert len(found.verdicts) == 10 and all(verdict_words(found, 8))
    for result in made.results:
        assert abs(made.contributions(result).figure - result.figures["accuracy"]) < 1e-9


def test_another_recipe_is_another_run(ask: Asked, here: Inline, recipe: Path) -> None:
    ask(ways=["fine-tuned"], sizes=[8], seeds=[1])
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    ask(ways=["fine-tuned"], sizes=[8], seeds=[1])
    assert len({order.folder for order in here.orders}) == 2


def test_all_means_all_that_there_are_now(ask: Asked, recipe: Path) -> None:
    made = ask(ways=["fine-tuned"], sizes=[4, sys.maxsize], seeds=[1])
    assert [point.size for point in made.points] == [4, 8]
    data = recipe.parent / "ud-train.conllu"
    text = data.read_text(encoding="utf-8")
    data.write_text(text + text.split("\n\n")[0] + "\n\n", encoding="utf-8")
    assert [point.size for point in Study.open(made.folder).points] == [4, 9]
    more = ask(ways=["frozen"], sizes=[sys.maxsize], seeds=[1])
    assert [(point.way, point.size) for point in more.points] == [("fine-tuned", 4), ("fine-tuned", 9), ("frozen", 9)]


def test_runs_of_an_earlier_recipe_are_mentioned(ask: Asked, recipe: Path) -> None:
    ask(ways=["fine-tuned"], sizes=[8], seeds=[1])
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    said: list[str] = []
    made = ask(ways=["fine-tuned"], sizes=[8], seeds=[1], tell=said.append)
    assert any(one.startswith("1 finished run of another recipe") for one in said)
    assert len(made.results) == 1


def test_models_can_be_dropped_and_what_is_wanted_again_is_trained_again(ask: Asked, here: Inline) -> None:
    ways = ["fine-tuned", "joint"]
    made = ask(ways=ways, sizes=[4, 8], seeds=[1, 2], keep="best")
    left = [result for result in made.results if (made.folder / "runs" / result.key / "model").is_dir()]
    assert [result.way for result in left].count("joint") == 1 == [result.way for result in left].count("fine-tuned")
    for result in left:
        assert result.figures["accuracy"] == max(r.figures["accuracy"] for r in made.results if r.way == result.way)
    gone = next(r for r in made.results if r.way == "joint" and r not in left)
    here.orders.clear()
    again = ask(ways=["joint-fine-tuned"], sizes=[gone.size], seeds=[gone.seed], keep="best")
    assert names(here) == [f"{way}-{gone.size}-{gone.seed}" for way in ("joint", "joint-fine-tuned")]
    assert len(again.results) == 9 and not again.failures
    same = next(r for r in again.results if (r.way, r.size, r.seed) == ("joint", gone.size, gone.seed))
    assert same.figures == gone.figures
    assert not (again.folder / "runs" / gone.key / "model").exists(), "and dropped again"


def test_a_run_that_fails_costs_no_other(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(order: Order) -> Outcome:
        return {"error": "no"} if order.folder.name.startswith("source-entities-1") else learn(order)

    def submit(self: Inline, order: Order) -> Future[Outcome]:
        self.orders.append(order)
        future: Future[Outcome] = Future()
        future.set_result(fail(order))
        return future

    monkeypatch.setattr(Inline, "submit", submit)
    made = ask()
    assert [(point.way, point.seed) for point, _ in made.failures] == [("from:entities", 1)] * 2
    assert all(why == "It begins from source-entities-1, which failed: no" for _, why in made.failures)
    assert len(made.results) == 6
    monkeypatch.undo()


def test_a_draw_that_lacks_a_label_is_learnt_all_the_same(ask: Asked) -> None:
    made = ask(ways=["fine-tuned"], sizes=[1], seeds=[1, 2])
    assert len(made.results) == 2 and not made.failures


def test_a_run_that_was_finished_unseen_is_asked_again(ask: Asked, here: Inline) -> None:
    made = ask(ways=["fine-tuned"], sizes=[8], seeds=[1])
    (result,) = made.results
    before = made.contributions(result)
    folder = here.orders[0].folder
    for name in (FIGURES, "study.npz"):
        (folder / name).unlink()
    again = ask(ways=["fine-tuned"], sizes=[8], seeds=[1])
    found = again.contributions(again.results[0])
    assert found.figure == before.figure and (found.of == before.of).all()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ways": ["tuned"]}, "no way 'tuned'"),
        ({"sizes": [0]}, "A size of 0"),
        ({"keep": "some"}, "no way 'some' to keep"),
    ],
)
def test_wrong_wishes_are_told_before_anything_is_written(
    ask: Asked, changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(PolyheadError, match=what):
        ask(**changes)
    assert not (tmp_path / "study").exists()


def test_what_a_process_imports_is_not_counted_for_its_first_run(tmp_path: Path) -> None:
    """In a fresh process: when the clock of a run starts, what takes seconds to import is there."""
    script = f"""
import sys
from pathlib import Path
from polyhead.studies import learn as module
seen = []
class Clock:
    def perf_counter():
        seen.append({{"transformers.modeling_utils", "polyhead.training.run"}} <= set(sys.modules))
        return 0.0
module.time = Clock
assert "transformers.modeling_utils" not in sys.modules
order = module.Order(Path({str(tmp_path / "run")!r}), {{}}, Path({str(tmp_path)!r}), "mood", "test", 1)
assert "error" in module.learn(order)
assert seen == [True], seen
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of POSIX")
def test_ctrl_c_is_heard_by_the_command_alone(tmp_path: Path) -> None:
    """A terminal sends it to the processes, too, even while they begin: they leave it to their parent to end them."""
    here = LocalWorkers(1)
    try:
        future = here.submit(Order(tmp_path / "run", {}, tmp_path, "mood", "test", 1))
        for pid in list(here.pool._processes):
            os.kill(pid, signal.SIGINT)
        assert "error" in future.result(timeout=300)
    finally:
        here.close(now=True)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set()), "this process hears it"


def test_ctrl_c_says_what_is_finished_and_how_to_go_on(
    ask: Asked, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["study", str(recipe), "--target", "mood", "--output", str(tmp_path / "study")]
    command += ["--ways", "fine-tuned", "--sizes", "4,8", "--seeds", "1"]

    def stop(self: Inline, order: Order) -> Future[Outcome]:
        if self.orders:
            raise KeyboardInterrupt
        return submit(self, order)

    submit = Inline.submit
    monkeypatch.setattr(Inline, "submit", stop)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130
    assert result.stderr.endswith("\nStopped. 1 of 2 runs are finished. The same command goes on.\n")


def test_a_study_keeps_to_its_target_and_its_folder(ask: Asked, recipe: Path, tmp_path: Path) -> None:
    ask(ways=["fine-tuned"], sizes=[4], seeds=[1])
    with pytest.raises(PolyheadError, match="is about 'mood'"):
        run_study(recipe, "entities", tmp_path / "study")
    with pytest.raises(PolyheadError, match="holds no study"):
        run_study(recipe, "mood", recipe.parent)
    with pytest.raises(PolyheadError, match="no task 'moods'"):
        run_study(recipe, "moods", tmp_path / "new")


def test_without_a_test_split_dev_is_scored_and_said(ask: Asked, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace('test = "ud-test.conllu"\n', ""))
    said: list[str] = []
    made = ask(ways=["fine-tuned"], sizes=[4], seeds=[1], tell=said.append)
    assert any("scored on dev" in one for one in said) and made.results[0].figures
    recipe.write_text(recipe.read_text().replace('dev = "ud-dev.conllu"\n', ""))
    with pytest.raises(PolyheadError, match="neither a test nor a dev split"):
        ask()


def test_processes_give_what_one_process_gives_and_a_kill_costs_little(recipe: Path, tmp_path: Path) -> None:
    """The command is killed as soon as two runs are finished, and given again."""
    studied = tmp_path / "study"
    command = [sys.executable, "-m", "polyhead", "study", str(recipe), "--target", "mood", "--output", str(studied)]
    command += ["--ways", "fine-tuned,from:entities", "--sizes", "4,all", "--seeds", "1", "--at-once", "2"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    results = studied / "results.jsonl"
    deadline = time.monotonic() + 300
    while not (results.exists() and len(results.read_text().splitlines()) >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = {path: path.stat().st_mtime_ns for path in studied.glob(f"runs/*/{FIGURES}")}
    assert len(done) >= 2
    time.sleep(2)  # its processes see that it is gone
    second = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "what was finished is left alone"
    found = {(line["way"], line["size"]): line["figures"] for line in map(json.loads, results.read_text().splitlines())}
    assert len(found) == 4 and "fine-tuned" in second.stdout
    torch.set_num_threads(1)
    for way in ("fine-tuned", "from:entities"):
        alone = _alone(recipe, tmp_path / way.replace(":", "-"), way)
        assert {key: found[key] for key in alone} == alone


def _alone(recipe: Path, folder: Path, way: str) -> dict[tuple[str, int], dict[str, float]]:
    """The same runs in this process."""
    with pytest.MonkeyPatch.context() as patch:

        @contextmanager
        def workers(on: str, count: int, threads: int) -> Iterator[Inline]:
            yield Inline()

        patch.setattr(module, "workers", workers)
        made = run_study(recipe, "mood", folder, ways=[way], sizes=[4], seeds=[1])
    return {(result.way, result.size): result.figures for result in made.results}
