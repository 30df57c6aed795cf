"""A new version takes the place of one that answers, or does not come: on a stub of a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.stub import Stub, error_of, service


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_a_new_version_comes_in_between_two_batches() -> None:
    stub = Stub(delay=0.005)

    async def go() -> None:
        async with service(stub) as served:
            stop = False
            versions: list[tuple[int, int]] = []

            async def ask() -> None:
                while not stop:
                    response = await served.ask({"text": "again"})
                    assert response.status_code == 200
                    versions.append((response.json()["version"], response.json()["answers"][0]["version"]))

            asking = [asyncio.create_task(ask()) for _ in range(8)]
            for _ in range(3):
                await asyncio.sleep(0.05)
                await served.models.reload()
            await asyncio.sleep(0.05)
            stop = True
            await asyncio.gather(*asking)
            assert {answered for _, answered in versions} == {1, 2, 3, 4}
            assert all(told == answered for told, answered in versions)
            assert stub.closed == [1, 2, 3]

    run(go())


def test_a_version_that_cannot_be_loaded_changes_nothing() -> None:
    stub = Stub()
    admin = {"Authorization": "Bearer " + "a" * 20}

    async def go() -> None:
        async with service(stub, admin_keys=("a" * 20,)) as served:
            stub.broken = "The weights cannot be read."
            response = await served.client.post("/v1/models/one/reload", headers=admin)
            assert response.status_code == 409 and "weights cannot be read" in error_of(response)["what"]
            assert "Version 1 goes on" in error_of(response)["what"]
            assert (await served.ask({"text": "a"})).json()["version"] == 1
            about = (await served.client.get("/v1/models/one")).json()
            assert "weights cannot be read" in about["error"] and about["ready"]
            stub.broken = ""
            assert (await served.client.post("/v1/models/one/reload", headers=admin)).json()["error"] is None

    run(go())


def test_the_version_is_that_of_the_batch_and_not_of_the_request() -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub, batch_texts=1) as served:
            stub.gate = asyncio.Event()
            waiting = [asyncio.create_task(served.ask({"texts": texts})) for texts in (["a"], ["b"], ["c", "d"])]
            while len(stub.batches) + len(served.models.first.line) < 3:
                await asyncio.sleep(0.001)
            await served.models.reload()
            stub.gate.set()
            told = [(await one).json() for one in waiting]
            assert [one["version"] for one in told] == [1, 2, 2]
            assert [one["answers"][-1]["version"] for one in told] == [1, 2, 2]
            assert (await served.ask({"texts": []})).json()["version"] == 2

    run(go())


def test_a_fault_nobody_foresaw_keeps_no_other_model_from_its_new_version(caplog: pytest.LogCaptureFixture) -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub, ("a", "b")) as served:
            start = stub.start

            async def fail(place: str, threads: int | None) -> Any:
                if place == "a":
                    raise OSError(24, "Too many open files")
                return await start(place, threads)

            for model in served.models:
                model._start = fail
            await served.models.reload()
            assert [model.version for model in served.models] == [1, 2]
            assert "Too many open files" in served.models["a"].error and served.models["a"].ready

    run(go())
    assert "a was not loaded anew" in caplog.text


# --- a process that died ---


def test_a_fault_nobody_foresaw_is_no_end_of_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhead.serving.models.PAUSES", (0.0, 0.05))
    stub = Stub(killing={"killer"})

    async def go() -> None:
        async with service(stub) as served:
            stub.fault = OSError(12, "Cannot allocate memory")
            waiting = asyncio.create_task(served.ask({"text": "killer"}))
            while not served.models.first.error:
                await asyncio.sleep(0.01)
            response = await served.ask({"text": "b"})
            assert response.status_code == 503 and error_of(response)["code"] == "restarting"
            stub.fault = None
            assert (await waiting).status_code == 500
            assert (await served.ask({"text": "b"})).status_code == 200

    run(go())


# --- a stop ---


async def stopped(stub: Stub, act: Any) -> None:
    """Stop a server while something is loaded; all processes that were started must have ended then."""
    async with service(stub) as served:
        acting = asyncio.create_task(act(served))
        stub.loading = asyncio.Event()
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.5, stub.loading.set)
        await asyncio.wait_for(served.models.end(), 5)
        await asyncio.sleep(0.6)
        assert set(stub.closed) == set(range(1, stub.started + 1))
        acting.cancel()
        await asyncio.wait([acting])


def test_a_stop_does_not_wait_for_a_process_that_cannot_be_started_again() -> None:
    stub = Stub(killing={"killer"})

    async def act(served: Any) -> None:
        stub.broken = "The folder is gone."
        await served.ask({"text": "killer"})

    run(stopped(stub, act))


def test_a_process_that_is_started_again_at_a_stop_ends() -> None:
    stub = Stub(killing={"killer"})

    async def act(served: Any) -> None:
        await served.ask({"text": "killer"})

    run(stopped(stub, act))


def test_a_new_version_that_is_loaded_at_a_stop_ends() -> None:
    async def act(served: Any) -> None:
        await served.models.reload()

    run(stopped(Stub(), act))


def test_nothing_is_loaded_after_a_stop() -> None:
    stub = Stub()

    async def go() -> None:
        async with service(stub) as served:
            await served.models.end()
            await served.models.reload()
            assert stub.started == 1

    run(go())
