"""A small fake of the Hub's HTTP API on loopback: as much of it as fetching and pushing models takes.

It keeps what is pushed, and serves it. huggingface_hub itself runs against it, in a process of its own, since it reads
the address of the Hub only once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_token_of_a_test"


@dataclass
class FakeHub:
    """What the fake holds.

    Attributes:
        url: Its address.
        models: The files of each model.
        private: The models that are private.
        messages: Of the commits so far.
        asked: The requests so far.
        refuse: A status to answer every request with, if any.
    """

    url: str = ""
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuse: int = 0

    def info(self, name: str) -> dict[str, Any]:
        files = [{"rfilename": file, "size": len(content)} for file, content in self.models[name].items()]
        return {"id": name, "modelId": name, "sha": COMMIT, "private": name in self.private, "siblings": files}

    def tree(self, name: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for file, content in self.models[name].items()
        ]

    def environment(self, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a process for which this is the Hub."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        return kept | own | ({"HF_TOKEN": token} if token else {})

    def run(
        self, home: Path, *arguments: object, token: str | None = TOKEN, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """The polyhead command in a process of its own, for which this is the Hub."""
        return subprocess.run(
            [sys.executable, "-m", "polyhead", *map(str, arguments)],
            env=self.environment(home, token=token) | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def fetch(self, home: Path, wanted: str, **more: str) -> subprocess.CompletedProcess[str]:
        """What the command does first with an id, without what takes seconds to import."""
        return subprocess.run(
            [sys.executable, "-c", _FETCH, wanted],
            env=self.environment(home) | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


_FETCH = """
import sys
from polyhead import PolyheadError, hub
try:
    hub.fetch(hub.hub_id(sys.argv[1]))
except PolyheadError as error:
    sys.exit(f"error: {error}")
"""


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A fake Hub while the block runs."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(lambda: self._look(self.path.partition("?")[0]))

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(lambda: self._change(self.path.partition("?")[0], body))

        def _answer(self, make: Any) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            status, content, headers = (hub.refuse, b"{}", {}) if hub.refuse else make()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _look(self, path: str) -> tuple[int, bytes, dict[str, str]]:
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
                name, what, revision = found.groups()
                if name not in hub.models:
                    return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
                if revision not in (None, "main", "v1", COMMIT):
                    return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
                return _json(hub.tree(name) if what == "tree" else hub.info(name))
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                content = hub.models.get(found[1], {}).get(found[2])
                if content is None:
                    return 404, b"", {"X-Error-Code": "EntryNotFound"}
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                return 200, content, {"ETag": etag, "X-Repo-Commit": COMMIT}
            return 404, b"{}", {}

        def _change(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, b"{}", {}
            if path == "/api/validate-yaml":
                return _json({"errors": [], "warnings": []})
            if path == "/api/repos/create":
                wish = json.loads(body)
                name = f"{wish['organization']}/{wish['name']}"
                if name in hub.models:
                    return _json({"url": f"{hub.url}/{name}"}, 409)
                hub.models[name] = {}
                if wish.get("private") or wish.get("visibility") == "private":
                    hub.private.add(name)
                return _json({"url": f"{hub.url}/{name}"})
            if re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
                files = json.loads(body)["files"]
                plain = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
                return _json({"files": plain})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "header":
                        hub.messages.append(line["value"]["summary"])
                    else:
                        hub.models[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return _json({"commitUrl": f"{hub.url}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT})
            return 404, b"{}", {}

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _json(value: Any, status: int = 200) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json"}
