"""Splits that are read anew each time: the same examples as in lists, and the same report, in bounded memory."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from polyhead.data import DataSpec, Example, load_dataset, stream_dataset
from polyhead.data.check import check
from polyhead.data.check_stream import check_streams
from polyhead.errors import PolyheadError


def texts(count: int, *, start: int = 0) -> str:
    return "".join(f"text number {i} of  many\n\n" if i % 3 else f"text {i}\n" for i in range(start, start + count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(texts(40), encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(texts(30, start=20).encode()))
    (tmp_path / "dev.txt").write_text(texts(12, start=60), encoding="utf-8")
    return tmp_path


SPECS = [
    DataSpec(train="a.txt"),
    DataSpec(train=["a.txt", "b.txt.gz"], dev="dev.txt"),
    DataSpec(train=["a.txt", "b.txt.gz"], dev=0.2, test="dev.txt"),
    DataSpec(train=["a.txt", "b.txt.gz"], dev=0.2, limit=13),
    DataSpec(train="a.txt", limit=1000),
    DataSpec(train=["a.txt", "b.txt.gz"], limit=13, draw=4),
    DataSpec(train=["a.txt", "b.txt.gz"], dev=0.2, limit=13, draw=4),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_stream_gives_what_a_list_holds(spec: DataSpec, folder: Path) -> None:
    streamed, held = stream_dataset("d", spec, folder), load_dataset("d", spec, folder)
    assert streamed.streamed and not held.streamed
    assert streamed.splits.keys() == held.splits.keys()
    for split, examples in held.splits.items():
        stream = streamed.splits[split]
        assert len(stream) == len(examples)
        assert list(stream) == list(stream) == examples, "it can be gone through again"
        assert (stream[0], stream[-1], stream[1:4]) == (examples[0], examples[-1], examples[1:4])
        with pytest.raises(IndexError):
            stream[len(examples)]
    assert streamed.fingerprint == held.fingerprint


@pytest.mark.parametrize("spec", SPECS)
def test_the_report_is_the_same(spec: DataSpec, folder: Path) -> None:
    def lengths(examples: list[Example]) -> list[int]:
        return [len(example.text or "") for example in examples]

    one = check_streams(stream_dataset("d", spec, folder), lengths, window=21)
    other = check(load_dataset("d", spec, folder), lengths, window=21)
    assert one.to_dict()["splits"] == other.to_dict()["splits"]


def test_faults_are_told_when_the_dataset_is_opened(folder: Path) -> None:
    (folder / "bad.txt").write_bytes(b"good\n\xff\xfe bad\n")
    with pytest.raises(PolyheadError, match=r"bad.txt:2.*not UTF-8"):
        stream_dataset("d", DataSpec(train=["a.txt", "bad.txt"]), folder)
    (folder / "empty.txt").write_bytes(b"\n\n")
    with pytest.raises(PolyheadError, match="is empty"):
        stream_dataset("d", DataSpec(train="a.txt", dev="empty.txt"), folder)


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(PolyheadError, match="can be read only once"):
        stream_dataset("d", DataSpec(train="pipe.txt"), folder)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Python's own memory: three million bytes of text, held as examples, take ten times as much."""
    lines = "some words that stand in a line of text again and again\n" * 1000
    with (tmp_path / "long.txt").open("w") as stream:
        for _ in range(60):
            stream.write(lines)
    tracemalloc.start()
    try:
        dataset = stream_dataset("d", DataSpec(train="long.txt", dev=0.01), tmp_path)
        assert sum(1 for _ in dataset.splits["train"]) == 59_400
        report = check_streams(dataset, lambda examples: [len(e.text or "") for e in examples], window=1000)
        assert report.splits["train"].repeats.count == 59_399
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000, f"{peak:,} bytes"
