"""Connections with bounds that uvicorn lacks: slow or huge heads, clients that do not read, how many there are."""

from __future__ import annotations

import json
from asyncio import BaseTransport, TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polyhead.serving.faults import RequestError, busy
from polyhead.serving.settings import Settings


def protocol_for(settings: Settings) -> type[HttpToolsProtocol]:
    """A protocol class with these bounds."""
    return type("Bounded", (BoundedProtocol,), {"settings": settings})


class BoundedProtocol(HttpToolsProtocol):
    """A connection.

    Attributes:
        settings: Its bounds.
    """

    settings: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: TimerHandle | None = None
        self._head_bytes = 0
        self._writing: TimerHandle | None = None
        self._fault: RequestError | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """A client is there; from now on its first request's head is awaited."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.settings.connections:
            self._refuse(busy("There are too many connections.", 1))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        for timer in (self._head, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, unless it is a head without an end."""
        if self.transport.is_closing():
            return
        if self._head is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head is not None and self._head_bytes > self.settings.header_bytes:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        extensions: dict[str, Any] = {"polyhead.abort": self.transport.abort}
        self.scope["extensions"] = extensions
        if self._head is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        if self._head is not None:
            self._head.cancel()
            self._head = None
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.settings.header_bytes:  # all of it came at once
            self._fault = self._too_large()
            raise ValueError(self._fault.what)  # the parser ends at that, as at what is no HTTP
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """It is answered; the client must read that."""
        super().on_response_complete()
        self._see_written(None)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or too much."""
        self._refuse(self._fault or RequestError(400, "no_http", msg))

    def _too_large(self) -> RequestError:
        what = f"The head of the request has more than {self.settings.header_bytes:,} bytes."
        return RequestError(431, "head_too_large", what, "Send fewer or shorter headers.")

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head = self.loop.call_later(self.settings.header_seconds, self._late)

    def _late(self) -> None:
        self._refuse(RequestError(408, "too_slow", "The request's head did not come in time.", "Send it at once."))

    def _see_written(self, before: int | None) -> None:
        """See now and then that a client reads its answer, and leave it if it does not."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before and left:
            self.transport.abort()
        elif left:
            self._writing = self.loop.call_later(self.settings.idle_seconds, self._see_written, left)

    def _refuse(self, fault: RequestError) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
        body = json.dumps(fault.to_dict()).encode()
        head = [f"HTTP/1.1 {fault.status} Refused", "content-type: application/json", f"content-length: {len(body)}"]
        head += [f"{name.lower()}: {value}" for name, value in fault.headers.items()]
        self.transport.write("\r\n".join([*head, "connection: close", "", ""]).encode() + body)
        self.transport.close()
