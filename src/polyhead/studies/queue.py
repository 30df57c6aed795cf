"""The runs of a study, several at a time, each when those that it begins from are finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from polyhead.errors import PolyheadError
from polyhead.studies.learn import Order, learn
from polyhead.studies.ways import Lesson

Outcome = dict[str, Any]
"""What :func:`polyhead.studies.learn.learn` returns."""

ATTEMPTS = 2
"""How often a run is tried whose process is ended from outside, as a system does that is out of memory."""

WATCH_SECONDS = 1.0
"""How often a process looks whether the one that began it is still there."""


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
        return ProcessPoolExecutor(self.room, mp_context=context, initializer=_die_with, initargs=(os.getpid(),))

    def submit(self, order: Order) -> Future[Outcome]:
        """Begin a run as soon as a process is free."""
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

    The study's folder and the data must be at the same paths on all its machines.

    Args:
        threads: How many processors a run takes.

    Raises:
        PolyheadError: Ray is not installed.
    """

    def __init__(self, threads: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise PolyheadError("--on ray needs ray.", remedy="Install it: pip install 'polyhead[ray]'") from error
        self.ray = ray
        self.began = not ray.is_initialized()
        if self.began:
            ray.init(log_to_driver=False, include_dashboard=False)
        self.room = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        self.learn = ray.remote(num_cpus=threads, max_retries=ATTEMPTS - 1)(learn)

    def submit(self, order: Order) -> Future[Outcome]:
        """Begin a run as soon as there are processors for it."""
        future: Future[Outcome] = self.learn.remote(order).future()
        return future

    def close(self, *, now: bool) -> None:  # noqa: ARG002 - what ends here ends at once
        """End what was begun here."""
        if self.began:
            self.ray.shutdown()


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: else it would hold a run that the next call wants to go on with."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)  # which ends it at once, whatever its main thread computes

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def workers(on: str, count: int, threads: int) -> Iterator[Workers]:
    """Where runs are computed, for the time of a block; an error or Ctrl-C ends what runs."""
    here: Workers = RayWorkers(threads) if on == "ray" else LocalWorkers(count)
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
