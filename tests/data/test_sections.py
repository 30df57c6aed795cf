"""Sections of files, read alone, give what reading the whole file gives at their place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polyhead.data.sections as sections_module
from polyhead.data import DataSpec, Example, read
from polyhead.data.sections import BY_BYTES, Section, SectionReader, cut
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError

BLANKS = ("", "\u00a0", "\u0085", "\u2028", "\x1c")
"""What a line may hold that is empty to the readers."""

TEXTS = [f"text {'längere ' * (i % 4)}{i}" for i in range(23)]


def write(folder: Path, format_: str) -> Path:
    """A file with a few odd things: empty lines, comments, a byte order mark, quoted line ends, Windows line ends."""
    path = folder / f"x.{format_.removesuffix('+gz')}"
    if format_ == "text":
        content = "\ufeff" + "".join(f"{text}\r\n" + "\n \n" * (i % 3 == 0) for i, text in enumerate(TEXTS))
    elif format_ in ("jsonl", "jsonl+gz"):
        content = "".join(json.dumps({"text": text, "id": i}) + "\n" * (1 + i % 2) for i, text in enumerate(TEXTS))
    elif format_ == "conllu":
        words = "".join(f"{n}\t{word}\t_\t_\t_\t_\t_\t_\t_\t_\n" for n, word in enumerate(("A", "b", "c"), 1))
        blocks = [
            f"# sent_id = {i}\n1-2\tAb\t_\t_\t_\t_\t_\t_\t_\t_\n{words}{BLANKS[i % 5]}\n" + "\n" * (i % 3)
            for i in range(23)
        ]
        content = "".join(blocks).rstrip("\n")
    elif format_ == "columns":
        content = "\n\n".join(f"A\tO\n{i}\tB-X" for i in range(23))
    elif format_ == "csv":
        content = "id,text\n" + "".join(f'{i},"{text}\nmore"\n' for i, text in enumerate(TEXTS))
    elif format_ == "parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.table({"text": TEXTS, "id": list(range(23))}), path, row_group_size=5)
        return path
    path.write_bytes(gzip.compress(content.encode()) if format_.endswith("+gz") else content.encode())
    return path


def grouped(examples: list[Example], size: int) -> Iterator[list[Example]]:
    for i in range(0, len(examples), size):
        yield examples[i : i + size]


FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("text", {}),
    ("jsonl", {}),
    ("jsonl+gz", {}),
    ("conllu", {}),
    ("columns", {"layers": ["words", "tag"]}),
    ("csv", {}),
    ("parquet", {}),
]


@pytest.mark.parametrize(("size", "most"), [(1, 1), (3, 2), (5, 1), (40, 1)])
@pytest.mark.parametrize(("format_", "given"), FORMATS, ids=[name for name, _ in FORMATS])
def test_sections_give_what_the_whole_gives(
    tmp_path: Path, format_: str, given: dict[str, Any], size: int, most: int
) -> None:
    path = write(tmp_path, format_)
    spec = DataSpec(format=format_.removesuffix("+gz"), **given).for_answers()  # type: ignore[arg-type]
    whole = list(read(path, spec, {}))
    assert len(whole) == 23
    sections = cut(path, spec, grouped(whole, size), most)
    assert len(sections) == -(-23 // (size * most))
    assert [section.first for section in sections] == list(range(0, 23, size * most))
    if format_ in BY_BYTES and len(sections) > 1:
        ends = [section.end for section in sections]
        assert [section.start for section in sections] == [0, *ends[:-1]] and ends[-1] == path.stat().st_size
    reader = SectionReader()
    for section in [*sections[::2], *sections[1::2]]:  # in whatever order they are read
        found = list(reader(path, spec, section, {}, Notes()))
        assert found == whole[section.first : section.first + section.count]


def test_a_fault_is_told_with_its_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n{"text": 3}\n', encoding="utf-8")
    spec = DataSpec(format="jsonl").for_answers()
    second = Section(first=1, count=2, line=3, start=15, end=path.stat().st_size)
    with pytest.raises(PolyheadError, match=r"x\.jsonl:4: text is not a text: 3"):
        list(SectionReader()(path, spec, second, {}, Notes()))


def test_sections_in_their_order_are_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "csv")
    spec = DataSpec(format="csv").for_answers()
    whole = list(read(path, spec, {}))
    sections = cut(path, spec, grouped(whole, 4), 1)
    passes: list[Path] = []
    monkeypatch.setattr(sections_module, "read", lambda path, *rest: passes.append(path) or read(path, *rest))
    reader = SectionReader()
    found = [
        example for section in sections if section.first != 8 for example in reader(path, spec, section, {}, Notes())
    ]
    assert found == whole[:8] + whole[12:] and passes == [path]
    assert next(reader(path, spec, sections[2], {}, Notes())) == whole[8], "what stands before is read anew"
    assert list(reader(path, spec, sections[3], {}, Notes())) == whole[12:16], "a section that broke off is forgotten"
    assert len(passes) == 3


def test_a_file_without_texts_has_no_sections(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("\n\n", encoding="utf-8")
    assert cut(tmp_path / "x.txt", DataSpec(format="text"), iter([]), 2) == []
