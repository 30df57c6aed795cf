import gzip
import io
import os
import sys
from pathlib import Path

import pytest

from polyhead.data import DataSpec, lines, read
from polyhead.data import text as module
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError


def made(folder: Path, content: bytes, name: str = "x.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"one\ntwo\n",
        b"one\r\ntwo\r\n",
        b"one\r\ntwo",
        b"one\ntwo\r",
        b"\xef\xbb\xbfone\ntwo",
        gzip.compress(b"one\ntwo\n", mtime=0),
        gzip.compress(b"\xef\xbb\xbfone\r\ntwo\r\n", mtime=0),
    ],
)
def test_line_ends_marks_and_gzip_leave_the_same_lines(tmp_path: Path, content: bytes) -> None:
    assert list(lines(made(tmp_path, content))) == [(1, "one"), (2, "two")]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\x0bd\x0ce\u00a0"
    assert list(lines(made(tmp_path, f"{odd}\n\n{odd}".encode()))) == [(1, odd), (2, ""), (3, odd)]
    path = made(tmp_path, f"e\rf{odd}\r\n\n{odd}\rg".encode())
    assert list(lines(path, returns=True)) == [(1, f"e\rf{odd}"), (2, ""), (3, f"{odd}\rg")]


def test_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(made(tmp_path, b""))) == []
    assert list(lines(made(tmp_path, b"\n"))) == [(1, "")]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_blocks_of_any_size_give_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    content = "\ufeffgrüße\r\nein\n\nlanger Satz, der über Blöcke reicht 🙂\n本\r\nEnde"
    path = made(tmp_path, content.encode())
    monkeypatch.setattr(module, "_BLOCK", size)
    expected = ["grüße", "ein", "", "langer Satz, der über Blöcke reicht 🙂", "本", "Ende"]
    assert list(lines(path)) == list(enumerate(expected, start=1))


def test_not_utf8_names_line_and_byte_after_the_good_lines(tmp_path: Path) -> None:
    path = made(tmp_path, b"gut\r\nauch gut\n" + "schön".encode("latin-1") + b"\n")
    found = lines(path)
    assert [next(found), next(found)] == [(1, "gut"), (2, "auch gut")]
    with pytest.raises(PolyheadError, match="byte 0xf6 at byte 4 of the line") as error:
        next(found)
    assert (error.value.file, error.value.line) == (str(path), 3)
    assert "UTF-8" in error.value.remedy


def test_utf16_is_refused(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(PolyheadError, match="UTF-16"):
            list(lines(made(tmp_path, "text\n".encode(encoding))))


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(256)) * 50)
    for content in (whole[:-20], whole[:30] + b"\0\0\0\0" + whole[34:]):
        with pytest.raises(PolyheadError, match="gzip"):
            list(lines(made(tmp_path, content, "x.gz")))


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a\rb\r", 1, "carriage return .CR. alone"),
        ("a\rb", 1, "carriage return"),
        ("a\nb\rc\n", 2, "carriage return .CR. alone at byte 2 of the line"),
        ("a\r\nb\r\r\n", 2, "carriage return .CR. alone at byte 2"),
        ("a\nb\n\rc", 3, "carriage return .CR. alone at byte 1"),
        ("a\nb\rc\n\ufeffd\0\n", 2, "carriage return"),
        ("a\nb\0\nc\rd\n", 2, "binary"),
        ("a\n\ufeffb\nc\rd\n", 2, "byte order mark"),
        ("a\n" * 200_000 + "b\rc\n", 200_001, "carriage return"),
        ("\ufeffa\nb\n\ufeffc\n", 3, "byte order mark where no file begins"),
        ("\ufeff\ufeffa\n", 1, "byte order mark"),
        ("a\n" * 200_000 + "b\0\n", 200_001, "looks like UTF-16, or is binary"),
        ("a\n\ufeffb\nc\0\n", 2, "byte order mark"),
        ("a\nb\0\n\ufeffc\n", 2, "binary"),
    ],
)
def test_what_is_not_one_text_is_refused_after_the_good_lines(
    tmp_path: Path, content: str, line: int, what: str
) -> None:
    path = made(tmp_path, content.encode())
    found = []
    with pytest.raises(PolyheadError, match=what) as error:
        found.extend(lines(path))
    assert (error.value.file, error.value.line) == (str(path), line)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("x.txt", "one\ntwo\rthree\n", 2),
        ("x.conllu", "1\ta\rb\t_\t_\t_\t_\t_\t_\t_\t_\n\n", 1),
        ("x.conll", "Ann\tB-PER\nsat\tO\r\tx\n", 2),
        ("x.tsv", "text\tlabel\na\tgood\rb\n", 2),
        ("x.tsv", 'text\tlabel\n"a\rb" c\tgood\n', 2),
        ("x.jsonl", '{"text": "a"}\n{"text": "a\rb"}\n', 2),
    ],
)
def test_no_carriage_return_gets_into_an_example(tmp_path: Path, name: str, content: str, line: int) -> None:
    path = made(tmp_path, content.encode(), name)
    with pytest.raises(PolyheadError) as error:
        list(read(path, DataSpec(layers=["words", "tags"] if name == "x.conll" else [])))
    assert (error.value.file, error.value.line) == (str(path), line)
    assert error.value.remedy


def test_a_mark_inside_a_line_stays(tmp_path: Path) -> None:
    assert list(lines(made(tmp_path, "a\ufeffb\nc".encode()))) == [(1, "a\ufeffb"), (2, "c")]


def test_what_can_be_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    streams = (io.BytesIO(), "-", tmp_path / "pipe", str(tmp_path / "pipe"))
    assert all(module.is_stream(source) for source in streams)
    assert not any(module.is_stream(path) for path in (tmp_path, tmp_path / "none", made(tmp_path, b"")))


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    made(tmp_path, b"", "train.txt")
    with pytest.raises(PolyheadError, match=r"no such file\n  Did you mean 'train.txt'"):
        list(lines(tmp_path / "trian.txt"))
    with pytest.raises(PolyheadError, match="no folder"):
        list(lines(tmp_path / "nowhere" / "train.txt"))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, b"")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PolyheadError, match=r"Permission denied\n  See that .* you may read it"):
        list(lines(path))


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="folder"):
        list(lines(tmp_path))


def test_streams_are_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(gzip.compress(b"one\ntwo\n"))
    assert list(lines(stream)) == [(1, "one"), (2, "two")]
    assert not stream.closed
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"from\nthere\n")))
    monkeypatch.setattr(sys, "stdin", stdin)
    examples = list(read("-", DataSpec(format="text")))
    assert [(example.text, example.file, example.line) for example in examples] == [
        ("from", "<stdin>", 1),
        ("there", "<stdin>", 2),
    ]
    assert not stdin.buffer.closed


def test_stream_needs_a_format() -> None:
    with pytest.raises(PolyheadError, match="which format"):
        list(read("-", DataSpec()))


def test_plain_text_counts_empty_lines(tmp_path: Path) -> None:
    path = made(tmp_path, b"One text.\n\n \t\nAnother \n")
    notes = Notes()
    examples = list(read(path, DataSpec(), notes=notes))
    assert [(example.text, example.line) for example in examples] == [("One text.", 1), ("Another ", 4)]
    assert all(example.words == () and example.layers == {} for example in examples)
    assert list(notes) == [f"2 empty lines left out of {path}"]


def test_plain_text_has_no_layers(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="plain text holds no layer 'label'"):
        list(read(made(tmp_path, b"One\n"), DataSpec(), {"label": str}))
