"""Workers on this machine: this process itself, or several of which any may be killed."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from polyhead.bulk.jobs import How, Job, Outcome, parts_of
from polyhead.bulk.work import Answerer
from polyhead.errors import PolyheadError
from polyhead.processes import deaf_children, die_with

ATTEMPTS = 3
"""How often a part is begun whose worker is ended from outside, as a system does that is out of memory."""

FAREWELL_SECONDS = 5.0
"""How long a worker that has nothing left to do may take to end."""


def here(jobs: Sequence[Job], answerer: Answerer) -> Iterator[Outcome]:
    """Do jobs in this process, and those that come of them: the parts of files that are cut.

    Args:
        jobs: What to do first.
        answerer: Does them.
    """
    waiting = deque(jobs)
    while waiting:
        outcome = answerer(waiting.popleft())
        waiting.extendleft(reversed(parts_of(outcome)))
        yield outcome


def by_processes(jobs: Sequence[Job], how: How, count: int) -> Iterator[Outcome]:
    """The same in several processes; what a process had begun that is killed is done by another.

    Args:
        jobs: What to do first.
        how: How texts are answered.
        count: The number of processes; there are no more than jobs.

    Raises:
        PolyheadError: The model cannot be loaded.
    """
    if not any(job.cut for job in jobs):  # of which others come
        count = min(count, len(jobs))
    waiting = deque(jobs)
    attempts: Counter[tuple[str, int, bool]] = Counter()
    with _pool(how, count) as pool:
        while waiting or pool.busy:
            while waiting and pool.idle:
                pool.give(waiting.popleft())
            for job, outcome in pool.take():
                if outcome is None:
                    attempts[job.key] += 1
                    if attempts[job.key] < ATTEMPTS:
                        waiting.appendleft(job)
                        continue
                    outcome = killed(job)
                waiting.extendleft(reversed(parts_of(outcome)))
                yield outcome


def killed(job: Job) -> Outcome:
    """What came of a job whose worker was ended again and again."""
    what = f"{job.source}: a worker was ended {ATTEMPTS} times from outside while it read this file; is memory short?"
    return Outcome(job, error=f"{what}\n  Take fewer --workers.", killed=True)


@dataclass
class _Hand:
    """A process and the way to it.

    Attributes:
        process: The process.
        line: What jobs and outcomes are sent over.
        number: Which of the processes it is, from 0.
        job: What it has been given to do.
        ready: Whether it has done something, so that its model is loaded.
    """

    process: BaseProcess
    line: Connection
    number: int
    job: Job | None = None
    ready: bool = False


class _Pool:
    """Processes that each do a job at a time."""

    def __init__(self, how: How, count: int) -> None:
        self.how = how
        self.context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.hands = [self._begin(number) for number in range(count)]
        self.stillborn = 0

    def _begin(self, number: int) -> _Hand:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.how, os.getpid(), number), daemon=True)
        with deaf_children():
            process.start()
        theirs.close()
        return _Hand(process, ours, number)

    @property
    def busy(self) -> list[_Hand]:
        return [hand for hand in self.hands if hand.job is not None]

    @property
    def idle(self) -> list[_Hand]:
        return [hand for hand in self.hands if hand.job is None]

    def give(self, job: Job) -> None:
        """Let an idle process do a job."""
        hand = self.idle[0]
        hand.job = job
        with suppress(BrokenPipeError, ConnectionResetError):  # it is gone, which taking will find
            hand.line.send(job)

    def take(self) -> list[tuple[Job, Outcome | None]]:
        """Wait for outcomes; None is one of a process that was killed, in whose place another begins."""
        found: list[tuple[Job, Outcome | None]] = []
        lines = {hand.line: hand for hand in self.busy}
        for line in wait(list(lines)):
            assert isinstance(line, Connection)
            hand = lines[line]
            job, hand.job = hand.job, None
            assert job is not None
            try:
                said: Any = line.recv()
            except (EOFError, ConnectionResetError):
                self._replace(hand)
                found.append((job, None))
                continue
            if isinstance(said, str):
                raise RuntimeError(f"a worker failed:\n{said}")
            if isinstance(said, PolyheadError):
                raise said
            hand.ready = True
            found.append((job, said))
        return found

    def _replace(self, hand: _Hand) -> None:
        hand.process.join()
        hand.line.close()
        self.stillborn += not hand.ready
        if self.stillborn > ATTEMPTS * len(self.hands):
            what = f"Workers end before they have loaded the model (exit status {hand.process.exitcode})."
            raise PolyheadError(what, remedy="Is memory short? Take fewer --workers.")
        self.hands[self.hands.index(hand)] = self._begin(hand.number)

    def close(self, *, now: bool) -> None:
        """End the processes; with ``now`` in the middle of what they do."""
        for hand in self.hands:
            if now:
                hand.process.terminate()
            hand.line.close()
        for hand in self.hands:
            hand.process.join(FAREWELL_SECONDS)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()


@contextmanager
def _pool(how: How, count: int) -> Iterator[_Pool]:
    pool = _Pool(how, count)
    try:
        yield pool
    except BaseException:
        pool.close(now=True)
        raise
    pool.close(now=False)


def device_of(number: int, gpus: int) -> str:
    """Where one of several workers of a machine computes: with several GPUs each has its own, in turn."""
    return f"cuda:{number % gpus}" if gpus > 1 else "auto"


def _work(line: Connection, how: How, parent: int, number: int) -> None:
    """What a process does: a job after the other, until there is no more."""
    die_with(parent)
    try:
        import torch

        answerer = Answerer(how, device=device_of(number, torch.cuda.device_count()))
        while True:
            line.send(answerer(line.recv()))
    except EOFError:
        return
    except PolyheadError as error:
        line.send(error)
    except BaseException:
        with suppress(OSError):
            line.send(traceback.format_exc())
