"""What can be asked, what is refused, and how: on a stub of a model, without a socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from polyhead.serving import asking
from polyhead.serving.settings import Settings
from serving.stub import Stub, error_of, service

TEXT = "The cats slept."


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def one(body: Any, path: str = "/v1/annotate", **settings: Any) -> httpx.Response:
    async with service(Stub(), **settings) as served:
        return await served.ask(body, path)


def test_one_text_a_list_and_words() -> None:
    single = run(one({"text": TEXT})).json()
    assert single["model"] == "one" and single["version"] == 1
    assert [answer["text"] for answer in single["answers"]] == [TEXT]
    several = run(one({"texts": ["a", {"text": "b"}, {"words": ["c", "d"]}, {"text": "e", "pair": "f"}]})).json()
    assert [answer["text"] for answer in several["answers"]] == ["a", "b", "c d", "e"]
    words = run(one({"words": ["It", "slept"]})).json()
    assert words["answers"][0]["text"] == "It slept"
    assert run(one({"texts": []})).json()["answers"] == []


def test_heads_confidence_and_format_are_wishes() -> None:
    asked = run(one({"text": TEXT, "tasks": ["pos", "mood", "pos"], "confidence": True})).json()["answers"][0]
    assert asked["tasks"] == ["mood", "pos"] and asked["confidence"] is True
    conllu = run(one({"texts": ["a", "b"], "format": "conllu"}))
    assert conllu.headers["content-type"].startswith("text/plain") and conllu.text == "# text = a\n\n# text = b\n\n"


def test_several_models() -> None:
    async def ask() -> None:
        async with service(Stub(), ("en", "de")) as served:
            for path, name in (("/v1/annotate", "en"), ("/v1/models/de/annotate", "de")):
                assert (await served.ask({"text": TEXT}, path)).json()["model"] == name
            listed = (await served.client.get("/v1/models")).json()
            assert [model["name"] for model in listed["models"]] == ["en", "de"]
            assert listed["models"][0]["tasks"][0] == {"task": "pos", "layer": "upos", "kind": "words", "pair": False}
            assert listed["limits"]["text_characters"] == 20_000
            told = error_of(await served.ask({"text": TEXT}, "/v1/models/dee/annotate"))
            assert told["code"] == "unknown_model" and "'de'" in told["remedy"]

    run(ask())


HOSTILE = [
    (b"{", 400, "not JSON"),
    (b"", 400, "not JSON"),
    (b"\xff\xfe{}", 400, "Not UTF-8 at byte 1"),
    (b'{"text": NaN}', 400, "NaN"),
    (b'{"text": "a", "text": "b"}', 400, "twice"),
    (b'{"text": "\\ud83d"}', 400, "surrogate"),
    (b'{"text": "a\\u0000b"}', 400, "NUL"),
    (b"[" * 100_000, 400, "nested"),
    (b'{"text": ' + b"9" * 5000 + b"}", 400, "digits"),
    (b'{"a": ' * 2000 + b"1" + b"}" * 2000, 400, "nested"),
    (b"[]", 422, "no object"),
    (b"null", 422, "no object"),
    (b"{}", 422, "No text"),
    (b'{"text": 1}', 422, "text: input should be a valid string"),
    (b'{"text": "a", "texts": []}', 422, "Both text and texts"),
    (b'{"txt": "a"}', 422, "no key 'txt'"),
    (b'{"text": "a", "tasks": []}', 422, "tasks"),
    (b'{"text": "a", "tasks": ["poss"]}', 422, "no task 'poss'"),
    (b'{"text": "a", "confidence": "yes"}', 422, "confidence"),
    (b'{"text": "a", "format": "xml"}', 422, "format"),
    (b'{"words": []}', 422, "words"),
    (b'{"words": [""]}', 422, "words.0"),
    (b'{"words": "a b"}', 422, "words"),
    (b'{"words": ["a"], "pair": "b"}', 422, "pair"),
    (b'{"text": "a", "pair": "b", "format": "conllu"}', 422, "CoNLL-U holds one text split into words, and no pairs."),
    (b'{"texts": ["a", {"text": "a", "pair": "b"}], "format": "conllu"}', 422, "no pairs"),
    (b'{"texts": ["a"], "pair": "b"}', 422, "pair"),
    (b'{"texts": [1]}', 422, "texts.0"),
    (b'{"texts": [{}]}', 422, "texts.0: neither"),
    (b'{"texts": [{"text": "a", "wrds": []}]}', 422, "wrds"),
]


@pytest.mark.parametrize(("body", "status", "what"), HOSTILE, ids=lambda one: repr(one)[:40])
def test_what_is_no_question_is_told(body: bytes, status: int, what: str) -> None:
    response = run(one(body))
    assert response.status_code == status, response.text
    assert what in error_of(response)["what"]
    assert "Traceback" not in response.text


def test_the_nearest_name_is_the_remedy() -> None:
    assert "'pos'" in error_of(run(one({"text": "a", "tasks": ["poss"]})))["remedy"]
    assert "'text'" in error_of(run(one({"txt": "a"})))["remedy"]


def test_too_much_of_anything() -> None:
    limits = {"text_characters": 10, "texts": 2, "words": 3, "body_bytes": 500}
    for body, status, code in (
        ({"text": "x" * 11}, 422, "text_too_long"),
        ({"text": "a", "pair": "x" * 11}, 422, "text_too_long"),
        ({"texts": ["a", "x" * 11]}, 422, "text_too_long"),
        ({"words": ["a"] * 4}, 422, "text_too_long"),
        ({"words": ["x" * 11]}, 422, "text_too_long"),
        ({"texts": ["a"] * 3}, 422, "too_many_texts"),
        ({"texts": ["a" * 400, "b" * 400]}, 413, "too_large"),
    ):
        response = run(one(body, **limits))
        assert (response.status_code, error_of(response)["code"]) == (status, code), body
    assert run(one({"text": "x" * 10}, **limits)).status_code == 200


MANY = 20_001
HEAPS = [
    ({"texts": [1] * MANY}, "too_many_texts"),
    ({"words": [1] * MANY}, "text_too_long"),
    ({"texts": [{"words": [1] * MANY}]}, "text_too_long"),
    ({"texts": [1] * 9_000}, "invalid"),
    ({"texts": [{"words": [1] * 900}] * 100}, "invalid"),
    ({f"key {i}": 1 for i in range(MANY)}, "invalid"),
    ({"texts": [{f"key {i}": 1 for i in range(MANY)}]}, "invalid"),
    ({"text": "a", "tasks": [1] * MANY}, "invalid"),
    ({"text": "a", "tasks": ["pos"] * MANY}, "invalid"),
    ({"text": "a", "tasks": ["x" * 2**20]}, "invalid"),
]


@pytest.mark.parametrize(("body", "code"), HEAPS, ids=lambda one: repr(one)[:40])
def test_heaps_of_faults_are_not_kept(body: Any, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take hundreds of bytes, and be told in words, before the first is."""
    counts = []
    told = asking._told

    def counted(error: Any) -> Any:
        counts.append(error.error_count())
        return told(error)

    monkeypatch.setattr(asking, "_told", counted)
    response = run(one(body))
    assert response.status_code == 422 and error_of(response)["code"] == code
    assert sum(counts) < 8 and len(response.content) < 500


