"""Who waits for a model, in which order: each request has a ticket, and all with questions left take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from polyhead.serving.questions import Answer, Question, Wish

SHARES = 8
"""How many requests share a batch at least, if so many have long lists: a short request waits for no long one."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request's questions, and their answers as they come.

    Attributes:
        wish: How they are to be answered.
        answers: By the place of the question; ``None`` until it is answered.
        left: How many are not answered.
        done: Is set when all are.
        since: When it came, by the monotonic clock.
        waiting: The questions that are in no batch yet, with their places.
        dropped: Whether nobody wants the answers any more.
        version: Of the model, as it was when it answered the last of them; ``None`` if it answered none.
    """

    wish: Wish
    answers: list[Answer | None]
    left: int
    done: asyncio.Future[None]
    since: float
    waiting: deque[tuple[int, Question]] = field(default_factory=deque)
    dropped: bool = False
    version: int | None = None

    @classmethod
    def of(cls, wish: Wish, questions: Sequence[Question]) -> Ticket:
        """A ticket for some questions; it must be made where an event loop runs."""
        done = asyncio.get_running_loop().create_future()
        ticket = cls(wish, [None] * len(questions), len(questions), done, monotonic(), deque(enumerate(questions)))
        if not questions:
            done.set_result(None)
        return ticket

    def put(self, place: int, answer: Answer) -> None:
        """Take the answer to a question."""
        if self.answers[place] is None:
            self.answers[place] = answer
            self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class Asked:
    """A question on its way through a model.

    Attributes:
        ticket: Whose it is.
        place: Which of its questions.
        question: The question.
        deaths: How many processes ended while they had it.
    """

    ticket: Ticket
    place: int
    question: Question
    deaths: int = 0


class Line:
    """The tickets that wait for one model.

    First come, first served, but that each has only a share of a batch while others wait: the questions of a long list
    stand between those of others, not before them.

    Attributes:
        texts, characters: How much waits.
    """

    def __init__(self) -> None:
        self._turns: deque[Ticket] = deque()
        self._some = asyncio.Event()
        self.texts = self.characters = 0

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._turns)

    def put(self, ticket: Ticket) -> None:
        """Join the line."""
        if ticket.waiting:
            self._turns.append(ticket)
            self.texts += len(ticket.waiting)
            self.characters += sum(question.cost for _, question in ticket.waiting)
            self._some.set()

    def drop(self, ticket: Ticket) -> None:
        """Leave the line: nobody waits for the answers."""
        ticket.dropped = True
        if ticket.waiting:
            self.texts -= len(ticket.waiting)
            self.characters -= sum(question.cost for _, question in ticket.waiting)
            ticket.waiting.clear()
            self._turns.remove(ticket)
        if not self._turns:
            self._some.clear()

    async def some(self) -> None:
        """Wait until there is something to answer."""
        await self._some.wait()

    def take(self, characters: int, texts: int) -> list[Asked]:
        """The next batch: at most so much, but at least one question if any waits."""
        batch: list[Asked] = []
        room = characters
        while self._turns and len(batch) < texts:
            ticket = self._turns[0]
            if batch and ticket.waiting[0][1].cost > room:
                break  # it comes first in the next batch
            self._turns.popleft()
            share = min(room, characters // SHARES) if self._turns else room
            while True:
                place, question = ticket.waiting.popleft()
                batch.append(Asked(ticket, place, question))
                room -= question.cost
                share -= question.cost
                if not ticket.waiting or len(batch) >= texts or ticket.waiting[0][1].cost > share:
                    break
            if ticket.waiting:
                self._turns.append(ticket)
        self.texts -= len(batch)
        self.characters -= sum(asked.question.cost for asked in batch)
        if not self._turns:
            self._some.clear()
        return batch
