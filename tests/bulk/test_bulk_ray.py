"""Bulk prediction on a Ray cluster on this machine: the same answers, and a killed worker costs what it had begun."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import polyhead
import polyhead.bulk.following
import runs
from bulk.folders import answers_of, bulk, plainly, texts, trained
from polyhead.bulk.jobs import How, Job
from polyhead.bulk.processes import ATTEMPTS
from polyhead.bulk.ray_data import _Actor
from polyhead.errors import PolyheadError
from polyhead.processes import start_ray

pytestmark = pytest.mark.usefixtures("light")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster for all tests of this file, as one that was there before."""
    found = pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("ray.data", reason="Ray Data is not installed")
    try:
        start_ray(found)
    except PolyheadError as error:
        if "timed out during startup" in str(error):  # ray's own limit, too short where much else runs
            pytest.skip(str(error))
        raise
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def run(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny_encoder, tmp_path_factory.mktemp("data"))


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A big file of six parts, two small ones, and one with a fault."""
    monkeypatch.setattr(polyhead.bulk.following, "SMALL", 10_000)
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "big.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts(6000)), encoding="utf-8")
    (folder / "more" / "a.txt").write_text("\n".join(texts(20)), encoding="utf-8")
    runs.write_conllu(folder / "more" / "b.conllu", list(range(8)))
    return folder


def test_a_cluster_gives_what_plain_prediction_gives(ray: Any, run: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "bad.jsonl").write_text('{"text": "good"}\n{\n', encoding="utf-8")
    found = bulk(run, inputs, tmp_path / "out", on="ray", workers=2, chunks=1)
    assert (found.done, found.texts) == (3, 6028) and list(found.failed) == ["bad.jsonl"]
    assert f"{inputs / 'bad.jsonl'}:2: not JSON" in found.failed["bad.jsonl"]
    (inputs / "bad.jsonl").unlink()
    assert answers_of(tmp_path / "out") == plainly(run, inputs, tmp_path / "plain")
    assert ray.is_initialized(), "a cluster that was there before stays"


def test_a_killed_worker_costs_what_it_had_begun(ray: Any, run: Path, inputs: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def watch(step: Any) -> None:
        if len(killed) < 2 and step.texts > 1000 * len(killed):
            workers = [one for one in psutil.Process().children(recursive=True) if _holds_a_model(one)]
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.append(workers[0].pid)

    found = bulk(run, inputs, tmp_path / "out", on="ray", workers=2, chunks=1, watch=watch)
    assert len(killed) == 2 and (found.done, found.failed) == (3, {})
    assert answers_of(tmp_path / "out") == plainly(run, inputs, tmp_path / "plain")


def _holds_a_model(process: psutil.Process) -> bool:
    try:
        return "MapWorker" in " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return False


def test_a_part_that_ends_its_workers_is_given_up(run: Path, tmp_path: Path) -> None:
    """The number of attempts is kept on disk, for Ray begins another worker each time."""
    job = Job("a.txt", str(tmp_path / "a.txt"), {}, "jsonl", str(tmp_path / "a.jsonl"), str(tmp_path / "parts"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.tried").write_bytes(b"." * ATTEMPTS)
    outcome = _Actor(How(str(run), precision="fp32").to_json())._do(job)
    assert outcome.killed and not (tmp_path / "parts").exists()