def test_long_names_are_told_in_part() -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            kind = {"Content-Type": "application/x-ndjson"}
            for path in (f"/v1/stream?tasks={'x' * 9_000}", f"/v1/models/{'x' * 9_000}/stream"):
                response = await served.ask(b'"a"', path, headers=kind)
                assert response.status_code in (404, 422) and len(response.content) < 500

    run(ask())


def test_a_chunked_body_without_a_length_is_bounded_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b" " * 1000

    async def ask() -> None:
        async with service(Stub(), body_bytes=5_000) as served:
            headers = {"Content-Type": "application/json"}
            response = await served.client.post("/v1/annotate", content=endless(), headers=headers)
            assert response.status_code == 413 and error_of(response)["code"] == "too_large"

    run(ask())


def test_a_body_without_an_end_that_is_too_large_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "EXCESS_SECONDS", 0.05)

    async def unending() -> AsyncIterator[bytes]:
        yield b"x" * 6_000
        await asyncio.sleep(20)

    async def ask() -> None:
        async with service(Stub(), body_bytes=5_000) as served, asyncio.timeout(5):
            headers = {"Content-Type": "application/json"}
            response = await served.client.post("/v1/annotate", content=unending(), headers=headers)
            assert response.status_code == 413 and error_of(response)["code"] == "too_large"

    run(ask())


