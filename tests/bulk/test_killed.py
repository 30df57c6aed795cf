"""Bulk prediction that is killed, at any moment, goes on: each text is answered exactly once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psutil
import pytest

import killing
import polyhead
import polyhead.answering.annotator
from bulk.folders import answers_of, bulk, plainly, small_parts, texts, trained, write_inputs
from polyhead.bulk.jobs import How, Job
from polyhead.bulk.processes import ATTEMPTS, by_processes, device_of
from polyhead.errors import PolyheadError

pytestmark = pytest.mark.usefixtures("light", "parts")

WRITING = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.utime"}


@pytest.fixture(scope="module")
def parts() -> Iterator[None]:
    with small_parts():
        yield


@pytest.fixture(scope="module")
def run(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny_encoder, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.fixture(scope="module")
def expected(run: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return plainly(run, inputs, tmp_path_factory.mktemp("plain"))


def work(run: Path, inputs: Path, output: Path, moment: int | None, sender: Any) -> None:
    """Answer for a folder in this process, and be killed at one of the events that change the folder of answers."""
    import torch

    torch.set_num_threads(1)
    events = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal events
        if event not in WRITING or not str(args[0]).startswith(f"{output}/"):
            return
        if event == "open" and not set(str(args[1] or "")) & set("wax+"):
            return
        events += 1
        if events == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    with small_parts():
        bulk(run, inputs, output)
    sender.send(events)


def answered(context: ForkServerContext, *given: Any) -> int | None:
    """How many events there were; none if it was killed."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*given, sender))
    process.start()
    sender.close()
    try:
        return int(receiver.recv())
    except EOFError:
        return None
    finally:
        process.join()


def kill_at(
    moments: list[int], run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path, context: Any
) -> None:
    for moment in moments:
        output = tmp_path / str(moment)
        output.mkdir()
        assert answered(context, run, inputs, output, moment) is None, f"it was over before event {moment}"
        seen = {name: facts for name, facts in answers_of(output).items() if not name.startswith(".polyhead")}
        finished = {name: facts for name, facts in seen.items() if not name.endswith(".unfinished")}
        assert all(expected[name] == facts for name, facts in finished.items()), "what has its name is whole"
        assert answered(context, run, inputs, output, None)
        assert answers_of(output) == expected, f"after a kill at event {moment}"


def test_killed_at_some_moments(
    run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path, context: ForkServerContext
) -> None:
    (tmp_path / "whole").mkdir()
    events = answered(context, run, inputs, tmp_path / "whole", None)
    assert events is not None and events > 40
    kill_at([1, 2, 5, events // 3, events // 2, events - 8, events - 1], run, inputs, expected, tmp_path, context)


@pytest.mark.slow
def test_killed_at_every_moment(
    run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path, context: ForkServerContext
) -> None:
    (tmp_path / "whole").mkdir()
    events = answered(context, run, inputs, tmp_path / "whole", None)
    assert events is not None
    kill_at(list(range(1, events + 1)), run, inputs, expected, tmp_path, context)


def test_killed_again_and_again(run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """Each call is killed a little later into its work than the one before, until one ends by itself."""
    context = killing.spawner()
    (tmp_path / "out").mkdir()
    calls = 0
    while answered(context, run, inputs, tmp_path / "out", 25) is None:
        calls += 1
        assert calls < 40, "no call gets further than the one before"
    assert calls > 2 and answers_of(tmp_path / "out") == expected


def test_a_killed_worker_costs_its_part_alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of their own know nothing of small chunks, so here is a file that is big without."""
    monkeypatch.setattr(polyhead.answering.annotator, "CHUNK_TEXTS", 1024)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "big.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts(4500)), encoding="utf-8")
    (folder / "small.txt").write_text("\n".join(texts(20)), encoding="utf-8")
    killed: list[int] = []

    def watch(step: Any) -> None:
        if len(killed) < 2 and step.texts > 1000 * len(killed):
            child = multiprocessing.active_children()[0]
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            killed.append(child.pid)

    found = bulk(run, folder, tmp_path / "out", watch=watch, workers=2, chunks=1)
    assert len(killed) == 2 and not multiprocessing.active_children()
    assert (found.done, found.texts, found.failed) == (2, 4520, {})
    assert answers_of(tmp_path / "out") == plainly(run, folder, tmp_path / "plain")


def test_a_part_that_ends_its_workers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the worker that loads this model, as one whose memory is short."""
    spoilt = How(str(tmp_path))
    job = Job("a.txt", str(tmp_path / "a.txt"), {}, "jsonl", str(tmp_path / "a.jsonl"), str(tmp_path / "parts"))
    monkeypatch.setattr("polyhead.bulk.processes._work", die)
    (outcome,) = by_processes([job], spoilt, 1)
    assert outcome.killed and f"ended {ATTEMPTS} times from outside" in (outcome.error or "")


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_model_that_no_worker_can_load_is_told(tmp_path: Path) -> None:
    job = Job("a.txt", str(tmp_path / "a.txt"), {}, "jsonl", str(tmp_path / "a.jsonl"), str(tmp_path / "parts"))
    with pytest.raises(PolyheadError, match="There is no run"):
        list(by_processes([job], How(str(tmp_path / "none")), 1))
    assert not multiprocessing.active_children()


def test_ctrl_c_leaves_no_process_and_the_same_command_goes_on(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(60):  # many, so that the first is there long before the last
        (folder / f"{i}.txt").write_text("\n".join(texts(300)), encoding="utf-8")
    command = [sys.executable, "-m", "polyhead", "predict", str(run), str(folder), "-o", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen([*command, "--workers", "2"], stderr=pipe, env=environment, start_new_session=True)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out").glob("*.conllu")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().strip().endswith("Stopped. What is answered is kept: the same command goes on.")
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert not list((tmp_path / "out").rglob(".polyhead/parts/*"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.conllu")}
    assert 0 < len(before) < 60
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert f"{len(before)} file{'s' * (len(before) != 1)} had been answered before" in done.stderr.decode()
    assert len(list((tmp_path / "out").glob("*.conllu"))) == 60
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())


def test_each_gpu_has_its_workers() -> None:
    assert [device_of(number, 2) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device_of(3, 1) == device_of(3, 0) == "auto"
