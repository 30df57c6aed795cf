"""Files of vectors that are computed once and kept: where they lie, how they are written and read, and which must go.

A file is in the safetensors format and holds one tensor, ``states``, and the CRC-32 of its bytes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polyhead.errors import PolyheadError
from polyhead.files import UNFINISHED, cache_folder, whole

LIMIT = "POLYHEAD_CACHE_GIB"
"""The environment variable that says how many GiB the files may take up together."""

USUAL_LIMIT = 10.0
"""GiB."""

STALE = 3600.0
"""After so many seconds a file that nobody went on writing was left behind by a killed process."""

ENDING = ".safetensors"
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}


class Cache:
    """A folder of files that share a bound on their size; those not used for longest make room for new ones.

    Args:
        folder: Where they lie; need not exist.
        limit: The most bytes that they may take up together.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit

    def path(self, name: str) -> Path:
        """The file of this name."""
        return self.folder / f"{name}{ENDING}"

    def read(self, name: str) -> Tensor | None:
        """The vectors in a file, mapped into memory; ``None`` if there is no whole file. Shape (pieces, width).

        A damaged file is deleted.
        """
        path = self.path(name)
        try:
            if not path.is_file():
                return None
            states = _read(path)
        except (OSError, ValueError, KeyError, SafetensorError):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # another user's file may be read, but not touched
            os.utime(path)  # the time of its last use
        return states

    def make_room(self, size: int, keep: Iterable[str]) -> bool:
        """Delete what was not used for longest until ``size`` bytes more fit; ``False`` if they cannot.

        Args:
            size: Bytes. They must not take more than half of what the disk has left, either.
            keep: The names of files that must stay.
        """
        kept = {self.path(name) for name in keep}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        files = {path: stat for path in self.folder.glob(f"*{ENDING}*") if (stat := _stat(path)) is not None}
        used = sum(stat.st_size for stat in files.values())
        held = sum(stat.st_size for path, stat in files.items() if path in kept)
        if held + size > self.limit:
            return False
        for path in sorted(files.keys() - kept, key=lambda path: files[path].st_mtime):
            if used + size <= self.limit:
                break
            if not path.name.endswith(UNFINISHED):
                with suppress(OSError):  # Windows lets nobody delete what another process reads
                    path.unlink()
                    used -= files[path].st_size
        return used + size <= self.limit and 2 * size <= shutil.disk_usage(self.folder).free

    @contextmanager
    def write(self, name: str, pieces: int) -> Iterator[Callable[[Tensor], None]]:
        """Write a file whole: gives a function that takes its vectors, part by part, ``pieces`` in all.

        Raises:
            PolyheadError: The file system refuses.
        """
        with whole(self.path(name)) as draft, draft.open("wb") as stream:
            writer = _Writer(stream, pieces)
            yield writer.write
            writer.close()

    def _sweep(self) -> None:
        """Clear away what killed processes left half-written."""
        for path in self.folder.glob(f"*{UNFINISHED}"):
            stat = _stat(path)
            if stat is not None and time.time() - stat.st_mtime > STALE:
                with suppress(OSError):
                    path.unlink()


class _Writer:
    """Writes vectors as they come; what they are, and their sum, is written over the file's head in the end."""

    def __init__(self, stream: BinaryIO, pieces: int) -> None:
        self.stream = stream
        self.pieces = pieces
        self.written = self.crc = 0
        self.kind: tuple[torch.dtype, int] | None = None

    def write(self, part: Tensor) -> None:
        if self.kind is None:
            self.kind = (part.dtype, part.shape[1])
            self.stream.write(self._header())
        content = raw(part)
        self.crc = zlib.crc32(content, self.crc)
        self.stream.write(content)
        self.written += len(part)

    def close(self) -> None:
        assert self.written == self.pieces, f"{self.written} vectors instead of {self.pieces}"
        self.stream.seek(0)
        self.stream.write(self._header())

    def _header(self) -> bytes:
        """The head of a safetensors file, of the same length whatever the sum."""
        assert self.kind is not None
        dtype, width = self.kind
        size = self.pieces * width * dtype.itemsize
        about = {"dtype": _DTYPES[dtype], "shape": [self.pieces, width], "data_offsets": [0, size]}
        text = json.dumps({"__metadata__": {"crc32": f"{self.crc:08x}"}, "states": about})
        text += " " * (-len(text) % 64 + 56)  # with the eight bytes before it, vectors begin at a multiple of 64
        return len(text).to_bytes(8, "little") + text.encode()


def find_cache() -> Cache:
    """The cache that the environment names, or the usual one of this system.

    Raises:
        PolyheadError: The environment's bound is no number.
    """
    given = os.environ.get(LIMIT, "")
    try:
        limit = float(given or USUAL_LIMIT)
        if not 0 <= limit < math.inf:
            raise ValueError
    except ValueError as error:
        raise PolyheadError(
            f"{LIMIT} = {given!r} in the environment is no number of GiB.",
            remedy=f"Set it to a number of at least 0, or leave it out for {USUAL_LIMIT:g}.",
        ) from error
    return Cache(cache_folder("features"), limit * 2**30)


def _read(path: Path) -> Tensor:
    """The vectors of a file.

    Raises:
        ValueError, KeyError, SafetensorError, OSError: It is not as ``write`` wrote it.
    """
    with safe_open(path, framework="pt") as file:
        expected = (file.metadata() or {})["crc32"]
        states: Tensor = file.get_tensor("states")
    if f"{zlib.crc32(raw(states)):08x}" != expected:
        raise ValueError("damaged")
    return states


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's values, in order."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # another process was faster
        return None