def test_words_are_those_that_files_may_hold() -> None:
    for body in ({"words": ["a", " "]}, {"texts": ["a", {"words": ["\t"]}]}):
        response = run(one(body))
        assert response.status_code == 422 and "which is no word" in error_of(response)["what"], body


def test_types_that_other_sites_may_send_are_refused() -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
                response = await served.ask(b'{"text": "a"}', headers={"Content-Type": kind})
                assert response.status_code == 415 and error_of(response)["code"] == "wrong_type"
            packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            assert (await served.ask(b"x", headers=packed)).status_code == 415
            passed = {"Content-Type": "application/json", "Transfer-Encoding": "gzip, chunked"}
            assert error_of(await served.ask(b"x", headers=passed))["code"] == "compressed"
            charset = {"Content-Type": "application/json; charset=utf-8"}
            assert (await served.ask(b'{"text": "a"}', headers=charset)).status_code == 200

    run(ask())


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:80", "[::2]"])
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            for path in ("/", "/v1/models", "/metrics", "/health"):
                response = await served.client.get(path, headers={"Host": host})
                assert response.status_code == 421 and error_of(response)["code"] == "wrong_host"

    run(ask())


def test_own_names_are_taken() -> None:
    async def ask() -> None:
        async with service(Stub(), hosts=("NLP.example",)) as served:
            for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "nlp.example", "nlp.example:443"):
                assert (await served.client.get("/health", headers={"Host": host})).status_code == 200

    run(ask())
    assert Settings(host="0.0.0.0", keys=("x" * 20,)).allowed_hosts is None
    assert Settings(host="0.0.0.0", keys=("x" * 20,), hosts=("a",)).allowed_hosts is not None


def test_a_key_opens_what_knows_of_models_and_texts() -> None:
    key = "k" * 20

    async def ask() -> None:
        async with service(Stub(), keys=(key, "other" * 5)) as served:
            for path in ("/v1/models", "/metrics"):
                for shown in ("", "Bearer", "Bearer " + "x" * 20, f"Basic {key}", "Bearer ключ".encode()):
                    response = await served.client.get(path, headers={"Authorization": shown})
                    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
                assert (await served.client.get(path, headers={"Authorization": f"bearer {key}"})).status_code == 200
            assert (await served.ask({"text": "a"})).status_code == 401
            for path in ("/", "/docs", "/openapi.json", "/health", "/ready", "/page/app.js"):
                assert (await served.client.get(path)).status_code == 200, path

    run(ask())


def test_a_new_version_needs_the_admin_key() -> None:
    stub = Stub()

    async def ask() -> None:
        async with service(stub) as served:
            assert (await served.client.post("/v1/models/one/reload")).status_code == 403
        async with service(stub, keys=("k" * 20,), admin_keys=("a" * 20,)) as served:
            path = "/v1/models/one/reload"
            user = await served.client.post(path, headers={"Authorization": "Bearer " + "k" * 20})
            assert user.status_code == 401
            admin = await served.client.post(path, headers={"Authorization": "Bearer " + "a" * 20})
            assert admin.json()["version"] == 2

    run(ask())


