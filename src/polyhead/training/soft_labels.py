"""Soft labels on disk: written example by example, read through a memory map, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from polyhead.errors import PolyheadError
from polyhead.files import read_json, write_json
from polyhead.nn.soft import Soft


def unreadable(folder: Path, error: Exception) -> PolyheadError:
    """What is told where soft labels are damaged."""
    return PolyheadError(
        f"Soft labels of the run cannot be read: {error}.", file=folder, remedy="Delete this folder, and resume."
    )


class SoftWriter:
    """Writes the soft labels that one teacher gives for one task; use it as a context manager.

    Args:
        folder: Where to.
        name: What its files are called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.examples: list[int] = []
        self.shapes: list[list[tuple[int, ...]]] = []
        self.kinds: list[tuple[str, int]] = []
        self.streams: list[BinaryIO] = []
        self.open = ExitStack()

    def append(self, example: int, soft: Soft) -> None:
        """Add the soft labels of an example.

        Raises:
            PolyheadError: They are of another number or kind than those of the example before.
        """
        parts = [np.asarray(part, order="C") for part in soft]
        kinds = [(part.dtype.str, part.ndim) for part in parts]
        if not self.examples:
            self.kinds, self.shapes = kinds, [[] for _ in parts]
            files = [_values(self.folder, self.name, number) for number in range(len(parts))]
            self.streams = [self.open.enter_context(file.open("wb")) for file in files]
        if kinds != self.kinds:
            raise PolyheadError(f"The head gives soft labels {kinds} for one text and {self.kinds} for another.")
        self.examples.append(example)
        for part, shapes, stream in zip(parts, self.shapes, self.streams, strict=True):
            shapes.append(part.shape)
            stream.write(part.tobytes())

    def __enter__(self) -> SoftWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.close()
        if error is None:
            np.save(self.folder / f"{self.name}.examples.npy", np.asarray(self.examples, dtype=np.int64))
            for number, (shapes, (_, rank)) in enumerate(zip(self.shapes, self.kinds, strict=True)):
                table = np.asarray(shapes, dtype=np.int64).reshape(len(shapes), rank)
                np.save(self.folder / f"{self.name}.{number}.shapes.npy", table)
            write_json(self.folder / f"{self.name}.json", {"kinds": [kind for kind, _ in self.kinds]})


class SoftReader:
    """Reads what a ``SoftWriter`` wrote; what is not asked for stays on disk.

    Args:
        folder: Where it is.
        name: What its files are called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        try:
            kinds = read_json(folder / f"{name}.json", "kinds")["kinds"]
            examples = np.load(folder / f"{name}.examples.npy")
            self.parts = [_Part(folder, name, number, kind) for number, kind in enumerate(kinds)]
        except (OSError, ValueError) as error:
            raise unreadable(folder, error) from error
        self.rows: Mapping[int, int] = {example: row for row, example in enumerate(examples.tolist())}

    def __contains__(self, example: int) -> bool:
        return example in self.rows

    def __getitem__(self, example: int) -> Soft:
        """The soft labels of an example, as they were written."""
        row = self.rows[example]
        return tuple(part[row] for part in self.parts)


class _Part:
    """One array of each example."""

    def __init__(self, folder: Path, name: str, number: int, kind: str) -> None:
        self.shapes = np.load(folder / f"{name}.{number}.shapes.npy")  # (examples, rank)
        self.ends = np.cumsum(self.shapes.prod(axis=1, dtype=np.int64))
        file = _values(folder, name, number)
        empty = not file.stat().st_size
        self.values: NDArray[Any] = np.zeros(0, np.dtype(kind)) if empty else np.memmap(file, np.dtype(kind), "r")
        if len(self.values) != (self.ends[-1] if len(self.ends) else 0):
            raise ValueError(f"{file.name} is cut off")

    def __getitem__(self, row: int) -> NDArray[Any]:
        shape = tuple(self.shapes[row].tolist())
        end = int(self.ends[row])
        return np.asarray(self.values[end - int(np.prod(shape, dtype=np.int64)) : end]).reshape(shape)


def _values(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number}.values"
