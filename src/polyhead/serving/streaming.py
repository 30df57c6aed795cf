"""Answers line by line, in order, while further questions come: in bounded memory, whatever the length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from polyhead.serving.asking import LARGE, chunks, read_part
from polyhead.serving.faults import RequestError, failed, plain
from polyhead.serving.models import Model
from polyhead.serving.questions import Failure, Question, Wish
from polyhead.serving.settings import Settings
from polyhead.serving.tickets import Ticket

NDJSON = "application/x-ndjson"

PART = 64
"""The most texts that join the line at once."""

ESCAPED = 32
"""The most bytes of a line for each character that a text may have: two texts, each sign escaped as two halves."""

AHEAD = 2
"""How many such parts wait for a reader, beside the one that is written."""

Numbered: TypeAlias = tuple[int, Question | RequestError]
"""A line, from 1, and its question or what is wrong with it."""


@dataclass(slots=True)
class Lot:
    """Some lines of a stream: the faults of those that cannot be read, by their line, and a ticket for the others."""

    numbers: Sequence[int]
    faults: dict[int, RequestError]
    ticket: Ticket

    def lines(self) -> bytes:
        """The answers, one on each line."""
        out, answers = [], iter(self.ticket.answers)
        for number in self.numbers:
            answer = self.faults[number] if number in self.faults else next(answers)
            if isinstance(answer, Failure):
                answer = failed(answer, number)
            out.append(answer.to_bytes() if isinstance(answer, RequestError) else answer or plain(500).to_bytes())
        return b"\n".join([*out, b""])


class Lines(Response):
    """A response of lines.

    Args:
        model: Which answers.
        wish: How.
        source: The questions with their lines, or what is wrong with a line in its place, in lots as they come.
        settings: How long a client may keep silent, or not read.
        unread: Whether the questions are still to be read from the body, where the client's end is noticed, too.
    """

    def __init__(
        self,
        model: Model,
        wish: Wish,
        source: AsyncIterator[Sequence[Numbered]],
        settings: Settings,
        *,
        unread: bool,
    ) -> None:
        super().__init__(media_type=NDJSON, headers={"Cache-Control": "no-store", "Connection": "close"})
        del self.headers["content-length"]
        self.model, self.wish, self.source, self.settings = model, wish, source, settings
        self.unread = unread
        self.lots: asyncio.Queue[Lot | RequestError | None] = asyncio.Queue(AHEAD)
        self.open: set[Ticket] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, answer and write until there is no more, or one of the two sides stops."""
        writing = asyncio.create_task(self._write(scope, send))
        reading = asyncio.create_task(self._read(receive))
        tasks = {writing, reading if self.unread else asyncio.create_task(disconnected(receive))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # all is written, or the client is gone
        finally:
            tasks.add(reading)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for ticket in self.open:
                self.model.line.drop(ticket)
        if not writing.cancelled():
            writing.result()

    async def _write(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            while (lot := await self.lots.get()) is not None:
                body = lot.to_bytes() + b"\n" if isinstance(lot, RequestError) else await self._answered(lot)
                async with asyncio.timeout(self.settings.idle_seconds):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:  # the client does not read
            scope.get("extensions", {}).get("polyhead.abort", lambda: None)()

    async def _read(self, receive: Receive) -> None:
        try:
            async for some in self.source:
                for start in range(0, len(some), PART):
                    await self.lots.put(self._lot(some[start : start + PART]))
        except RequestError as fault:
            await self.lots.put(fault)
        except ClientDisconnect:
            return
        await self.lots.put(None)
        if self.unread:
            await disconnected(receive)

    def _lot(self, part: Sequence[Numbered]) -> Lot:
        faults = {number: one for number, one in part if isinstance(one, RequestError)}
        for number, fault in faults.items():
            fault.line = number
        questions = [one for _, one in part if isinstance(one, Question)]
        numbers = [number for number, _ in part]
        try:
            ticket = self.model.let_in(self.wish, questions, admitted=True)
        except RequestError as fault:  # a new version has no such task
            fault.line = numbers[0]
            raise
        self.open.add(ticket)
        return Lot(numbers, faults, ticket)

    async def _answered(self, lot: Lot) -> bytes:
        try:
            async with asyncio.timeout(self.settings.seconds):
                await asyncio.shield(lot.ticket.done)
        except TimeoutError:
            self.model.line.drop(lot.ticket)
            late = Failure(False, "There was no answer in time.", "Ask for it again.")
            for place in range(len(lot.ticket.answers)):
                lot.ticket.put(place, late)
        self.open.discard(lot.ticket)
        return lot.lines()


async def disconnected(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def lines_of(receive: Receive, settings: Settings) -> AsyncIterator[Sequence[Numbered]]:
    """The questions on the lines of a body, as they come; empty lines are counted and left out.

    Raises:
        RequestError: A line is too long, or the client too slow.
        ClientDisconnect: The client went away.
    """
    rest = bytearray()
    number = 1
    longest = min(settings.body_bytes, ESCAPED * settings.text_characters)
    try:
        async for chunk in chunks(receive, settings, 0):
            head, end, tail = chunk.rpartition(b"\n")
            if end:
                whole = bytes(rest) + head
                yield await _read_lines(whole, number, settings)
                number += whole.count(b"\n") + 1
                rest = bytearray(tail)
            else:
                rest += chunk
            if len(rest) > longest:
                raise RequestError(413, "too_large", f"A line has more than {longest:,} bytes.", "Send shorter texts.")
    except RequestError as fault:
        fault.line = number
        raise
    yield await _read_lines(bytes(rest), number, settings)


async def _read_lines(lines: bytes, first: int, settings: Settings) -> list[Numbered]:
    """The lines that are not empty; many or long ones are read beside the event loop."""
    large = len(lines) > LARGE
    return await asyncio.to_thread(_numbered, lines, first, settings) if large else _numbered(lines, first, settings)


def _numbered(lines: bytes, first: int, settings: Settings) -> list[Numbered]:
    return [(number, _line(line, settings)) for number, line in enumerate(lines.split(b"\n"), first) if line.strip()]


def _line(line: bytes, settings: Settings) -> Question | RequestError:
    try:
        return read_part(line, settings)
    except RequestError as fault:
        return fault


async def at_once(questions: Sequence[Question]) -> AsyncIterator[Sequence[Numbered]]:
    """Questions that are all there."""
    yield list(enumerate(questions, 1))
