"""Answers line by line: in order, in bounded memory, with faults in their places: on a stub of a model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest

from polyhead.serving.asking import read_part
from serving.stub import Service, Stub, error_of, leave, service

NDJSON = {"Content-Type": "application/x-ndjson"}


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def stream(served: Service, body: Any, query: str = "") -> httpx.Response:
    return await served.client.post(f"/v1/stream{query}", content=body, headers=NDJSON, timeout=30)


def test_lines_are_answered_in_order() -> None:
    body = "\n".join(json.dumps(f"text {i}") for i in range(500))

    async def go() -> None:
        async with service(Stub()) as served:
            found = lines(await stream(served, body.encode()))
            assert [one["text"] for one in found] == [f"text {i}" for i in range(500)]
            mixed = b'"a"\n\n{"text": "b"}\r\n{"words": ["c", "d"]}\n'
            found = lines(await stream(served, mixed, "?tasks=mood,pos&confidence=true"))
            assert [one["text"] for one in found] == ["a", "b", "c d"]
            assert found[0]["tasks"] == ["mood", "pos"] and found[0]["confidence"] is True
            assert lines(await stream(served, b"")) == []

    run(go())


@pytest.mark.parametrize(
    ("query", "what", "remedy"),
    [
        ("?tasks=mood&tasks=pos", "'tasks' stands twice", "tasks=one,two"),
        ("?confidence=1&confidence=0", "'confidence' stands twice", "once"),
        ("?format=conllu", "no query 'format'", ""),
        ("?task=mood", "no query 'task'", "tasks"),
    ],
)
def test_what_an_address_may_ask(query: str, what: str, remedy: str) -> None:
    async def go() -> None:
        async with service(Stub()) as served:
            response = await stream(served, b'"a"', query)
            assert response.status_code == 422
            assert what in error_of(response)["what"] and remedy in error_of(response).get("remedy", "")

    run(go())


def test_lines_come_in_pieces_of_any_size() -> None:
    body = "".join(json.dumps({"text": f"täxt {i} ☃"}, ensure_ascii=False) + "\n" for i in range(40)).encode()

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def go() -> None:
        async with service(Stub()) as served:
            for size in (1, 3, 7, 64, 10_000):
                found = lines(await stream(served, pieces(size)))
                assert [one["text"] for one in found] == [f"täxt {i} ☃" for i in range(40)]

    run(go())


def test_a_fault_stands_in_its_place_with_its_line() -> None:
    async def go() -> None:
        async with service(Stub(failing={"bad"}), text_characters=10) as served:
            body = b'"a"\n{"txt": 1}\n"' + b"x" * 11 + b'"\n[1]\n"bad"\n\xff\n"b"'
            found = lines(await stream(served, body))
            codes = [one["error"]["code"] if "error" in one else one["text"] for one in found]
            assert codes == ["a", "invalid", "text_too_long", "invalid", "failed", "invalid_json", "b"]
            assert [one["error"]["line"] for one in found if "error" in one] == [2, 3, 4, 5, 6]

    run(go())


def test_empty_lines_are_counted() -> None:
    async def go() -> None:
        async with service(Stub(failing={"bad"}), text_characters=10) as served:
            for body, numbers in (
                (b'"a"\n\n[1]\n \n\r\n"bad"\n', [3, 6]),
                (b"\n\n[1]", [3]),
                (b'\n"a"\n\n"' + b"x" * 1_000, [4]),
            ):
                for size in (1, len(body)):
                    pieces = (body[start : start + size] for start in range(0, len(body), size))
                    found = lines(await stream(served, aiter_of(pieces)))
                    assert [one["error"]["line"] for one in found if "error" in one] == numbers, body

    run(go())


async def aiter_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_long_lines_are_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def read(*given: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return read_part(*given)

    monkeypatch.setattr("polyhead.serving.streaming.read_part", read)

    async def go() -> None:
        async with service(Stub()) as served:
            found = lines(await stream(served, b'"a"'))
            assert found[0]["text"] == "a" and threads == [True]
            (fault,) = lines(await stream(served, json.dumps({"words": [1] * 200_000}).encode()))
            assert fault["error"]["code"] == "text_too_long" and threads == [True, False]

    run(go())


def test_a_line_without_an_end_is_cut_off() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'"a"\n"'
        for _ in range(1_000):
            yield b"x" * 1000

    async def go() -> None:
        async with service(Stub(), text_characters=100) as served:
            found = lines(await stream(served, endless()))
            assert found[0]["text"] == "a" and found[1]["error"]["code"] == "too_large" and len(found) == 2

    run(go())


def test_a_list_may_be_answered_by_lines_too() -> None:
    async def go() -> None:
        async with service(Stub()) as served:
            body = {"texts": [f"text {i}" for i in range(300)]}
            found = lines(await served.ask(body, headers={"Accept": "application/x-ndjson"}))
            assert [one["text"] for one in found] == body["texts"]
            conllu = await served.ask(body | {"format": "conllu"}, headers={"Accept": "application/x-ndjson"})
            assert conllu.status_code == 422

    run(go())


def test_no_more_is_read_than_is_answered() -> None:
    """A stream of any length takes bounded memory: its reader waits for the model, and so does its writer."""
    stub = Stub(delay=0.01)
    given = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        for i in range(3_000):
            given += 1
            yield json.dumps(f"text {i}").encode() + b"\n"

    async def go() -> int:
        furthest = 0
        async with service(stub, batch_characters=500) as served:

            async def watch() -> None:
                nonlocal furthest
                while True:
                    furthest = max(furthest, given - sum(map(len, stub.texts)))
                    await asyncio.sleep(0.005)

            watching = asyncio.create_task(watch())
            assert len(lines(await stream(served, source()))) == 3_000
            watching.cancel()
        return furthest

    assert run(go()) < 1_000


def test_a_reader_that_leaves_ends_its_stream() -> None:
    stub = Stub(delay=0.02)

    async def go() -> None:
        async with service(stub, batch_characters=200) as served:
            body = {"texts": [f"text {i}" for i in range(5_000)]}
            await leave(served, body, (b"accept", b"application/x-ndjson"), after=0.1)
            assert sum(map(len, stub.texts)) < 500 and len(served.models.first.line) == 0

    run(go())


def test_a_client_that_does_not_read_is_left() -> None:
    aborted = False

    async def go() -> None:
        async with service(Stub(), idle_seconds=0.1) as served:
            headers = [(b"host", b"localhost"), (b"content-type", b"application/x-ndjson")]

            def abort() -> None:
                nonlocal aborted
                aborted = True

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/stream",
                "query_string": b"",
                "root_path": "",
                "headers": headers,
                "extensions": {"polyhead.abort": abort},
            }

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b'"a"\n' * 100, "more_body": True}

            async def send(message: Any) -> None:
                if message["type"] == "http.response.body":
                    await asyncio.sleep(60)

            await asyncio.wait_for(served.app(scope, receive, send), 10)

    run(go())
    assert aborted
