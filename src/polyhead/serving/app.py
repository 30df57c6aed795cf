"""The service: what can be asked of a server, and its answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive

from polyhead.errors import PolyheadError
from polyhead.serving.asking import (
    Ask,
    check_encoding,
    check_format,
    check_query,
    check_type,
    questions_of,
    read_ask,
    read_body,
    wish_of,
)
from polyhead.serving.assets import asset, page_of
from polyhead.serving.faults import RequestError, failed, plain
from polyhead.serving.guard import Guard, Keys, to_response, unauthorised
from polyhead.serving.metrics import Metrics
from polyhead.serving.models import Model, Models
from polyhead.serving.questions import Failure, Question, Wish
from polyhead.serving.settings import Settings
from polyhead.serving.streaming import NDJSON, Lines, at_once, disconnected, lines_of
from polyhead.serving.tickets import Ticket
from polyhead.version import __version__

logger = logging.getLogger("polyhead.serving")

ABOUT = (
    "Answers of trained models for texts. Errors have one form: `error` with a `code` for programs, `what` is wrong, "
    "and a `remedy`."
)
LIMITS = ("text_characters", "words", "texts", "body_bytes", "seconds")
"""The bounds that clients are told."""

ASKED: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}}}
}
STREAMED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One text on each line: a JSON string, or an object with `text` (and `pair`) or `words`.",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    }
}
SAID = {
    "description": "`model`, its `version`, and `answers`, one for each text, as `polyhead predict --to jsonl` writes "
    "them. With `Accept: application/x-ndjson` one answer on each line; with `format: conllu` CoNLL-U."
}
FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is no JSON in UTF-8."},
    401: {"description": "A key is needed."},
    404: {"description": "There is no such model."},
    408: {"description": "The body came too slowly."},
    413: {"description": "The body is too large."},
    415: {"description": "The body is of another type, or compressed."},
    422: {"description": "The body says something that cannot be answered."},
    500: {"description": "The model failed on the text."},
    503: {"description": "Too many wait; `Retry-After` says when to ask again."},
    504: {"description": "There was no answer in time."},
}


class Service:
    """Answers requests.

    Args:
        models: Which answer.
        settings: What they take.
        metrics: What was counted.
    """

    def __init__(self, models: Models, settings: Settings, metrics: Metrics) -> None:
        self.models, self.settings, self.metrics = models, settings, metrics
        self.admins = Keys(settings.admin_keys)

    async def annotate(self, request: Request, model: Model) -> Response:
        """Answer the texts of a body."""
        check_type(request.headers, "application/json")
        ask = await read_ask(await read_body(request.receive, request.headers, self.settings), self.settings)
        questions = questions_of(ask, self.settings)
        wish = wish_of(ask.tasks, ask.confidence, ask.format)
        check_format(questions, wish)
        self._log(questions)
        lines = NDJSON in request.headers.get("accept", "")
        if lines and wish.format == "conllu":
            raise RequestError(422, "invalid", "CoNLL-U has no lines of JSON.", "Leave Accept or format out.")
        if lines:
            model.let_in(wish, ())  # is there room?
            return Lines(model, wish, at_once(questions), self.settings, unread=False)
        ticket = model.let_in(wish, questions)
        await self._wait(ticket, model, request.receive)
        return _answered(model, wish, ticket, single=ask.texts is None)

    async def stream(self, request: Request, model: Model, wish: Wish) -> Response:
        """Answer the lines of a body as they come."""
        check_type(request.headers, NDJSON, "application/jsonl")
        check_encoding(request.headers)
        model.let_in(wish, ())
        return Lines(model, wish, lines_of(request.receive, self.settings), self.settings, unread=True)

    async def _wait(self, ticket: Ticket, model: Model, receive: Receive) -> None:
        """Wait for answers, but not longer than the client does, or than is allowed."""
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({ticket.done, gone}, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if ticket.done.done():
                return
            if gone.done():
                raise ClientDisconnect
            self.metrics.rejected.labels("late").inc()
            what = f"There was no answer within {self.settings.seconds:g} s."
            raise RequestError(504, "late", what, "Send fewer texts at once, or a stream.")
        finally:
            gone.cancel()
            if not ticket.done.done():
                model.line.drop(ticket)

    def _log(self, questions: Sequence[Question]) -> None:
        if self.settings.log == "texts":
            for question in questions:
                shown = question.text if question.text is not None else " ".join(question.words or ())
                logger.info("text %s", json.dumps([shown, question.pair] if question.pair else shown))

    async def reload(self, request: Request, model: Model) -> dict[str, Any]:
        """Load a new version of a model."""
        if not self.admins:
            what = "No admin key is set, so that nobody may do this."
            raise RequestError(403, "forbidden", what, "Set POLYHEAD_ADMIN_KEY, or send the server SIGHUP.")
        if not self.admins.fits(request.headers):
            raise unauthorised()
        try:
            await model.reload()
        except PolyheadError as error:
            what = f"{error.what} Version {model.version} goes on."
            raise RequestError(409, "not_loaded", what, error.remedy) from None
        return describe(model)


def _answered(model: Model, wish: Wish, ticket: Ticket, *, single: bool) -> Response:
    """The answers of a request; what failed stands in its place, but if it is all that was asked."""
    headers = {"Cache-Control": "no-store"}
    faults = [failed(answer) for answer in ticket.answers if isinstance(answer, Failure)]
    if faults and (single or wish.format == "conllu" or len(faults) == len(ticket.answers)):
        raise faults[0]
    answers = [failed(one).to_bytes() if isinstance(one, Failure) else one or b"" for one in ticket.answers]
    if wish.format == "conllu":
        return Response(b"".join(answers), headers=headers, media_type="text/plain; charset=utf-8")
    version = model.version if ticket.version is None else ticket.version
    head = json.dumps({"model": model.name, "version": version})[:-1].encode()
    body = b"".join([head, b', "answers": [', b", ".join(answers), b"]}"])
    return Response(body, headers=headers, media_type="application/json")


def describe(model: Model) -> dict[str, Any]:
    """What is known of a model, in JSON."""
    return {
        "name": model.name,
        "version": model.version,
        "loaded": model.loaded,
        "ready": model.ready,
        "error": model.error or None,
        "tasks": [{"task": one.task, "layer": one.layer, "kind": one.kind, "pair": one.pair} for one in model.heads],
    }


def make_app(models: Models, settings: Settings, metrics: Metrics) -> ASGIApp:
    """The application of a server whose models are loaded."""
    api = FastAPI(
        title="polyhead", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    service = Service(models, settings, metrics)
    _add_annotation(api, service)
    _add_state(api, service)
    _add_pages(api)
    _add_faults(api)
    _add_schemas(api)
    if settings.origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Guard(api, settings, metrics)


Tasks = Annotated[str | None, Query(description="The tasks that answer, with commas; by default all.")]
Sure = Annotated[bool, Query(description="Whether to say how sure each answer is.")]


def _add_annotation(api: FastAPI, service: Service) -> None:
    said: dict[int | str, dict[str, Any]] = {200: SAID, **FAULTS}
    both: dict[str, Any] = {"responses": said, "response_class": Response, "tags": ["answers"]}

    @api.post("/v1/annotate", summary="Answer texts", openapi_extra=ASKED, **both)
    async def annotate(request: Request) -> Response:
        return await service.annotate(request, service.models.first)

    @api.post(
        "/v1/models/{name}/annotate", summary="Answer texts by one of several models", openapi_extra=ASKED, **both
    )
    async def annotate_by(name: str, request: Request) -> Response:
        return await service.annotate(request, service.models[name])

    @api.post("/v1/stream", summary="Answer lines as they come", openapi_extra=STREAMED, **both)
    async def stream(request: Request, tasks: Tasks = None, confidence: Sure = False) -> Response:
        check_query(request.query_params.multi_items())
        return await service.stream(request, service.models.first, _wish(tasks, confidence))

    @api.post("/v1/models/{name}/stream", summary="The same by one of several models", openapi_extra=STREAMED, **both)
    async def stream_by(name: str, request: Request, tasks: Tasks = None, confidence: Sure = False) -> Response:
        check_query(request.query_params.multi_items())
        return await service.stream(request, service.models[name], _wish(tasks, confidence))


def _wish(tasks: str | None, confidence: bool) -> Wish:
    return wish_of(None if tasks is None else [task.strip() for task in tasks.split(",")], confidence)


def _add_state(api: FastAPI, service: Service) -> None:
    models, metrics = service.models, service.metrics

    @api.get("/v1/models", summary="The models and their tasks", tags=["models"])
    async def all_models() -> dict[str, Any]:
        limits = {name: getattr(service.settings, name) for name in LIMITS}
        return {"models": [describe(model) for model in models], "limits": limits}

    @api.get("/v1/models/{name}", summary="One model", tags=["models"], responses={404: FAULTS[404]})
    async def one_model(name: str) -> dict[str, Any]:
        return describe(models[name])

    @api.post(
        "/v1/models/{name}/reload",
        summary="Load a new version",
        tags=["models"],
        responses={409: {"description": "It cannot be loaded; the present version goes on."}},
    )
    async def reload(name: str, request: Request) -> dict[str, Any]:
        """From where the model was loaded first. Needs the admin key. Nothing that was accepted is lost."""
        return await service.reload(request, models[name])

    @api.head("/health", include_in_schema=False)
    @api.get("/health", summary="Whether the server runs", tags=["state"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.head("/ready", include_in_schema=False)
    @api.get("/ready", summary="Whether it takes requests", tags=["state"])
    async def ready() -> Response:
        state = {True: "ready", False: "draining" if models.draining else "starting"}[models.ready]
        body = json.dumps({"status": state}).encode()
        return Response(body, 200 if models.ready else 503, media_type="application/json")

    @api.get("/metrics", summary="Figures for Prometheus", tags=["state"], response_class=Response)
    async def figures() -> Response:
        return Response(metrics.page(), headers={"Content-Type": metrics.content_type})


def _add_pages(api: FastAPI) -> None:
    @api.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return page_of("index.html", request.headers)

    @api.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return page_of("docs.html", request.headers)

    @api.get("/page/{name}", include_in_schema=False)
    async def part(name: str, request: Request) -> Response:
        return asset(name, request.headers)


def _add_faults(api: FastAPI) -> None:
    async def told(_: Request, fault: Exception) -> Response:
        assert isinstance(fault, RequestError)
        return to_response(fault)

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = to_response(plain(error.status_code))
        response.headers.update(error.headers or {})
        return response

    async def query(_: Request, error: Exception) -> Response:
        first = getattr(error, "errors", list)()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
        return to_response(RequestError(422, "invalid", what[:300], "See /docs for its form."))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is nginx's for this

    async def unforeseen(_: Request, __: Exception) -> Response:
        return to_response(plain(500))

    api.add_exception_handler(RequestError, told)
    api.add_exception_handler(ClientDisconnect, gone)
    api.add_exception_handler(Exception, unforeseen)
    api.add_exception_handler(HTTPException, http)
    api.add_exception_handler(RequestValidationError, query)


def _add_schemas(api: FastAPI) -> None:
    """Let the OpenAPI document hold the form of bodies, which are read by hand to bound their size and time."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Ask" not in schemas:
            schema = Ask.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas["Ask"] = schema
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation.get("responses", {}).get("422", {}).pop("content", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return document

    api.openapi = openapi  # type: ignore[method-assign]
