"""A server in a process of its own, on a tiny model, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class Running:
    """A server.

    Attributes:
        process: Its process.
        url: Its address.
        log: The file with what it logs.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def workers(self) -> list[int]:
        """The processes of its models."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = (status.parent / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == self.process.pid and b"spawn_main" in command:
                found.append(int(status.parent.name))
        return sorted(found)

    def wait_for(self, text: str, seconds: float = 600) -> str:
        """The log, as soon as it holds a text."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = self.log.read_text(encoding="utf-8")
            if text in said:
                return said
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in {self.log.read_text(encoding='utf-8')}")

    def version(self) -> int:
        """Which version of its first model answers."""
        return int(httpx.get(f"{self.url}/v1/models", timeout=60).json()["models"][0]["version"])


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """Start a server at a free port, and wait until it listens; in the end it is killed if it still runs."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "polyhead", "serve", *arguments, "--port", "0"]
    whole = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **environment}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=folder, env=whole
        )
    started = Running(process, "", log)
    try:
        said = started.wait_for("Serving at ")
        found = re.search(r"Serving at (\S+)", said)
        assert found
        started.url = found[1]
        yield started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(60)
