"""A request's body -> questions: strict, in bounded size and time, and whatever is wrong is told with a remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from polyhead.data.records import is_no_word
from polyhead.data.values import load_json
from polyhead.errors import nearest
from polyhead.serving.faults import SHOWN, RequestError
from polyhead.serving.questions import Question, Wish
from polyhead.serving.settings import Settings

LARGE = 128 * 2**10
"""Bytes of a body from which on it is read beside the event loop, which it would hold up for milliseconds."""

EXCESS = 4
"""How many times the limit is read of a body that is too large, so that a client who is still sending hears of it."""

EXCESS_SECONDS = 2.0
"""How long it is read from when it is known to be."""

QUERY = ("tasks", "confidence")
"""What the address of a stream may ask."""

TASKS = 1_000
"""The most tasks that a request may name."""

TASK_CHARACTERS = 200
"""The most characters of the name of one."""

_STRICT = ConfigDict(extra="forbid", strict=True)

# Lists fail at their first fault: pydantic otherwise keeps one for each element, hundreds of bytes for two of the body.
Words = Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, fail_fast=True)]
Tasks = Annotated[
    list[Annotated[str, StringConstraints(max_length=TASK_CHARACTERS)]],
    Field(min_length=1, max_length=TASKS, fail_fast=True),
]


class Part(BaseModel):
    """One of several texts, where it is more than a string: a pair, or words."""

    model_config = _STRICT

    text: str | None = Field(None, description="A raw text.")
    pair: str | None = Field(None, description="The second text, for heads about pairs of texts.")
    words: Words | None = Field(None, description="Instead of `text`: the words of one sentence, split already.")


class Ask(BaseModel):
    """What to answer, and how. Exactly one of `text`, `words` and `texts` is given."""

    model_config = _STRICT | {
        "json_schema_extra": {
            "examples": [
                {"text": "Maria from Lindqvist Travel rebooked my flight to Porto.", "confidence": True},
                {"texts": ["It came late.", {"words": ["Great", "service", "!"]}], "tasks": ["sentiment"]},
            ]
        }
    }

    text: str | None = Field(None, description="A raw text.")
    pair: str | None = Field(None, description="The second text, for heads about pairs of texts.")
    words: Words | None = Field(None, description="The words of one sentence, split already.")
    texts: Annotated[list[str | Part], Field(fail_fast=True)] | None = Field(
        None, description="Several: strings, or objects with `text` or `words`."
    )
    tasks: Tasks | None = Field(None, description="The tasks that answer; by default all.")
    confidence: bool = Field(False, description="Whether to say how sure each answer is.")
    format: Literal["json", "conllu"] = Field("json", description="JSON, or CoNLL-U as plain text.")


# --- bytes ---


async def read_body(receive: Receive, headers: Mapping[str, str], settings: Settings) -> bytes:
    """The whole body.

    Raises:
        RequestError: It is too large (whether its length is told or not), too slow, or compressed.
        ClientDisconnect: The client went away.
    """
    check_encoding(headers)
    told = headers.get("content-length", "0")
    large = told.isdigit() and int(told) > settings.body_bytes
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(EXCESS_SECONDS if large else None) as limit:
            async for part in chunks(receive, settings):
                size += len(part)
                if size > settings.body_bytes and not large:
                    large = True
                    limit.reschedule(asyncio.get_running_loop().time() + EXCESS_SECONDS)
                if size > EXCESS * settings.body_bytes:
                    break
                if not large:
                    parts.append(part)
    except (RequestError, TimeoutError):
        if not large:
            raise
    if large:
        raise too_large(settings)
    return b"".join(parts)


async def chunks(receive: Receive, settings: Settings, seconds: float | None = None) -> AsyncIterator[bytes]:
    """A body as it comes.

    Args:
        receive: Of the request.
        settings: How long the client may keep silent.
        seconds: How long all of it may take; by default as long as a request; ``0`` for any time.

    Raises:
        RequestError: It is too slow.
        ClientDisconnect: The client went away.
    """
    whole = settings.seconds if seconds is None else seconds
    end = asyncio.get_running_loop().time() + whole
    more = True
    while more:
        left = end - asyncio.get_running_loop().time() if whole else settings.idle_seconds
        try:
            async with asyncio.timeout(min(settings.idle_seconds, left)):
                message = await receive()
        except TimeoutError:
            what = "The request's body did not come in time."
            raise RequestError(408, "too_slow", what, "Send it at once.", {"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


def check_encoding(headers: Mapping[str, str]) -> None:
    """See that a body is not compressed: what it would take unpacked cannot be told from its size.

    Raises:
        RequestError: It is.
    """
    encoding = headers.get("content-encoding", "identity")
    passed = headers.get("transfer-encoding", "chunked")
    if passed.lower() != "chunked":
        encoding = passed
    if encoding.lower() != "identity":
        raise RequestError(415, "compressed", f"Bodies compressed by {encoding[:40]!r} are not read.", "Send it plain.")


def check_type(headers: Mapping[str, str], *wanted: str) -> None:
    """See that a body is said to be of a type that a page of another site cannot send unasked.

    Raises:
        RequestError: It is of another type.
    """
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in wanted:
        what = f"The body's type is {given[:40]!r}." if given else "The body's type is not told."
        raise RequestError(415, "wrong_type", what, f"Send it with Content-Type: {wanted[0]}.")


def check_query(given: Sequence[tuple[str, str]]) -> None:
    """See that a stream's address asks nothing that it does not know, and nothing twice.

    Raises:
        RequestError: It does.
    """
    seen: set[str] = set()
    for name, _ in given:
        if name not in QUERY:
            raise RequestError(422, "invalid", f"There is no query {name[:SHOWN]!r}.", nearest(name[:SHOWN], QUERY))
        if name in seen:
            remedy = "Put commas between several: tasks=one,two." if name == "tasks" else "Give it once."
            raise RequestError(422, "invalid", f"The query {name!r} stands twice.", remedy)
        seen.add(name)


def too_large(settings: Settings) -> RequestError:
    """What a client hears whose body or line is too large."""
    what = f"There is more than {settings.body_bytes:,} bytes of it."
    return RequestError(413, "too_large", what, "Send fewer texts at once, or a stream.", {"Connection": "close"})


# --- values ---


async def read_ask(body: bytes, settings: Settings) -> Ask:
    """What a body asks.

    Raises:
        RequestError: It is no JSON, not of this form, or holds too many texts or words.
    """
    return await asyncio.to_thread(_ask, body, settings) if len(body) > LARGE else _ask(body, settings)


def _ask(body: bytes, settings: Settings) -> Ask:
    value = read_value(body)
    if not isinstance(value, dict):
        raise RequestError(422, "invalid", "The body is no object.", 'As in {"text": "..."}')
    _check_counts(value, Ask, settings)
    try:
        return Ask.model_validate(value)
    except ValidationError as error:
        raise _told(error) from None


def read_value(body: bytes) -> object:
    """A value of JSON.

    Raises:
        RequestError: It is none: not UTF-8, not JSON, nested too deeply, NaN, a key twice, half a character.
    """
    try:
        return load_json(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        what = f"Not UTF-8 at byte {error.start + 1:,}."
        raise RequestError(400, "invalid_json", what, "Send JSON in UTF-8.") from None
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        raise RequestError(400, "invalid_json", f"{what[:200]}.", remedy[:200] or "Send JSON in UTF-8.") from None


def _check_counts(value: Mapping[str, Any], form: type[BaseModel], settings: Settings, where: str = "") -> None:
    """See that an object has the keys of its form alone, and few enough texts and words, before pydantic looks at each.

    Raises:
        RequestError: It has not.
    """
    for key in value:
        if key not in form.model_fields:
            what = f"There is no key {(where + key)[:SHOWN]!r}."
            raise RequestError(422, "invalid", what, nearest(key[:SHOWN], form.model_fields))
    words, texts = value.get("words"), value.get("texts")
    if isinstance(words, list) and len(words) > settings.words:
        what = f"{where.rstrip('.') or 'the text'} has {len(words):,} words, and at most {settings.words:,} are taken"
        raise _too_long(f"{what} as one sentence.", "Send its sentences as texts of their own.")
    if isinstance(texts, list):
        if len(texts) > settings.texts:
            what = f"There are {len(texts):,} texts, and at most {settings.texts:,} are taken at once."
            raise RequestError(422, "too_many_texts", what, "Send them as a stream, or in parts.")
        for number, one in enumerate(texts):
            if isinstance(one, dict):
                _check_counts(one, Part, settings, f"texts.{number}.")


def read_part(body: bytes, settings: Settings) -> Question:
    """A line of a stream: a string, or an object with ``text`` or ``words``.

    Raises:
        RequestError: It is none of these, or too long.
    """
    value = read_value(body)
    if isinstance(value, str):
        return check(Question(text=value), settings)
    if not isinstance(value, dict):
        raise RequestError(422, "invalid", "This is neither a string nor an object.", 'As in "..." or {"text": "..."}')
    _check_counts(value, Part, settings)
    try:
        part = Part.model_validate(value)
    except ValidationError as error:
        raise _told(error) from None
    return check(_question(part), settings)


def _told(error: ValidationError) -> RequestError:
    """The first fault that pydantic found, in words."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    deepest = max(found, key=lambda one: len(one["loc"]))  # of the kinds that a text may be the one that was meant
    kinds = {"str", "Part"}
    place = ".".join(str(part) for part in deepest["loc"] if part not in kinds)
    message = deepest["msg"][:1].lower() + deepest["msg"][1:]
    return RequestError(422, "invalid", f"{place[:SHOWN] or 'body'}: {message[:200]}.", "See /docs for its form.")


