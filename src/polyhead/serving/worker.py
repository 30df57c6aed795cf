"""The server's side of a model's process: start it, ask it, notice its death."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from polyhead.errors import PolyheadError
from polyhead.serving.questions import Answer, Group, Head
from polyhead.serving.work import work

END_SECONDS = 10.0
"""How long a process may take to end once it is told to."""


class WorkerEndedError(Exception):
    """A model's process ended before it answered."""


class Worker(Protocol):
    """A loaded model.

    Attributes:
        heads: What it answers.
        pid: Of its process.
    """

    heads: Sequence[Head]
    pid: int | None

    async def ask(self, groups: Sequence[Group]) -> list[list[Answer]]:
        """The answers for each question of each group.

        Raises:
            WorkerEndedError: The process ended meanwhile.
        """

    def kill(self) -> None:
        """End at once; whoever waits for an answer gets ``WorkerEndedError``."""

    async def close(self) -> None:
        """End after the answers that are under way."""


class ProcessWorker:
    """A model in a process of its own, which is asked one batch after the other.

    A thread waits for the answers, so that the event loop does not.
    """

    def __init__(self) -> None:
        self.heads: Sequence[Head] = ()
        self.pid: int | None = None
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._killed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="polyhead-model")

    @classmethod
    async def start(cls, place: str, threads: int | None) -> ProcessWorker:
        """Load and warm up a model.

        Args:
            place: What ``polyhead.load`` takes.
            threads: How many threads it computes with.

        Raises:
            PolyheadError: It cannot be loaded.
        """
        worker = cls()
        try:
            worker.heads = await worker._in_thread(worker._begin, place, threads)
        except BaseException as error:
            worker.kill()
            worker._thread.shutdown(wait=False)
            if isinstance(error, PolyheadError) or not isinstance(error, Exception):
                raise
            what = f"No process can be started for {place}: {type(error).__name__}: {error}."
            remedy = "See that the system has memory, processes and open files left."
            raise PolyheadError(what, remedy=remedy) from error
        return worker

    async def _in_thread(self, call: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *given)

    def _begin(self, place: str, threads: int | None) -> Sequence[Head]:
        context = multiprocessing.get_context("spawn")  # what a model's libraries have running survives no fork
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(place, threads, theirs), daemon=True, name=f"polyhead model {place}"
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid
        if self._killed:  # by who did not see it yet
            self._process.kill()
        try:
            said, found = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            what = f"The process that loads {place} ended (exit status {self._process.exitcode})."
            raise PolyheadError(what, remedy="See that there is memory for it.") from None
        if said == "failed":
            raise PolyheadError(**found)
        heads: Sequence[Head] = found
        return heads

    async def ask(self, groups: Sequence[Group]) -> list[list[Answer]]:
        """The answers for each question of each group."""
        answers: list[list[Answer]] = await self._in_thread(self._exchange, groups)
        return answers

    def _exchange(self, groups: Sequence[Group]) -> list[list[Answer]]:
        assert self._connection is not None
        try:
            self._connection.send(groups)
            answers: list[list[Answer]] = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerEndedError from error
        return answers

    def kill(self) -> None:
        """End at once."""
        self._killed = True
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    async def close(self) -> None:
        """End after the answers that are under way."""
        with suppress(RuntimeError):  # it is closed already
            await self._in_thread(self._end)
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        assert self._connection is not None and self._process is not None
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(END_SECONDS)
        self.kill()
        self._process.join(END_SECONDS)
        self._connection.close()