def test_every_answer_tells_browsers_to_load_nothing_from_elsewhere() -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            for path in ("/", "/docs", "/v1/models", "/nowhere", "/page/style.css"):
                response = await served.client.get(path)
                policy = response.headers["content-security-policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
                assert response.headers["x-content-type-options"] == "nosniff"
                assert "access-control-allow-origin" not in response.headers

    run(ask())


def test_other_origins_may_ask_only_if_allowed() -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "content-type,authorization"

    async def ask() -> None:
        async with service(Stub()) as served:
            response = await served.client.options("/v1/annotate", headers=asked)
            assert response.status_code == 405 and "access-control-allow-origin" not in response.headers
        async with service(Stub(), origins=("https://a.example",), keys=("k" * 20,)) as served:
            response = await served.client.options("/v1/annotate", headers=asked)
            assert response.headers["access-control-allow-origin"] == "https://a.example"
            other = await served.client.options("/v1/annotate", headers=asked | {"Origin": "https://b.example"})
            assert "access-control-allow-origin" not in other.headers

    run(ask())


@pytest.mark.parametrize("path", ["/nowhere", "/page/../app.py", "/page/index.html", "/page/%2e%2e%2fapp.py", "/page/"])
def test_nothing_but_what_there_is(path: str) -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            response = await served.client.get(path)
            assert response.status_code == 404 and error_of(response)["code"] == "not_found"
            assert (await served.client.get("/v1/annotate")).status_code == 405

    run(ask())


def test_pages_are_sent_once() -> None:
    async def ask() -> None:
        async with service(Stub()) as served:
            first = await served.client.get("/page/app.js")
            assert first.headers["content-type"].startswith("text/javascript")
            again = await served.client.get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})
            assert again.status_code == 304 and not again.content

    run(ask())


def test_the_openapi_document_has_the_form_of_bodies() -> None:
    async def ask() -> dict[str, Any]:
        async with service(Stub()) as served:
            return dict((await served.client.get("/openapi.json")).json())

    document = run(ask())
    fields = document["components"]["schemas"]["Ask"]["properties"]
    assert set(fields) == {"text", "pair", "words", "texts", "tasks", "confidence", "format"}
    assert all(one.get("description") for one in fields.values())
    body = document["paths"]["/v1/annotate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Ask"}
    assert {"401", "413", "422", "503", "504"} <= set(document["paths"]["/v1/annotate"]["post"]["responses"])
    json.dumps(document)


@pytest.mark.parametrize("log", ["none", "requests", "texts"])
def test_texts_are_logged_only_if_asked_for(log: str, caplog: pytest.LogCaptureFixture) -> None:
    secret = "a secret of mine"
    stub = Stub(failing={secret})

    async def ask() -> None:
        async with service(stub, log=log) as served:
            assert (await served.ask({"text": secret})).status_code == 500
            await served.ask(b'{"text": "' + secret.encode())

    with caplog.at_level(logging.DEBUG):
        run(ask())
    said = "\n".join(record.getMessage() for record in caplog.records if record.name == "polyhead.serving")
    assert (secret in said) == (log == "texts")
    assert ("POST /v1/annotate 500" in said) == (log != "none")
    assert "ValueError in x" in said, "the owner is told where a model failed"


def test_a_path_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        async with service(Stub(), log="requests") as served:
            await served.client.get("/a%00%0aGET%20/b%20200%1b[2J%7f%C2%85%E2%80%A8é")

    with caplog.at_level(logging.INFO):
        run(ask())
    (said,) = (record.getMessage() for record in caplog.records if record.name == "polyhead.serving")
    assert said.startswith("GET /a%00%0AGET%20/b%20200%1B%5B2J%7F%C2%85%E2%80%A8%C3%A9 404 in "), said


def test_a_fault_nobody_foresaw_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of mine")

    monkeypatch.setattr("polyhead.serving.app.questions_of", broken)
    response = run(one({"text": "a"}))
    assert response.status_code == 500 and error_of(response)["code"] == "internal_server_error"
    assert "secret" not in response.text and "RuntimeError" not in response.text
    said = "\n".join(record.getMessage() for record in caplog.records if record.name == "polyhead.serving")
    assert "RuntimeError" in said and "secret" not in said
