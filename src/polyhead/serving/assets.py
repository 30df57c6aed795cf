"""The files of the page, read once from the package; nothing but these is ever served."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response

from polyhead.serving.faults import plain

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGES = ("index.html", "docs.html")


class File(NamedTuple):
    """A file as it is sent: what it holds, its type, and a name for this content."""

    content: bytes
    kind: str
    tag: str


@cache
def all_files() -> dict[str, File]:
    """The files of the page, by name."""
    found = {}
    for path in (files("polyhead.serving") / "page").iterdir():
        kind = TYPES.get(path.name.rpartition(".")[2])
        if kind is not None and path.is_file():
            content = path.read_bytes()
            found[path.name] = File(content, f"{kind}; charset=utf-8", f'"{sha256(content).hexdigest()[:32]}"')
    return found


def page_of(name: str, headers: Headers) -> Response:
    """One of the pages, or that the browser has it already."""
    return _sent(all_files()[name], headers)


def asset(name: str, headers: Headers) -> Response:
    """What a page is made of.

    Raises:
        RequestError: There is no such file.
    """
    file = all_files().get(name)
    if file is None or name in PAGES:
        raise plain(404)
    return _sent(file, headers)


def _sent(file: File, headers: Headers) -> Response:
    about = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=about)
    return Response(file.content, headers=about, media_type=file.kind)
