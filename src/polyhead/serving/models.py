"""The models of a server: each has its line, its batches and its process, which a new version replaces unnoticed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from polyhead.errors import PolyheadError, nearest
from polyhead.serving.faults import SHOWN, RequestError, busy
from polyhead.serving.metrics import Metrics
from polyhead.serving.questions import Answer, Failure, Head, Question, Wish
from polyhead.serving.settings import Settings
from polyhead.serving.tickets import Asked, Line, Ticket
from polyhead.serving.work import groups_of
from polyhead.serving.worker import ProcessWorker, Worker, WorkerEndedError

Start = Callable[[str, int | None], Awaitable[Worker]]
"""Loads a model: where it is, and with how many threads it computes."""

logger = logging.getLogger("polyhead.serving")

DEATHS = 2
"""How many processes a text may take with it before it is given up: another text, or the system, may be guilty."""

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each further try to start a process that died."""

SLICE = 0.001
"""Seconds between two looks whether further requests came."""


class Model:
    """A model that is served.

    Args:
        name: What it is called.
        place: Where it is: what ``polyhead.load`` takes.
        settings: What it may take.
        metrics: Where its work is counted.
        turn: Held by whichever model computes, so that several do not slow each other down.
        start: How a process for it is started.

    Attributes:
        worker: The process that answers.
        version: How often it was loaded.
        loaded: When, in UTC.
        error: Why the last attempt to load it failed; empty if it did not.
        line: Who waits.
    """

    def __init__(
        self, name: str, place: str, settings: Settings, metrics: Metrics, turn: asyncio.Lock, start: Start
    ) -> None:
        self.name, self.place, self.settings, self.metrics = name, place, settings, metrics
        self.worker: Worker
        self.version = 0
        self.loaded = self.error = ""
        self.line = Line()
        self._turn, self._start = turn, start
        self._alive = asyncio.Event()
        self._loading = asyncio.Lock()
        self._asked: Worker | None = None  # who has a batch
        self._together = 0  # requests in the last batch
        self._rate = 10_000.0  # characters a second
        self._run: asyncio.Task[None] | None = None
        self._ended = False
        self._coming: set[asyncio.Task[None]] = set()  # processes that are started
        self._going: set[asyncio.Task[None]] = set()  # and those that others have replaced

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self._alive.is_set()

    @property
    def heads(self) -> Sequence[Head]:
        """What its present version answers."""
        return self.worker.heads

    async def begin(self) -> None:
        """Load it, and begin to answer.

        Raises:
            PolyheadError: It cannot be loaded.
        """
        await self._load()
        self._run = asyncio.create_task(self._answer_line())

    async def _load(self) -> None:
        try:
            worker = await self._start(self.place, self.settings.threads)
        except Exception as error:
            self.metrics.loads.labels(self.name, "failed").inc()
            self.error = str(error) or type(error).__name__
            raise
        self.worker = worker
        self.version += 1
        self.loaded, self.error = datetime.now(UTC).isoformat(timespec="seconds"), ""
        self.metrics.loads.labels(self.name, "loaded").inc()
        self._alive.set()

    async def reload(self) -> None:
        """Load what now is at its place beside the present version, and go over to it between two batches.

        Raises:
            PolyheadError: It cannot be loaded, and the present version goes on; or the server stops.
        """
        if self._ended:
            raise PolyheadError(f"{self.name} is not loaded anew: the server stops.", remedy="Start it again.")
        await _started(self._renew(), self._coming)

    async def _renew(self) -> None:
        async with self._loading:
            before = self.worker
            await self._load()
            _started(before.close(), self._going)  # after the batch that it may be at

    async def end(self) -> None:
        """End its process, and those that are started to take its place: they may take long, or never come."""
        self._ended = True
        tasks = [*self._coming, self._run] if self._run is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._asked is not None:  # whoever waited for it is gone
            self._asked.kill()
        await asyncio.gather(*self._going, return_exceptions=True)
        if self._run is not None:
            await self.worker.close()

    # --- requests ---

    def let_in(self, wish: Wish, questions: Sequence[Question], *, admitted: bool = False) -> Ticket:
        """Join the line.

        Args:
            wish: How the questions are to be answered.
            questions: In their order.
            admitted: Whether the request was let in before, and this is more of it.

        Raises:
            RequestError: There is no room, or no such task.
        """
        known = [head.task for head in self.heads]
        for task in wish.tasks or ():
            if task not in known:
                shown = task[:SHOWN]  # beyond that a search for the nearest would hold up the event loop
                raise RequestError(422, "unknown_task", f"The model has no task {shown!r}.", nearest(shown, known))
        if not admitted and not self.ready and self.error:  # else it is there again in seconds
            self.metrics.rejected.labels("restarting").inc()
            raise busy("The model cannot be started again at present.", 5, "restarting")
        full = len(self.line) >= self.settings.queue or self.line.characters >= self.settings.queue_characters
        if full and not admitted:
            self.metrics.rejected.labels("full").inc()
            raise busy("Too many requests wait for this model.", self.line.characters / self._rate)
        ticket = Ticket.of(wish, questions)
        self.line.put(ticket)
        return ticket

    # --- batches ---

    async def _answer_line(self) -> None:
        while True:
            await self.line.some()
            await self._alive.wait()
            await self._gather()
            async with self._turn:
                batch = self.line.take(self.settings.batch_characters, self.settings.batch_texts)
                retry = await self._answer(batch) if batch else []
            for asked in retry:
                await self._alive.wait()
                async with self._turn:
                    while not asked.ticket.dropped and await self._answer([asked]):
                        await self._alive.wait()

    async def _gather(self) -> None:
        """Wait a moment for those that were answered together and may ask again, but only while more keep coming."""
        end = time.monotonic() + self.settings.wait_seconds
        seen = 0
        while seen < len(self.line) < self._together and time.monotonic() < end:
            if self.line.characters >= self.settings.batch_characters:
                return
            seen = len(self.line)
            await asyncio.sleep(SLICE)

    async def _answer(self, batch: Sequence[Asked]) -> list[Asked]:
        """Answer a batch; returns what must be asked again because the process died."""
        worker, version = self.worker, self.version
        now = time.monotonic()
        tickets = {id(asked.ticket): asked.ticket for asked in batch}
        for ticket in tickets.values():
            self.metrics.wait_seconds.labels(self.name).observe(now - ticket.since)
        self._together = len(tickets)
        groups, places = groups_of([(asked.ticket.wish, asked.question) for asked in batch])
        try:
            self._asked = worker  # and still so if this is cancelled
            async with asyncio.timeout(self.settings.seconds):
                answers = await worker.ask(groups)
            self._asked = None
            if [len(one) for one in answers] != [len(questions) for _, questions in groups]:
                raise ValueError("an answer for each question was expected")
        except (WorkerEndedError, TimeoutError) as error:
            await self._replace(worker, late=isinstance(error, TimeoutError))
            return self._deaths(batch)
        except Exception as error:  # whatever it is, the next batch must go on
            logger.error("a batch of %s failed: %s", self.name, type(error).__name__)
            answers = [[Failure(False, "The model failed on this text.")] * len(questions) for _, questions in groups]
        for ticket in tickets.values():
            ticket.version = version
        self._count(batch, time.monotonic() - now)
        for asked, (group, place) in zip(batch, places, strict=True):
            self._put(asked, answers[group][place])
        return []

    def _count(self, batch: Sequence[Asked], seconds: float) -> None:
        characters = sum(asked.question.cost for asked in batch)
        self.metrics.batch_texts.labels(self.name).observe(len(batch))
        self.metrics.batch_seconds.labels(self.name).observe(seconds)
        self.metrics.texts.labels(self.name).inc(len(batch))
        self.metrics.characters.labels(self.name).inc(characters)
        self._rate += 0.1 * (characters / max(seconds, 1e-6) - self._rate)

    def _put(self, asked: Asked, answer: Answer) -> None:
        if isinstance(answer, Failure) and not answer.refused:
            self.metrics.failures.labels(self.name).inc()
            said = f": {answer.said}" if self.settings.log == "texts" else ""
            logger.error(
                "%s failed on a text of %d characters: %s%s", self.name, asked.question.cost, answer.trace, said
            )
        asked.ticket.put(asked.place, answer)

    def _deaths(self, batch: Sequence[Asked]) -> list[Asked]:
        """What of a batch whose process died is asked again, each question alone."""
        again = []
        for asked in batch:
            asked.deaths += 1
            if asked.deaths < DEATHS:
                again.append(asked)
            else:
                trace = f"{asked.deaths} processes of the model ended over it, or took too long"
                self._put(
                    asked, Failure(False, "The model failed on this text.", "Shorten it, or leave it out.", trace)
                )
        return again

    async def _replace(self, dead: Worker, *, late: bool) -> None:
        """Start a process in the place of one that died or hangs; goes on trying in the background."""
        dead.kill()
        self._alive.clear()
        self.metrics.deaths.labels(self.name).inc()
        logger.error("the process of %s %s; it is started again", self.name, "took too long" if late else "ended")
        _started(self._revive(dead), self._coming)

    async def _revive(self, dead: Worker) -> None:
        await dead.close()
        async with self._loading:
            tries = 0
            while self.worker is dead:
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
                try:
                    await self._load()
                except Exception as error:  # whatever it is, the system may have room for it later
                    logger.error("%s cannot be started again: %s", self.name, error)
            self._alive.set()


