"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from polyhead.errors import PolyheadError
from polyhead.files import UNFINISHED, check_place, read_json, remove_unfinished, whole, write_json, write_text


def test_text_is_written_as_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "é\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é\n".encode()


def test_json_keeps_letters_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1', "This file of the run is damaged: Expecting"),
        ("[1]", "it has no 'a'"),
        ('{"b": 1}', "it has no 'a'"),
        ("3", "This file of the run is damaged"),
        ("\xff", "is damaged: 'utf-8' codec"),
        ("[" * 100_000, "This file of the run is damaged"),
    ],
)
def test_json_that_is_damaged(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(PolyheadError) as caught:
        read_json(path, "a")
    assert said in caught.value.what
    assert caught.value.file == str(path)
    assert caught.value.remedy


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="Cannot read: Is a directory"):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole(path) as draft:
        draft.write_text("half")
        assert path.read_text() == "old"
        _ = 1 / 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with whole(folder) as draft:
            draft.mkdir()
            (draft / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt), whole(folder) as draft:
        draft.mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        Exception("No space left on device (os error 28)"),  # as the tokenizers library raises it
    ],
)
def test_a_full_disk_is_a_fault_that_users_see(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(PolyheadError, match=r"a\.txt: Cannot write: No space left") as caught, whole(path):
        raise error
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_full_disk_under_safetensors_too(tmp_path: Path) -> None:
    """Its errors are no OSError. A folder that is missing stands for the full disk."""
    import torch
    from safetensors.torch import save_file

    with pytest.raises(PolyheadError, match="Cannot write"), whole(tmp_path / "a") as draft:
        save_file({"x": torch.zeros(1)}, draft / "missing" / "x.safetensors")


def test_faults_in_what_is_written_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="broken input"), whole(tmp_path / "a.txt"):
        raise PolyheadError("broken input")
    with pytest.raises(ValueError, match="no file system error"), whole(tmp_path / "a.txt"):
        raise ValueError("no file system error")


def test_a_folder_where_a_file_should_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PolyheadError, match="Cannot write"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(PolyheadError, match="no name for a file"):
        write_text(Path(), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_leftovers_of_a_killed_process_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / f"a.json.1{UNFINISHED}").touch()
    (tmp_path / f"model.1{UNFINISHED}" / "deep").mkdir(parents=True)
    (tmp_path / "a.json").touch()
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "a.txt")
    for text in ("new", "newer"):  # what a link leads to need not be there yet
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "a.txt").read_text() == text
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a.txt"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", [1])
    assert os.read(reader, 100) == b"[\n  1\n]\n"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(
    ("place", "reason", "remedy"),
    [
        ("file/a.txt", "Not a directory", "before the last /"),
        ("file/new/a.txt", "Not a directory", "before the last /"),
        ("x" * 300, "File name too long", "shorter"),
        ("folder", "Is a directory", "not a folder"),
        ("locked/new/a.txt", "Permission denied", "permission"),
    ],
)
def test_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, reason: str, remedy: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "locked")  # root may do anything
    with pytest.raises(PolyheadError, match=f"Cannot write: {reason}") as caught:
        check_place(tmp_path / place)
    assert caught.value.file == str(tmp_path / place)
    assert remedy in caught.value.remedy
    if "locked" not in place:
        with pytest.raises(PolyheadError, match=f"Cannot write: ({reason}|File exists)") as caught:
            write_text(tmp_path / place, "text")
        assert remedy in caught.value.remedy
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "locked"]


def test_a_folder_that_weights_could_not_be_written_into(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="name is not UTF-8") as caught:
        check_place(tmp_path / "r\udcff", folder=True)
    assert caught.value.remedy
    check_place(tmp_path / "r\udcff.json")


def test_where_something_can_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in ("a.txt", "new/folder/a.txt", "pipe"):
        check_place(tmp_path / place)
    check_place(tmp_path, folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
