"""Answers as Parquet: the columns that came, and beside them answers of each kind, whatever pieces they come in."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from polyhead.data import DataSpec, read
from polyhead.data.example import Labels, Spans, Text, Tree, WordLabels
from polyhead.data.write_parquet import ROWS, ParquetWriter, answer_types, join_parquet
from polyhead.errors import PolyheadError

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Columns of kinds that JSON does not have, in groups of rows."""
    n = 2 * ROWS + 100
    columns = {
        "text": [f"text {i}" for i in range(n)],
        "raw": [bytes([i % 256]) for i in range(n)],
        "label": arrow.array([i % 3 for i in range(n)], arrow.int8()),
        "when": arrow.array(range(n), arrow.timestamp("s")),
    }
    path = tmp_path / "in.parquet"
    parquet.write_table(arrow.table(columns), path, row_group_size=3000)
    return path


def write(path: Path, source: Path, first: int, count: int) -> Path:
    writer = ParquetWriter(path)
    writer.begin(source, answer_types({"label": str, "stars": float}, confidence=True), first)
    for i in range(first, first + count):
        sure = {"label_confidence": 0.5, "stars_confidence": 1.0}
        writer.add({"label": f"label {i % 7}", "stars": i / 4} | sure)
    writer.close()
    return path


def test_columns_stay_and_an_answer_takes_the_place_of_gold(source: Path, tmp_path: Path) -> None:
    given, n = parquet.read_table(source), 2 * ROWS + 100
    found = parquet.read_table(write(tmp_path / "out.parquet", source, 0, n))
    assert found.column_names == ["text", "raw", "label", "when", "label_confidence", "stars", "stars_confidence"]
    for name in ("text", "raw", "when"):
        assert found[name].equals(given[name]) and found.schema.field(name).type == given.schema.field(name).type
    assert found["label"].to_pylist() == [f"label {i % 7}" for i in range(n)]
    assert found["stars"].to_pylist() == [i / 4 for i in range(n)]


def test_parts_joined_are_the_file_written_at_once_byte_for_byte(source: Path, tmp_path: Path) -> None:
    n = 2 * ROWS + 100
    whole = write(tmp_path / "whole.parquet", source, 0, n)
    ends = [0, 700, 3000, 3001, ROWS + 5, n]
    parts = [write(tmp_path / f"{start}.parquet", source, start, end - start) for start, end in pairwise(ends)]
    join_parquet(parts, tmp_path / "joined.parquet")
    assert (tmp_path / "joined.parquet").read_bytes() == whole.read_bytes()


def test_each_kind_of_answer_has_a_type(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"words": [["A", "b"], ["C"]]}), tmp_path / "in.parquet")
    kinds: dict[str, type] = {"tag": WordLabels, "tree": Tree, "names": Spans, "all": Labels, "said": Text, "text": str}
    records: list[dict[str, Any]] = [
        {
            "tag": ["X", None],
            "tree": {"heads": [2, 0], "relations": ["det", "root"]},
            "names": [{"start": 0, "end": 1, "label": "PER"}],
            "all": ["a", "b"],
            "said": "so",
            "text_": "x",
        },
        {"tag": ["Y"], "tree": {"heads": [0], "relations": ["root"]}, "names": [], "all": [], "said": "", "text_": "y"},
    ]
    writer = ParquetWriter(tmp_path / "out.parquet")
    writer.begin(tmp_path / "in.parquet", answer_types(kinds, confidence=False))
    for record in records:
        writer.add(record)
    writer.close()
    assert parquet.read_table(tmp_path / "out.parquet").drop(["words"]).to_pylist() == records
    again = list(read(tmp_path / "out.parquet", DataSpec(layers={"tag": "tag"}), {"tag": WordLabels}))
    assert [example.layers["tag"] for example in again] == [WordLabels(("X", None)), WordLabels(("Y",))]


def test_what_no_column_can_hold_is_told(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "in.parquet")
    writer = ParquetWriter(tmp_path / "out.parquet")
    writer.begin(tmp_path / "in.parquet", answer_types({"names": Spans}, confidence=False))
    writer.add({"names": ["B-PER"]})
    with pytest.raises(PolyheadError, match=r"in\.parquet: answers of 'names' that are not of one kind"):
        writer.close()


def test_files_of_one_output_have_the_same_columns(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "one.parquet")
    parquet.write_table(arrow.table({"text": ["a"], "more": [1]}), tmp_path / "two.parquet")
    writer = ParquetWriter(tmp_path / "out.parquet")
    types = answer_types({"label": str}, confidence=False)
    writer.begin(tmp_path / "one.parquet", types)
    writer.add({"label": "x"})
    with pytest.raises(PolyheadError, match=r"two\.parquet: this file has other columns than the one before it"):
        writer.begin(tmp_path / "two.parquet", types)