# --- questions ---


def questions_of(ask: Ask, settings: Settings) -> list[Question]:
    """The texts of a request.

    Raises:
        RequestError: None or several ways to give texts are used, or a text is too long.
    """
    given = [name for name in ("text", "words", "texts") if getattr(ask, name) is not None]
    if len(given) != 1:
        what = f"Both {given[0]} and {given[1]} are given." if given else "No text is given."
        raise RequestError(422, "invalid", what, "Give one of text, words and texts.")
    if ask.texts is None:
        part = Part(text=ask.text, pair=ask.pair, words=ask.words)
        return [check(_question(part), settings)]
    if ask.pair is not None:
        remedy = 'As in {"texts": [{"text": "...", "pair": "..."}]}'
        raise RequestError(422, "invalid", "pair stands beside texts.", remedy)
    asked = enumerate(
        Question(text=one) if isinstance(one, str) else _question(one, i) for i, one in enumerate(ask.texts)
    )
    return [check(question, settings, f"texts.{i}") for i, question in asked]


def check_format(questions: Sequence[Question], wish: Wish) -> None:
    """See that texts can be written as they are wanted.

    Raises:
        RequestError: CoNLL-U is wanted of a pair.
    """
    if wish.format == "conllu" and any(question.pair is not None for question in questions):
        what = "CoNLL-U holds one text split into words, and no pairs."
        raise RequestError(422, "invalid", what, "Leave format out: pairs are answered in JSON.")


