"""Workers on a Ray cluster, by Ray Data: files are cut as they come, actors that hold the model answer the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from polyhead.bulk.jobs import How, Job, Outcome, parts_of
from polyhead.bulk.processes import ATTEMPTS, killed
from polyhead.bulk.work import Answerer, cut_file, failed
from polyhead.errors import PolyheadError
from polyhead.processes import need_ray, start_ray

Row = dict[str, str]
"""A row of Ray's tables: what to do, or what came of it, as JSON; the other one is empty."""


def by_ray(jobs: Sequence[Job], how: How, count: int | None) -> Iterator[Outcome]:
    """Do jobs on a Ray cluster: the one that ``RAY_ADDRESS`` names, or else one on this machine.

    polyhead must be installed on all its machines, and the model and both folders be at the same paths there. Where the
    cluster has GPUs, each worker takes one. What a worker had begun that is killed is done by another.

    Args:
        jobs: What to do first.
        how: How texts are answered.
        count: The most workers; by default as many as the cluster has room for.

    Raises:
        PolyheadError: Ray is not installed, or there is no cluster at the address.
    """
    with _cluster() as ray:
        threads = how.threads or 1
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        room = gpus or max(1, int(has.get("CPU", 1)) // threads)
        rows = [{"job": job.to_json(), "outcome": ""} for job in jobs]
        with _block_for_each_row(ray):
            data = ray.data.from_items(rows, override_num_blocks=len(rows))
            data = data.flat_map(_Cutter(how.chunks).__call__, num_cpus=0)
            data = data.map_batches(
                _Actor,
                fn_constructor_args=(how.to_json(),),
                batch_size=1,
                concurrency=min(room, count or room),
                num_cpus=0 if gpus else threads,
                num_gpus=1 if gpus else 0,
            )
            for row in data.iter_rows():
                yield Outcome.from_json(row["outcome"])


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray with its module for data, joined or begun for the time of a block."""
    ray = need_ray()
    try:
        import_module("ray.data")
    except ImportError as error:
        raise PolyheadError("--on ray needs Ray Data.", remedy="Install it: pip install 'polyhead[ray]'") from error
    began = not ray.is_initialized()
    if began:
        start_ray(ray)
    try:
        yield ray
    finally:
        if began:
            ray.shutdown()


@contextmanager
def _block_for_each_row(ray: Any) -> Iterator[None]:
    """Each row travels alone, so that the parts of one file are shared among all workers. No bars but our own."""
    context = ray.data.DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = 1, False
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before


class _Cutter:
    """Puts the parts of a file in the place of the job that cuts it; what is no such job passes."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, row: Row) -> list[Row]:
        job = Job.from_json(row["job"])
        if not job.cut:
            return [row]
        try:
            outcome = cut_file(job, self.most)
        except PolyheadError as error:
            outcome = failed(job, error)
        rows = [{"job": "", "outcome": outcome.to_json()}]
        return rows + [{"job": part.to_json(), "outcome": ""} for part in parts_of(outcome)]


class _Actor:
    """A worker of the cluster, with its model."""

    def __init__(self, how: str) -> None:
        self.answerer = Answerer(How.from_json(how))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        pairs = zip(batch["job"], batch["outcome"], strict=True)
        done = [str(outcome) or self._do(Job.from_json(str(job))).to_json() for job, outcome in pairs]
        return {"job": [""] * len(done), "outcome": done}

    def _do(self, job: Job) -> Outcome:
        """Do a job, unless it has ended its worker again and again."""
        tried = Path(job.parts) / f"{job.number}.tried"
        tried.parent.mkdir(parents=True, exist_ok=True)
        with tried.open("ab") as stream:  # whichever machine begins it: Ray itself would never cease
            stream.write(b".")
            attempts = stream.tell()
        outcome = self.answerer(job) if attempts <= ATTEMPTS else killed(job)
        tried.unlink(missing_ok=True)
        with suppress(OSError):  # parts wait there
            tried.parent.rmdir()
        return outcome
