"""What a server says when it does not answer: one shape for all, a status, and a remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from polyhead.serving.questions import Failure

SHOWN = 80
"""How many characters are told back of a client's own name for something: they are its own, and may be millions."""


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        code: A word for programs.
        what: What is wrong, with the value that is wrong, as far as others may know.
        remedy: What the client can do about it.
        headers: Of the response, such as ``Retry-After``.
        line: The line of a stream that is at fault, from 1.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(what)
        self.status, self.code, self.what, self.remedy, self.line = status, code, what, remedy, line
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, object]:
        """What is sent, in JSON."""
        told: dict[str, object] = {"code": self.code, "what": self.what, "remedy": self.remedy}
        return {"error": told if self.line is None else told | {"line": self.line}}

    def to_bytes(self) -> bytes:
        """The same as it is sent."""
        return json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", "replace")


def busy(what: str, seconds: float, code: str = "busy") -> RequestError:
    """A request that may come again after so many seconds."""
    wait = str(min(max(round(seconds), 1), 60))
    return RequestError(503, code, what, f"Ask again in {wait} s.", {"Retry-After": wait})


def failed(failure: Failure, line: int | None = None) -> RequestError:
    """What a model's process said instead of an answer."""
    if failure.refused:
        return RequestError(422, "refused", failure.what, failure.remedy, line=line)
    return RequestError(500, "failed", failure.what, failure.remedy, line=line)


def plain(status: int, line: int | None = None) -> RequestError:
    """A fault of which there is no more to say than its status."""
    phrase = HTTPStatus(status).phrase
    remedies = {404: "See /docs for what there is.", 405: "See /docs for what there is."}
    return RequestError(status, phrase.lower().replace(" ", "_"), f"{phrase}.", remedies.get(status, ""), line=line)
