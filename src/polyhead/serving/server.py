"""A server from its start to its end: the socket, the models, the signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from polyhead.errors import PolyheadError
from polyhead.serving.app import make_app
from polyhead.serving.metrics import Metrics
from polyhead.serving.models import Models
from polyhead.serving.protocol import protocol_for
from polyhead.serving.settings import Settings

BACKLOG = 1024
"""How many connections the system keeps that the server did not take yet."""


def run_server(places: Mapping[str, str], settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve models until a signal ends it.

    Args:
        places: The models by name; the first is asked where a request names none.
        settings: Where it listens, and what it takes.
        tell: Is called when it listens, with its address.

    Raises:
        PolyheadError: The address cannot be had, or a model cannot be loaded.
    """
    settings.check()
    listening = listen(settings)
    try:
        app_runner = uvicorn.Config(app="", loop="auto").get_loop_factory()
        with asyncio.Runner(loop_factory=app_runner) as runner:
            runner.run(_serve(places, settings, listening, tell))
    finally:
        listening.close()


async def _serve(
    places: Mapping[str, str], settings: Settings, listening: socket.socket, tell: Callable[[str], None]
) -> None:
    metrics = Metrics()
    models = Models(places, settings, metrics)
    try:
        await models.begin()
        server = Server(models, settings, metrics, lambda: tell(address_of(listening)))
        await server.serve(sockets=[listening])
    finally:
        await models.end()


class Server(uvicorn.Server):
    """uvicorn's server, which stops and loads models anew at signals.

    Args:
        models: Which answer.
        settings: Its bounds.
        metrics: What it counts.
        begun: Is called when it listens, and is ready for signals.
    """

    def __init__(self, models: Models, settings: Settings, metrics: Metrics, begun: Callable[[], None]) -> None:
        self.models, self.settings = models, settings
        self._begun = begun
        self._tasks: set[asyncio.Task[None]] = set()
        self._terminal = _is_terminal()
        config = uvicorn.Config(
            make_app(models, settings, metrics),
            http=protocol_for(settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=settings.keep_alive,
            timeout_graceful_shutdown=max(1, round(settings.grace)),
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would log requests that are no HTTP
        super().__init__(config)
        metrics.counting(lambda: len(self.server_state.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets=sockets)
        self._begun()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at SIGTERM and SIGINT, load anew at SIGHUP; the process then ends as any that has done its work."""
        loop = asyncio.get_running_loop()
        handlers: dict[str, Callable[[], None]] = {"SIGTERM": self.stop, "SIGINT": self.stop, "SIGHUP": self.hang_up}
        known = {getattr(signal, name): call for name, call in handlers.items() if hasattr(signal, name)}
        try:
            for number, call in known.items():
                loop.add_signal_handler(number, call)
        except (NotImplementedError, RuntimeError, ValueError):  # not on this system, or not in this thread
            known = {}
        try:
            yield
        finally:
            for number in known:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Say that it is not ready, accept no more after the time to drain, and end when all is answered; at once the
        second time."""
        if self.models.draining:
            self.should_exit = self.force_exit = True
            return
        self.models.draining = True
        asyncio.get_running_loop().call_later(self.settings.drain, self._close)

    def _close(self) -> None:
        self.should_exit = True

    def hang_up(self) -> None:
        """Load the models anew; but if the terminal is gone from which the server was started, end."""
        if self._terminal and not _is_terminal():
            self.stop()
            return
        task = asyncio.create_task(self.models.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_terminal() -> bool:
    try:
        return sys.stdin is not None and os.isatty(sys.stdin.fileno())
    except (OSError, ValueError):  # it is closed, or no file
        return False


def listen(settings: Settings) -> socket.socket:
    """A socket at the address, before models are loaded for nothing.

    Raises:
        PolyheadError: The address is none of this machine, or taken.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        remedy = "Take another --port, or 0 for a free one."
        what = f"Cannot listen at {where}: {getattr(error, 'strerror', None) or error}."
        raise PolyheadError(what, remedy=remedy) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The address of a server as a browser takes it."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
