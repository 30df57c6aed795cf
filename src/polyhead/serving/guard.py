"""What stands before every request: the host that it names, its key, what its answer says to browsers, and the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from collections.abc import Iterable, Sequence
from hashlib import sha256
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyhead.serving.faults import RequestError, plain
from polyhead.serving.metrics import Metrics
from polyhead.serving.settings import Settings

logger = logging.getLogger("polyhead.serving")

OPEN = frozenset({"/", "/docs", "/openapi.json", "/health", "/ready"})
"""What anyone may see who reaches the server: nothing of models or texts. What is below /page is, too."""

SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer says to a browser: run nothing but the server's own scripts, load nothing from elsewhere."""


class Keys:
    """The keys that open something.

    They are compared as hashes and in constant time, so that how long it takes tells nothing of them.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def fits(self, headers: Headers) -> bool:
        """Whether a request shows one of them, as ``Authorization: Bearer KEY``."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        given = sha256(shown.strip().encode("utf-8", "replace")).digest()
        found = [hmac.compare_digest(given, one) for one in self._hashes]  # all of them, whichever fits
        return any(found) and scheme.lower() == "bearer"


def unauthorised() -> RequestError:
    """What is said to who shows no key that fits."""
    what = "A key is needed, and none that fits is shown."
    remedy = "Send it as Authorization: Bearer KEY."
    return RequestError(401, "unauthorised", what, remedy, {"WWW-Authenticate": "Bearer"})


class Guard:
    """Lets requests through to an app, counts them, and answers for it if it fails.

    Args:
        app: The app.
        settings: Who may ask.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.hosts = settings.allowed_hosts
        self.keys = Keys((*settings.keys, *settings.admin_keys) if settings.keys else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SAFE)
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, receive, sent)
        except Exception as error:
            if not status:
                fault = _fault_of(error)
                await to_response(fault)(scope, receive, sent)
            elif not isinstance(error, ClientDisconnect):
                _log(error)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _host_of(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            self.metrics.rejected.labels("host").inc()
            what = f"This server is not {host[:80]!r}."
            raise RequestError(421, "wrong_host", what, "Ask it by its own name, or start it with --allow-host.")
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        public = path in OPEN or path.startswith("/page/") or scope["method"] == "OPTIONS"
        if self.keys and not public and not self.keys.fits(headers):
            self.metrics.rejected.labels("key").inc()
            raise unauthorised()

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self.metrics.requests.labels(route, method, str(status or 499)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if self.settings.log != "none":
            path = quote(scope["path"][:200], errors="replace")  # no path may look like a line, or a field, of the log
            logger.info("%s %s %d in %.0f ms", scope["method"], path, status or 499, seconds * 1000)


def _host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0].removeprefix("[")
    return name.rpartition(":")[0] if ":" in name else name


def _fault_of(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, HTTPException):
        return plain(error.status_code)
    _log(error)
    return plain(500)


def _log(error: BaseException) -> None:
    """Where something failed; not the error's words, which may hold some of a text."""
    if isinstance(error, asyncio.CancelledError):
        return
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)[-4:]
    trace = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    logger.error("a request failed: %s in %s", type(error).__name__, trace)


def to_response(fault: RequestError) -> Response:
    """A fault as it is sent."""
    return Response(fault.to_bytes(), fault.status, fault.headers, media_type="application/json")
