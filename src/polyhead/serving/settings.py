"""What a server is told: where it listens, who may ask, and how much of anything it takes."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from polyhead.errors import PolyheadError, refused

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""The names by which a server on the loopback is asked. Any other is that of a page that was made to lead here."""

LEAST_KEY = 16
"""The fewest characters of a key: what is shorter can be guessed."""

OPTIONS = {"text_characters": "--max-text: ", "seconds": "--timeout: ", "wait_seconds": "--wait: "}
"""How errors begin that tell of settings which options of ``polyhead serve`` call otherwise."""

_OF_A_RUN = ("model", "onnx", "onnx-int8")
"""The folders in a run that hold its model; they are called as the run."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a server listens and what it takes. Whatever has no bound here has one that follows from these.

    Attributes:
        host: The address to listen at.
        port: Its port; 0 takes a free one.
        keys: Whoever asks must show one of these, if there are any; to listen elsewhere than at the loopback needs one.
        admin_keys: Whoever has a new version loaded by a request must show one of these; without any nobody can.
        hosts: Further names by which the server may be asked, such as that of a proxy before it.
        origins: The pages that may ask it from a browser, as ``https://example.org``.
        body_bytes: The most of a request's body, and of one line of a stream.
        text_characters: The most of one text.
        words: The most words of a text that is given as words: a parser's work grows with the square of them.
        texts: The most texts of one request.
        seconds: How long a request may take, from its last byte to its answer.
        queue: The most requests that wait for one model.
        queue_characters: The most characters of them, together; one request more is let in while there are fewer.
        connections: The most connections.
        header_seconds, header_bytes: How long a request's head may take, and how long it may be.
        idle_seconds: How long a client may neither send what it owes nor read what it is sent.
        keep_alive: How long a connection may be idle; longer than proxies keep theirs.
        wait_seconds: How long a batch waits for further requests at most.
        batch_characters, batch_texts: The most of a batch: about what an encoder is given at once.
        threads: How many threads a model computes with; by default as many as its library takes.
        grace: How long a stop waits for what was accepted.
        drain: How long a stop still accepts requests, while the server says that it is not ready.
        log: What is written of requests: nothing, a line for each, or their texts, too.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    admin_keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_bytes: int = 8 * 2**20
    text_characters: int = 20_000
    words: int = 1_000
    texts: int = 10_000
    seconds: float = 60.0
    queue: int = 512
    queue_characters: int = 16 * 2**20
    connections: int = 1_000
    header_seconds: float = 10.0
    header_bytes: int = 32 * 2**10
    idle_seconds: float = 30.0
    keep_alive: int = 75
    wait_seconds: float = 0.005
    batch_characters: int = 8 * 2**10
    batch_texts: int = 256
    threads: int | None = None
    grace: float = 30.0
    drain: float = 0.0
    log: Literal["none", "requests", "texts"] = "none"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The names by which the server may be asked; ``None`` for any, where a key tells who asks."""
        if self.hosts or self.loopback:
            return frozenset(host.lower() for host in (*LOOPBACK_HOSTS, *self.hosts))
        return None

    def check(self) -> None:
        """See that the settings can be meant.

        Raises:
            PolyheadError: A number is out of bounds, or others could ask without a key.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("port", "wait_seconds", "grace", "drain") else 1e-3
            what = f"{OPTIONS.get(field.name, '')}{field.name} = {value}"
            if isinstance(value, float) and not math.isfinite(value):
                raise PolyheadError(f"{what} is no length of time.", remedy="Take a number of seconds.")
            if isinstance(value, int | float) and value < least:
                what = f"{what} is too small."
                raise PolyheadError(what, remedy="Leave it out, or take a larger number.")
        if self.port > 65_535:
            raise PolyheadError(f"--port {self.port} is no port.", remedy="Ports are numbers up to 65535.")
        if not self.loopback and not self.keys:
            raise PolyheadError(
                f"--host {self.host!r} lets other machines ask, and no key is set.",
                remedy="Set POLYHEAD_API_KEY or --api-key-file, or listen at 127.0.0.1 behind a proxy.",
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from its own machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_keys(variable: str | None, file: Path | None, name: str) -> tuple[str, ...]:
    """The keys in an environment variable and in a file, one on each line; lines that begin with ``#`` are left out.

    Args:
        variable: What the variable holds, if it is set.
        file: The file, if one is named.
        name: What the keys are for, as error messages say it.

    Raises:
        PolyheadError: The file cannot be read or holds no key, or a key is too short or no key.
    """
    lines = [] if variable is None else [variable]
    if file is not None:
        try:
            lines += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise refused(error, file, "Cannot read") from error
    keys = tuple(key for line in lines if (key := line.strip()) and not key.startswith("#"))
    if file is not None and not keys:
        raise PolyheadError("There is no key in this file.", file=file, remedy="Write one on each line.")
    for key in keys:
        if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            what = f"{name} is too short, or holds spaces or signs beyond ASCII."
            remedy = 'Make one: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            raise PolyheadError(what, remedy=remedy, file=file)
    return keys


def named_models(given: list[str]) -> dict[str, str]:
    """The places of models by the names that they are served under, as ``RUN`` or ``NAME=RUN`` on the command line.

    A run without a name is called as its folder, or as the last part of its id on the Hub.

    Raises:
        PolyheadError: A name cannot stand in an address, or is that of two.
    """
    found: dict[str, str] = {}
    for one in given:
        before, equals, after = one.partition("=")
        named = bool(equals) and _NAME.fullmatch(before) is not None and not Path(one).exists()
        place = after if named else one
        name = before if named else Path(place).resolve().name if Path(place).exists() else _last(place)
        if not named and name in _OF_A_RUN and Path(place).exists():
            name = Path(place).resolve().parent.name
        if not place:
            what = f"{one!r} does not say where the model is."
            raise PolyheadError(what, remedy=f"Give its folder behind the equals sign: {before}=RUN")
        if _NAME.fullmatch(name) is None:
            what = f"A model cannot be served under the name {name!r}."
            raise PolyheadError(what, remedy="Name it with letters, digits, dots and hyphens: NAME=RUN.")
        if name in found:
            raise PolyheadError(f"Two models are called {name!r}.", remedy=f"Name one of them: OTHER={place}")
        found[name] = place
    return found


def _last(place: str) -> str:
    return place.partition("@")[0].rstrip("/").rpartition("/")[2]