def _question(part: Part, number: int | None = None) -> Question:
    where = "" if number is None else f"texts.{number}: "
    if (part.text is None) == (part.words is None):
        what = "neither text nor words is given" if part.text is None else "both text and words are given"
        raise RequestError(422, "invalid", f"{where}{what}.", "Give one of them.")
    if part.words is not None and part.pair is not None:
        what = f"{where}pair stands beside words."
        raise RequestError(422, "invalid", what, "Pairs are raw texts: give text and pair.")
    return Question(part.text, part.pair, None if part.words is None else tuple(part.words))


def check(question: Question, settings: Settings, where: str = "the text") -> Question:
    """See that a text is not too long, and that its words are words.

    Raises:
        RequestError: One is not.
    """
    odd = next((word for word in question.words or () if is_no_word(word)), None)
    if odd is not None:
        what = f"{where} has a word {odd[:SHOWN]!r}, which is no word."
        raise RequestError(422, "invalid", what[:1].upper() + what[1:], "Correct it, or take it out.")
    parts: Sequence[str] = question.words or (question.text or "", question.pair or "")
    longest = max(map(len, parts), default=0) if question.words is None else sum(map(len, parts))
    if longest > settings.text_characters:
        what = f"{where} has {longest:,} characters, and at most {settings.text_characters:,} are taken."
        raise _too_long(what, "Send it in parts, such as its paragraphs.")
    return question


def _too_long(what: str, remedy: str) -> RequestError:
    return RequestError(422, "text_too_long", what[:1].upper() + what[1:], remedy)


def wish_of(tasks: Sequence[str] | None, confidence: bool, form: Literal["json", "conllu"] = "json") -> Wish:
    """How texts are to be answered; the order of tasks does not matter."""
    return Wish(None if tasks is None else tuple(sorted(set(tasks))), confidence, form)
