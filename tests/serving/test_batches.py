"""How requests become batches, who waits for whom, and what happens when a model dies: on a stub of a model."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from polyhead.serving.faults import RequestError
from polyhead.serving.questions import Question, Wish
from polyhead.serving.tickets import Line, Ticket
from serving.stub import Service, Stub, error_of, leave, service

WISH = Wish()


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def ticket(*texts: str) -> Ticket:
    return Ticket.of(WISH, [Question(text=text) for text in texts])


def taken(line: Line, characters: int, texts: int = 1000) -> list[str]:
    return [asked.question.text or "" for asked in line.take(characters, texts)]


# --- the line ---


def test_first_come_first_served_within_a_batch() -> None:
    async def go() -> None:
        line = Line()
        for name in "abc":
            line.put(ticket(name * 4))
        assert (line.texts, len(line)) == (3, 3)
        assert taken(line, 40) == ["aaaa", "bbbb"], "a text costs 16 and its characters"
        assert taken(line, 40) == ["cccc"]
        assert (line.texts, line.characters, len(line)) == (0, 0, 0)

    run(go())


def test_a_long_list_stands_between_others_and_not_before_them() -> None:
    async def go() -> None:
        line = Line()
        line.put(ticket(*(f"long {i:04}" for i in range(1000))))
        for name in ("short a", "short b"):
            line.put(ticket(name))
        first = taken(line, 1000)
        assert {"short a", "short b"} <= set(first) and len(first) > 30
        assert [text for text in first if text.startswith("long")] == [f"long {i:04}" for i in range(len(first) - 2)]
        others = [ticket(*(f"{name}{i}" for i in range(1000))) for name in "xyz"]
        for one in others:
            line.put(one)
        shares = {text[0] for text in taken(line, 1000)}
        assert shares == {"l", "x", "y", "z"}, "each has a share"

    run(go())


def test_what_is_larger_than_a_batch_goes_alone_and_soon() -> None:
    async def go() -> None:
        line = Line()
        line.put(ticket("a"))
        line.put(ticket("x" * 5000))
        line.put(ticket("b"))
        assert taken(line, 100) == ["a"]
        assert taken(line, 100) == ["x" * 5000]
        assert taken(line, 100) == ["b"]

    run(go())


def test_nothing_is_lost_and_all_sums_come_to_nothing() -> None:
    async def go() -> None:
        line = Line()
        tickets = [ticket(*(f"{n}.{i}" + "x" * (n * i % 50) for i in range(n % 7 + 1))) for n in range(200)]
        for one in tickets:
            line.put(one)
        for one in tickets[::5]:
            line.drop(one)
        seen: list[str] = []
        while len(line):
            batch = taken(line, 300, 8)
            assert 0 < len(batch) <= 8
            seen += batch
        wanted = [f"{n}.{i}" + "x" * (n * i % 50) for n in range(200) if n % 5 for i in range(n % 7 + 1)]
        assert sorted(seen) == sorted(wanted)
        assert (line.texts, line.characters) == (0, 0)

    run(go())


# --- batches ---


def test_what_comes_while_a_batch_is_answered_goes_together() -> None:
    stub = Stub(delay=0.1)

    async def go() -> None:
        async with service(stub) as served:
            answers = await asyncio.gather(*(served.ask({"text": f"text {i}"}) for i in range(40)))
            assert [one.json()["answers"][0]["text"] for one in answers] == [f"text {i}" for i in range(40)]

    run(go())
    assert len(stub.batches) <= 3


def test_a_lone_request_does_not_wait() -> None:
    stub = Stub()

    async def go() -> float:
        async with service(stub, wait_seconds=5.0) as served:
            began = asyncio.get_running_loop().time()
            for _ in range(3):
                await served.ask({"text": "alone"})
            return asyncio.get_running_loop().time() - began

    assert run(go()) < 4


def test_wishes_of_one_kind_go_together_in_a_batch() -> None:
    stub = Stub(delay=0.05)

    async def go() -> None:
        async with service(stub) as served:
            await asyncio.gather(
                *(
                    served.ask({"text": str(i), "tasks": [("pos", "mood")[i % 2]], "confidence": i % 4 == 0})
                    for i in range(20)
                )
            )

    run(go())
    for batch in stub.batches:
        wishes = [wish for wish, _ in batch]
        assert len(wishes) == len(set(wishes))
    assert max(len(batch) for batch in stub.batches) == 3


def test_one_model_computes_at_a_time() -> None:
    stub = Stub(delay=0.02)
    busy = most = 0

    async def go() -> None:
        async with service(stub, ("a", "b")) as served:
            for model in served.models:
                ask = model.worker.ask

                async def counted(groups: Any, ask: Any = ask) -> Any:
                    nonlocal busy, most
                    busy += 1
                    most = max(most, busy)
                    try:
                        return await ask(groups)
                    finally:
                        busy -= 1

                model.worker.ask = counted  # type: ignore[method-assign]
            await asyncio.gather(
                *(served.ask({"text": str(i)}, f"/v1/models/{name}/annotate") for i in range(5) for name in "ab")
            )

    run(go())
    assert most == 1


# --- too many, too late, gone ---


async def held(served: Service, stub: Stub, count: int) -> list[asyncio.Task[httpx.Response]]:
    """Requests that wait: the first is in a batch, which is held up, the others in the line."""
    stub.gate = asyncio.Event()
    tasks = []
    for i in range(count):
        tasks.append(asyncio.create_task(served.ask({"text": f"held {i}"})))
        while len(stub.batches) + len(served.models.first.line) < i + 1:
            await asyncio.sleep(0.001)
    return tasks


def test_a_full_line_says_when_to_come_again() -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub, queue=3) as served:
            waiting = await held(served, stub, 4)
            for path, kind in (("/v1/annotate", "application/json"), ("/v1/stream", "application/x-ndjson")):
                response = await served.ask(b'{"text": "one more"}', path, headers={"Content-Type": kind})
                assert response.status_code == 503 and error_of(response)["code"] == "busy"
                assert 1 <= int(response.headers["retry-after"]) <= 60
            assert stub.gate is not None
            stub.gate.set()
            assert [(await one).status_code for one in waiting] == [200] * 4, "who was let in is answered"
            assert (await served.ask({"text": "later"})).status_code == 200
            page = (await served.client.get("/metrics")).text
            assert 'polyhead_rejected_total{reason="full"} 2.0' in page

    run(go())


def test_many_characters_fill_a_line_too() -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub, queue_characters=20) as served:
            waiting = await held(served, stub, 2)
            assert (await served.ask({"text": "x"})).status_code == 503
            assert stub.gate is not None
            stub.gate.set()
            await asyncio.gather(*waiting)

    run(go())


def test_an_answer_that_is_late_is_told_and_the_line_goes_on() -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub, seconds=0.2) as served:
            waiting = await held(served, stub, 3)
            assert {(await one).status_code for one in waiting} == {504}
            assert len(served.models.first.line) == 0, "what nobody waits for any more costs nothing"
            stub.gate = None
            response = await served.ask({"text": "next"})  # the process that took too long is replaced
            found = response.json()
            assert found["version"] == found["answers"][0]["version"] > 1

    run(go())


def test_a_client_that_goes_away_costs_no_more() -> None:
    stub = Stub(delay=0.05)

    async def go() -> None:
        async with service(stub, batch_characters=100) as served:
            await leave(served, {"texts": [f"text {i}" for i in range(1000)]}, after=0.12)
            asked = sum(map(len, stub.texts))
            assert 0 < asked < 100 and len(served.models.first.line) == 0
            await asyncio.sleep(0.2)
            assert sum(map(len, stub.texts)) <= asked + 10

    run(go())


# --- failures ---


def test_only_the_guilty_goes_without_an_answer() -> None:
    stub = Stub(failing={"bad"}, delay=0.02)

    async def go() -> None:
        async with service(stub) as served:
            texts = ["a", "bad", "b", "c"]
            answers = await asyncio.gather(*(served.ask({"text": text}) for text in texts))
            assert [one.status_code for one in answers] == [200, 500, 200, 200]
            assert error_of(answers[1])["code"] == "failed" and "ValueError" not in answers[1].text
            found = (await served.ask({"texts": texts})).json()["answers"]
            assert [one.get("text") for one in found] == ["a", None, "b", "c"]
            assert found[1]["error"]["code"] == "failed"

    run(go())


def test_a_text_that_kills_the_process_takes_no_other_with_it() -> None:
    stub = Stub(killing={"killer"}, delay=0.05)

    async def go() -> None:
        async with service(stub) as served:
            texts = ["first", *(f"text {i}" for i in range(5)), "killer", *(f"text {i}" for i in range(5, 9))]
            answers = await asyncio.gather(*(served.ask({"text": text}) for text in texts))
            assert [one.status_code for one in answers] == [500 if text == "killer" else 200 for text in texts]
            assert (await served.ask({"text": "after"})).json()["version"] == stub.started == 3
            assert 'polyhead_worker_deaths_total{model="one"} 2.0' in (await served.client.get("/metrics")).text

    run(go())


def test_a_wrong_count_of_answers_fails_its_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub) as served:
            ask = served.models.first.worker.ask
            for wrong in ([], [[]], [[b"{}", b"{}"]], None):

                async def answers(_: Any, wrong: Any = wrong) -> Any:
                    return wrong

                monkeypatch.setattr(served.models.first.worker, "ask", answers)
                response = await asyncio.wait_for(served.ask({"text": "a"}), 10)
                assert response.status_code == 500 and error_of(response)["code"] == "failed"
            monkeypatch.setattr(served.models.first.worker, "ask", ask)
            assert (await served.ask({"text": "a"})).status_code == 200

    run(go())


def test_it_says_that_it_is_not_ready_while_the_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhead.serving.models.PAUSES", (0.0, 0.05))
    stub = Stub(killing={"killer"})

    async def go() -> None:
        async with service(stub) as served:
            assert (await served.client.get("/ready")).status_code == 200
            stub.broken = "No memory."
            waiting = asyncio.create_task(served.ask({"text": "killer"}))
            while not served.models.first.error:
                await asyncio.sleep(0.01)
            assert (await served.client.get("/ready")).status_code == 503
            assert (await served.client.get("/health")).status_code == 200
            response = await served.ask({"text": "b"})
            assert response.status_code == 503 and error_of(response)["code"] == "restarting"
            stub.broken = ""
            assert (await waiting).status_code == 500
            while not served.models.first.ready:
                await asyncio.sleep(0.01)
            assert (await served.ask({"text": "b"})).status_code == 200

    run(go())


def test_a_line_refuses_unknown_tasks_at_once() -> None:
    async def go() -> None:
        async with service(Stub()) as served:
            with pytest.raises(RequestError, match="no task 'x'"):
                served.models.first.let_in(Wish(("x",)), [Question(text="a")])

    run(go())