def _started(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """A task that is one of some until it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


class Models:
    """All models of a server.

    Args:
        places: By name; the first is asked where a request names none.
        settings: What each may take.
        metrics: Where their work is counted.
        start: How a process for a model is started.
    """

    def __init__(
        self, places: Mapping[str, str], settings: Settings, metrics: Metrics, start: Start = ProcessWorker.start
    ) -> None:
        turn = asyncio.Lock()
        self._models = {name: Model(name, place, settings, metrics, turn, start) for name, place in places.items()}
        self.draining = False
        metrics.watch(self)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> Model:
        """A model by its name.

        Raises:
            RequestError: There is none of this name.
        """
        if name not in self._models:
            shown = name[:SHOWN]
            raise RequestError(404, "unknown_model", f"There is no model {shown!r}.", nearest(shown, self._models))
        return self._models[name]

    @property
    def first(self) -> Model:
        """The model that is asked where a request names none."""
        return next(iter(self))

    @property
    def ready(self) -> bool:
        """Whether all of them can answer, and the server is not about to stop."""
        return not self.draining and all(model.ready for model in self)

    async def begin(self) -> None:
        """Load all of them, one after the other.

        Raises:
            PolyheadError: One cannot be loaded.
        """
        for model in self:
            await model.begin()

    async def reload(self) -> None:
        """Load a new version of each; what cannot be loaded goes on as it is, and the log says why."""
        for model in self:
            try:
                await model.reload()
            except Exception as error:  # the others are loaded nevertheless
                logger.error("%s was not loaded anew, and goes on as it is: %s", model.name, error)
            else:
                logger.warning("%s is now at version %d", model.name, model.version)

    async def end(self) -> None:
        """End their processes."""
        for model in self:
            await model.end()
