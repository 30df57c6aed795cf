"""A model's own process: it loads the model, then answers what it is sent until its server is gone.

It is a process and not a thread so that neither loading a model nor Python's part of the answers holds up the server,
so that a new version is loaded beside the old one, and so that what kills it (no memory left, a fault of a library)
costs no more than the text that did.
"""

from __future__ import annotations

import json
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from polyhead.data.example import Example, Labels, Spans, Text, Tree, WordLabels
from polyhead.errors import PolyheadError
from polyhead.processes import limit_threads
from polyhead.serving.questions import Answer, Failure, Group, Head, Question, Wish

if TYPE_CHECKING:
    from polyhead.answering.annotator import Annotator
    from polyhead.doc import Doc

KINDS: dict[type, str] = {
    Text: "text",
    str: "label",
    Labels: "labels",
    float: "number",
    WordLabels: "words",
    Spans: "spans",
    Tree: "tree",
}
"""The kinds of answers, in a word each; the first that fits counts."""

SAMPLE = "Maria from Lindqvist Travel rebooked my flight to Porto."
"""What a model is tried on before it answers others: one sentence."""


def work(place: str, threads: int | None, connection: Connection) -> None:
    """Load a model, say which heads it has, and answer until the server says no more, or is gone.

    Args:
        place: What ``polyhead.load`` takes.
        threads: How many threads to compute with; by default as many as the libraries take.
        connection: To the server, which is sent ``("ready", heads)`` or ``("failed", error)`` first, and then a list of
            answers for each list of groups.
    """
    _belong_to_the_server()
    if threads is not None:
        limit_threads(threads)
    with suppress(EOFError, OSError):  # the server is gone, perhaps while the model was loaded
        annotator = _begin(place, connection)
        while annotator is not None and (groups := connection.recv()) is not None:
            connection.send([answer(annotator, wish, questions) for wish, questions in groups])


def _begin(place: str, connection: Connection) -> Annotator | None:
    """The model, if it can be loaded; the server is told either way."""
    try:
        annotator = _load(place)
        heads = look(annotator)
    except PolyheadError as error:
        connection.send(
            ("failed", {"what": error.what, "remedy": error.remedy, "file": error.file, "line": error.line})
        )
        return None
    except Exception as error:
        connection.send(("failed", {"what": f"The model cannot be loaded: {type(error).__name__}: {error}."}))
        return None
    connection.send(("ready", heads))
    return annotator


def _belong_to_the_server() -> None:
    """Signals to all processes of a terminal or a service are for the server, which answers what it accepted."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _load(place: str) -> Annotator:
    from polyhead.loading import load  # not above: the server's process needs no model

    return load(place)


def look(annotator: Annotator) -> list[Head]:
    """The heads of a model, found by asking it, which also warms it up."""
    doc = annotator(SAMPLE)
    paired = annotator.pairs([(SAMPLE, SAMPLE)])[0] if annotator.about_pairs else doc
    found: dict[str, str] = {}
    for one in (doc, paired):
        for answers in (one.answers, *(sentence.answers for sentence in one.sentences)):
            found |= {layer: _kind(prediction.value) for layer, prediction in answers.items()}
    pairs = set(annotator.about_pairs)
    return [Head(task, layer, found.get(layer, "unknown"), task in pairs) for task, layer in annotator.names.items()]


def _kind(value: Any) -> str:
    return next((word for kind, word in KINDS.items() if isinstance(value, kind)), "unknown")


def answer(annotator: Annotator, wish: Wish, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions together; if that fails each alone, so that none but the guilty goes without."""
    try:
        asked = annotator if wish.tasks is None else annotator.only(*wish.tasks)
    except PolyheadError as error:
        return [Failure(True, error.what, error.remedy)] * len(questions)
    deaf = [task for task in wish.tasks or () if asked.backend.tasks[task].words]
    if deaf and any(question.pair is not None for question in questions):
        answers = iter(answer(annotator, wish, [one for one in questions if one.pair is None]))
        refused = Failure(True, f"tasks.{deaf[0]} answers no pairs of texts.", "Leave the pair out, or the task.")
        return [next(answers) if one.pair is None else refused for one in questions]
    try:
        docs = list(asked.stream(map(_example, questions), split=True if wish.format == "conllu" else None))
    except Exception as error:
        if len(questions) > 1:
            return [one for question in questions for one in answer(asked, Wish(None, *_rest(wish)), [question])]
        return [_failed(error)]
    return [_written(doc, wish) for doc in docs]


def _rest(wish: Wish) -> tuple[Any, ...]:
    return wish.confidence, wish.format


def _example(question: Question) -> Example:
    if question.words is not None:
        return Example(words=question.words)
    return Example(text=question.text, pair=question.pair)


def _written(doc: Doc, wish: Wish) -> Answer:
    try:
        if wish.format == "conllu":
            return doc.to_conllu(confidence=wish.confidence).encode()
        record = doc.to_dict(confidence=wish.confidence)
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> Failure:
    if isinstance(error, PolyheadError):
        return Failure(True, error.what, error.remedy)
    frames = traceback.extract_tb(error.__traceback__)
    trace = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-4:]))
    remedy = "Other texts are answered. The server's log says where it failed."
    return Failure(False, "The model failed on this text.", remedy, f"{type(error).__name__} in {trace}", str(error))


def groups_of(asked: Sequence[tuple[Wish, Question]]) -> tuple[list[Group], list[tuple[int, int]]]:
    """Questions in groups of the same wish, and for each question its group and its place there."""
    groups: dict[Wish, list[Question]] = {}
    order = {wish: number for number, wish in enumerate(dict.fromkeys(wish for wish, _ in asked))}
    places = []
    for wish, question in asked:
        group = groups.setdefault(wish, [])
        places.append((order[wish], len(group)))
        group.append(question)
    return list(groups.items()), places
