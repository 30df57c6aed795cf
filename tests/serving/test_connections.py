"""Clients that are slow, huge, malformed or gone, on real sockets; and a stop that answers what was accepted."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polyhead.errors import PolyheadError
from polyhead.serving.metrics import Metrics
from polyhead.serving.models import Models
from polyhead.serving.server import Server, address_of, listen, run_server
from polyhead.serving.settings import Settings
from serving.stub import Stub

ASK = b'{"text": "a"}'


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


@asynccontextmanager
async def server(stub: Stub, **settings: Any) -> AsyncIterator[tuple[Server, int, asyncio.Task[None]]]:
    chosen = Settings(**{"port": 0, "wait_seconds": 0.0, "grace": 5.0, **settings})
    metrics = Metrics()
    models = Models({"one": "one"}, chosen, metrics, stub.start)
    await models.begin()
    listening = listen(chosen)
    serving = Server(models, chosen, metrics, lambda: None)
    task = asyncio.create_task(serving.serve(sockets=[listening]))
    while not serving.started:
        await asyncio.sleep(0.01)
    try:
        yield serving, listening.getsockname()[1] if listening.fileno() >= 0 else 0, task
    finally:
        if not task.done():
            serving.stop()
            await task
        await models.end()


def request(body: bytes = ASK, path: str = "/v1/annotate", *more: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *more]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of the next response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


async def sent(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back for some bytes, before the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await answer_of(reader)
    finally:
        writer.close()


def test_a_connection_is_kept() -> None:
    async def go() -> None:
        async with server(Stub()) as (_, port, _task):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(request())
                status, headers, body = await answer_of(reader)
                assert status == 200 and json.loads(body)["answers"][0]["text"] == "a"
                assert "server" not in headers
            writer.write(request() + request())
            assert [(await answer_of(reader))[0] for _ in range(2)] == [200, 200], "two at once, one after the other"
            writer.close()

    run(go())


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400, "no_http"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "no_http"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000, 431, "head_too_large"),
        (b"GET /" + b"x" * 40_000, 431, "head_too_large"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"POST /v1/annotate HTTP/1.1\r\nHost: localhost\r\n", 408, "too_slow"),
        (b"", 408, "too_slow"),
        (request(ASK)[:-3], 408, "too_slow"),
        (request(b"x").replace(b"Length: 1", b"Length: 99999999"), 413, "too_large"),
        (request(b"").replace(b"Length: 0", b"Length: -1"), 400, "no_http"),
        (request(b"").replace(b"Host: localhost\r\n", b""), 421, "wrong_host"),
        (request(b"zz", "/v1/annotate").replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"), 400, "no_http"),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_slow_huge_and_malformed_requests(data: bytes, status: int, code: str) -> None:
    async def go() -> None:
        async with server(Stub(), header_seconds=0.3, idle_seconds=0.3) as (_, port, _task):
            found, headers, body = await sent(port, data)
            assert (found, json.loads(body)["error"]["code"]) == (status, code)
            assert headers["content-type"] == "application/json"
            assert (await sent(port, request()))[0] == 200, "others are answered"

    run(go())


def test_a_client_that_drips_is_left() -> None:
    async def go() -> None:
        async with server(Stub(), header_seconds=0.3) as (_, port, _task):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            reading = asyncio.create_task(reader.readuntil(b"\r\n"))
            for byte in b"POST /v1/annotate HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n" * 20:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if reading.done():
                    break
            assert b"408" in await reading
            writer.close()

    run(go())


def test_a_client_that_does_not_read_its_answer_is_left() -> None:
    async def go() -> None:
        async with server(Stub(), idle_seconds=0.2, text_characters=10_000_000) as (serving, port, _task):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.write(request(json.dumps({"text": "x" * 8_000_000}).encode()))
            await writer.drain()
            for _ in range(200):
                await asyncio.sleep(0.05)
                if not serving.server_state.connections:
                    break
            assert not serving.server_state.connections
            writer.transport.abort()
            del reader

    run(go())


def test_there_are_only_so_many_connections() -> None:
    async def go() -> None:
        async with server(Stub(), connections=3) as (_, port, _task):
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for reader, writer in kept:
                writer.write(request())
                assert (await answer_of(reader))[0] == 200
            status, headers, body = await sent(port, b"")
            assert status == 503 and int(headers["retry-after"]) >= 1 and json.loads(body)["error"]["code"] == "busy"
            kept[0][1].close()
            await asyncio.sleep(0.1)
            assert (await sent(port, request()))[0] == 200
            for _, writer in kept:
                writer.close()

    run(go())


def test_a_stop_answers_what_was_accepted() -> None:
    async def go() -> None:
        stub = Stub(delay=0.1)
        async with server(stub, batch_characters=60) as (serving, port, task):
            asking = [asyncio.create_task(sent(port, request())) for _ in range(40)]
            while serving.models.first.line.texts < 20:
                await asyncio.sleep(0.005)
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
            serving.stop()
            assert not serving.models.ready
            assert {(await one)[0] for one in asking} == {200}
            assert await idle_reader.read() == b"", "who asks nothing is let go"
            idle_writer.close()
            await task
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)

    run(go())


def test_a_stop_first_says_that_it_is_not_ready_and_still_accepts() -> None:
    async def go() -> None:
        async with server(Stub(), drain=0.5) as (serving, port, task):
            get = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert (await sent(port, get))[0] == 200
            serving.stop()
            status, _, body = await sent(port, get)
            assert status == 503 and json.loads(body) == {"status": "draining"}
            assert (await sent(port, request()))[0] == 200
            await task

    run(go())


def test_a_stop_does_not_wait_for_ever() -> None:
    async def go() -> float:
        stub = Stub(delay=60)
        async with server(stub, grace=1.0) as (serving, port, task):
            asking = asyncio.create_task(sent(port, request()))
            while not stub.batches:
                await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            serving.stop()
            await task
            asking.cancel()
            return asyncio.get_running_loop().time() - began

    assert run(go()) < 5


def test_an_address_that_is_taken_is_told_before_any_model_is_loaded() -> None:
    with listen(Settings(port=0)) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        assert address_of(listening) == f"http://127.0.0.1:{port}"
        with pytest.raises(PolyheadError, match=rf"Cannot listen at 127\.0\.0\.1:{port}: Address already in use"):
            listen(Settings(port=port))
    with pytest.raises(PolyheadError, match="Cannot listen at"):
        listen(Settings(host="203.0.113.7"))
    with pytest.raises(PolyheadError, match="Cannot listen at"):
        listen(Settings(host="no such host"))


def test_who_connects_as_soon_as_the_address_is_told_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectedError(Exception): ...

    def connect(address: str) -> None:
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5).close()
        raise ConnectedError

    monkeypatch.setattr("polyhead.serving.server.Models", lambda *given: Models(*given, Stub().start))
    with pytest.raises(ConnectedError):
        run_server({"one": "one"}, Settings(port=0), connect)
