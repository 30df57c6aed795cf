"""A model that answers at once, or as slowly and badly as a test wants, in the place of a process that loads one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from polyhead.errors import PolyheadError
from polyhead.serving.app import make_app
from polyhead.serving.metrics import Metrics
from polyhead.serving.models import Models
from polyhead.serving.questions import Answer, Failure, Group, Head, Question, Wish
from polyhead.serving.settings import Settings
from polyhead.serving.worker import WorkerEndedError

HEADS = [Head("pos", "upos", "words", False), Head("mood", "sentiment", "label", False)]


@dataclass
class Stub:
    """What all workers of a test do.

    Attributes:
        delay: Seconds for each batch.
        batches: What they were asked: each batch as its groups.
        killing: Texts that end the process that gets them.
        failing: Texts on which the model fails.
        broken: Why no further worker can be started; empty if one can.
        fault: What starting one raises that nobody foresaw.
        gate: If it is set, batches wait for it.
        loading: If it is set, starting one waits for it.
    """

    delay: float = 0.0
    batches: list[Sequence[Group]] = field(default_factory=list)
    killing: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    broken: str = ""
    fault: Exception | None = None
    gate: asyncio.Event | None = None
    loading: asyncio.Event | None = None
    started: int = 0
    closed: list[int] = field(default_factory=list)

    async def start(self, place: str, threads: int | None) -> StubWorker:
        """In the place of ``ProcessWorker.start``."""
        if self.broken:
            raise PolyheadError(self.broken, remedy="Mend it.")
        if self.fault is not None:
            raise self.fault
        if self.loading is not None:
            await self.loading.wait()
        self.started += 1
        return StubWorker(self, self.started)

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each batch."""
        return [[shown(one) for _, questions in batch for one in questions] for batch in self.batches]


class StubWorker:
    heads = HEADS
    pid = None

    def __init__(self, stub: Stub, number: int) -> None:
        self.stub, self.number, self.ended = stub, number, False

    async def ask(self, groups: Sequence[Group]) -> list[list[Answer]]:
        self.stub.batches.append(groups)
        await asyncio.sleep(self.stub.delay)
        if self.stub.gate is not None:
            await self.stub.gate.wait()
        texts = {shown(one) for _, questions in groups for one in questions}
        if self.ended or texts & self.stub.killing:
            raise WorkerEndedError
        return [[self._answer(wish, one) for one in questions] for wish, questions in groups]

    def _answer(self, wish: Wish, question: Question) -> Answer:
        text = shown(question)
        if text in self.stub.failing:
            return Failure(
                False, "The model failed on this text.", "Other texts are answered.", "ValueError in x", text
            )
        if wish.format == "conllu":
            return f"# text = {text}\n\n".encode()
        record = {"text": text, "version": self.number, "tasks": wish.tasks, "confidence": wish.confidence}
        return json.dumps(record, ensure_ascii=False).encode()

    def kill(self) -> None:
        self.ended = True

    async def close(self) -> None:
        self.stub.closed.append(self.number)


def shown(question: Question) -> str:
    return question.text if question.text is not None else " ".join(question.words or ())


@dataclass
class Service:
    """A server without a socket."""

    models: Models
    metrics: Metrics
    client: httpx.AsyncClient
    app: Any

    async def ask(self, body: Any, path: str = "/v1/annotate", **rest: Any) -> httpx.Response:
        """Post something: JSON, or bytes as they are."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Content-Type": "application/json", **rest.pop("headers", {})}
        return await self.client.post(path, headers=headers, timeout=30, **given, **rest)


@asynccontextmanager
async def service(stub: Stub, names: Sequence[str] = ("one",), **settings: Any) -> AsyncIterator[Service]:
    """A server on stub workers."""
    logging.getLogger("polyhead.serving").setLevel(logging.INFO)
    chosen = Settings(**{"wait_seconds": 0.0, **settings})
    metrics = Metrics()
    models = Models({name: name for name in names}, chosen, metrics, stub.start)
    await models.begin()
    app = make_app(models, chosen, metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        yield Service(models, metrics, client, app)
    await models.end()


async def leave(served: Service, body: Any, *headers: tuple[bytes, bytes], after: float) -> None:
    """Ask as the server that the app stands behind does, for a client that goes away after so many seconds."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/annotate",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
    }
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(after)
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    await served.app(scope, receive, send)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The fault that a response tells; each has a code, what is wrong, and a remedy."""
    told = response.json()["error"]
    assert told["code"] and told["what"] and isinstance(told["remedy"], str)
    assert response.headers["content-type"] == "application/json"
    return dict(told)
