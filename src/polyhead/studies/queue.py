"""The runs of a study, several at a time, each when those that it begins from are finished."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from polyhead.processes import deaf_children, die_with, need_ray, start_ray
from polyhead.studies.learn import Order, learn
from polyhead.studies.ways import Lesson

Outcome = dict[str, Any]
"""What :func:`polyhead.studies.learn.learn` returns."""

ATTEMPTS = 2
"""How often a run is tried whose process is ended from outside, as a system does that is out of memory."""


class Workers(Protocol):
    """Where runs are computed.

    Attributes:
        room: The most runs at a time.
    """

    room: int

    def submit(self, order: Order) -> Future[Outcome]:
        """Begin a run as soon as there is room."""

    def close(self, *, now: bool) -> None:
        """End; with ``now`` without waiting for runs that have begun, which can be gone on with."""


class LocalWorkers:
    """Processes on this machine.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.room = count
        self.pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        return ProcessPoolExecutor(self.room, mp_context=context, initializer=die_with, initargs=(os.getpid(),))

    def submit(self, order: Order) -> Future[Outcome]:
        """Begin a run as soon as a process is free."""
        with deaf_children():
            try:
                return self.pool.submit(learn, order)
            except BrokenProcessPool:
                self.pool.shutdown(wait=False)
                self.pool = self._new()
                return self.pool.submit(learn, order)

    def close(self, *, now: bool) -> None:
        """End the processes."""
        if now:
            for process in list((self.pool._processes or {}).values()):
                process.terminate()
        self.pool.shutdown(wait=not now, cancel_futures=True)


class RayWorkers:
    """A Ray cluster: the one that ``RAY_ADDRESS`` names, or else one on this machine.

    polyhead must be installed on all its machines, and the study's folder and the data be at the same paths there.
    Where the cluster has GPUs, each run takes one.

    Args:
        threads: How many processors a run takes.
        count: The most runs at a time; by default as many as the cluster has room for.

    Raises:
        PolyheadError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, threads: int, count: int | None = None) -> None:
        self.ray = ray = need_ray()
        self.began = not ray.is_initialized()
        if self.began:
            start_ray(ray)
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        self.room = max(1, int(has.get("CPU", 1)) // threads)
        if gpus:
            self.room = min(self.room, gpus)
        if count:
            self.room = min(self.room, count)
        # A run that is sent again goes on at its last checkpoint; who sends it again is the queue, as with processes.
        settings = {"num_cpus": threads, "num_gpus": 1 if gpus else 0, "max_retries": 0}
        self.learn = ray.remote(**settings)(learn)
        self.running: list[Any] = []

    def submit(self, order: Order) -> Future[Outcome]:
        """Begin a run as soon as there are processors for it."""
        asked = self.learn.remote(order)
        self.running.append(asked)
        future: Future[Outcome] = Future()

        def pass_on(inner: Future[Outcome]) -> None:
            error = inner.exception()
            if error is None:
                future.set_result(inner.result())
            elif isinstance(error, self.ray.exceptions.RayTaskError):
                future.set_exception(error)
            else:  # its process or its machine is gone
                future.set_exception(BrokenProcessPool(str(error)))

        asked.future().add_done_callback(pass_on)
        return future

    def close(self, *, now: bool) -> None:
        """End what was begun here; a cluster that was there before stays."""
        if now:
            for asked in self.running:
                with suppress(Exception):  # it is finished, or gone with its machine
                    self.ray.cancel(asked, force=True)
        if self.began:
            self.ray.shutdown()


@contextmanager
def workers(on: str, count: int | None, threads: int) -> Iterator[Workers]:
    """Where runs are computed, for the time of a block; an error or Ctrl-C ends what runs.

    Args:
        on: ``local`` or ``ray``.
        count: How many at a time; by default as many as there are processors for.
        threads: How many each computes with.
    """
    here: Workers
    if on == "ray":
        here = RayWorkers(threads, count)
    else:
        here = LocalWorkers(count or max(1, (os.cpu_count() or 1) // threads))
    try:
        yield here
    except BaseException:
        here.close(now=True)
        raise
    here.close(now=False)


def run_all(
    lessons: Sequence[Lesson],
    order_of: Callable[[Lesson], Order],
    here: Workers,
    done: Callable[[Lesson, Outcome], object],
    finished: Mapping[str, Outcome],
) -> None:
    """Learn all lessons, those that others begin from before these.

    Args:
        lessons: Without repetition, with all that they begin from and that is not finished.
        order_of: What to ask for.
        here: Where they are computed.
        done: Called with each lesson and its outcome; a lesson whose ``before`` failed has its error.
        finished: What earlier lessons said, by their keys.
    """
    waiting = {lesson.key: lesson for lesson in lessons}
    outcomes = dict(finished)
    running: dict[Future[Outcome], Lesson] = {}
    attempts: Counter[str] = Counter()

    def end(lesson: Lesson, outcome: Outcome) -> None:
        outcomes[lesson.key] = outcome
        done(lesson, outcome)

    while waiting or running:
        for key, lesson in list(waiting.items()):
            failed = _failed(lesson, outcomes)
            if failed is not None:
                end(waiting.pop(key), {"error": failed})
            elif len(running) < here.room and (lesson.before is None or lesson.before.key in outcomes):
                attempts[key] += 1
                running[here.submit(order_of(waiting.pop(key)))] = lesson
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            lesson = running.pop(future)
            try:
                end(lesson, future.result())
            except BrokenProcessPool:
                if attempts[lesson.key] < ATTEMPTS:
                    waiting[lesson.key] = lesson
                else:
                    end(lesson, {"error": f"Its process was ended {ATTEMPTS} times from outside; is memory short?"})


def _failed(lesson: Lesson, outcomes: Mapping[str, Outcome]) -> str | None:
    """Why a lesson cannot be learnt, if the one before it failed."""
    before = lesson.before
    if before is None or "error" not in outcomes.get(before.key, {}):
        return None
    return f"It begins from {before.name}, which failed: {outcomes[before.key]['error']}"
