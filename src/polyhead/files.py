"""Writing files whole: to a new name, then renamed, so that a kill or a full disk leaves the old file as it was."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError, is_refusal, refused

UNFINISHED = ".unfinished"
"""The ending of a file or folder that is still being written."""

_MOST_BYTES = 200  # Of a name that is written out in that of its draft.

CACHE = "POLYHEAD_CACHE"
"""The environment variable that says where what can be computed again is kept."""


def cache_folder(name: str) -> Path:
    """Where what can be computed again is kept: the folder that the environment names, or one of this name where the
    system has such folders; it need not exist."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named).expanduser()
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails where there is none
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "polyhead" / name


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it gets its name only when the block ends without an error.

    Where the path is a symbolic link, what it leads to is written.

    Raises:
        PolyheadError: The file system refuses, such as a full disk.
    """
    if not path.name:
        raise PolyheadError(f"{str(path)!r} is no name for a file.", remedy="Give a file, not a folder.")
    place = real(path)
    draft = place.with_name(f"{_short(place.name)}.{os.getpid()}{UNFINISHED}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _sync(draft)
        if draft.is_dir() and place.exists():
            shutil.rmtree(place)
        draft.replace(place)
    except BaseException as error:
        _remove(draft)
        if not is_refusal(error):
            raise
        raise refused(error, path, "Cannot write") from error


def _short(name: str) -> str:
    """A name that leaves room for an ending: most file systems take 255 bytes."""
    whole_name = os.fsencode(name)
    return name if len(whole_name) <= _MOST_BYTES else hashlib.sha256(whole_name).hexdigest()


def possible(path: str) -> str:
    """A path as a user wrote it, if it can be one.

    Raises:
        ValueError: It holds a NUL character, or begins with ``~`` and the name of a user that is not there.
    """
    if "\0" in path:
        raise ValueError("a path cannot hold a NUL character")
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user for {Path(path).parts[0]!r}; write the whole path") from None
    return path


def is_utf8(path: Path) -> bool:
    """Whether a path can be written into a file: on Linux names may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def real(path: Path) -> Path:
    """What a symbolic link leads to; any other path as it is."""
    with suppress(OSError):  # as in is_device
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    return path


def without_path(name: str) -> str:
    """The name of something that may be a folder, without where it lies on this machine."""
    return Path(name).name if Path(name).is_absolute() or name.startswith(("~", ".")) else name


def is_device(path: Path) -> bool:
    """Whether a path is a pipe or a device, into which one writes; a plain file is replaced by a new one."""
    if str(path).startswith(("/dev/std", "/dev/fd/", "/proc/")):  # these may lead to a plain file that is open
        return True
    try:
        mode = path.stat().st_mode
    except OSError:  # that it cannot be written is told where it is written
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_place(path: Path, *, folder: bool = False) -> None:
    """See that a file, or a folder of files, can be written, before the work for it is done.

    Raises:
        PolyheadError: The file system would refuse, or the libraries that write weights into a folder.
    """
    if folder and not is_utf8(path):
        raise PolyheadError("The folder's name is not UTF-8.", file=path, remedy="Choose another name.")
    try:
        if is_device(path):
            return
        with suppress(FileNotFoundError):
            path.stat()
        if path.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        near = path if path.is_dir() else next(one for one in path.absolute().parents if one.exists())
        reason = errno.ENOTDIR if not near.is_dir() else errno.EACCES if not os.access(near, os.W_OK | os.X_OK) else 0
        if reason:
            raise OSError(reason, os.strerror(reason))
    except OSError as error:
        raise refused(error, path, "Cannot write") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8; into a pipe or a device straight."""
    if is_device(path):
        with path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        return
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object that ``write_json`` wrote, with at least these keys.

    Raises:
        FileNotFoundError: There is no such file.
        PolyheadError: It is damaged, or cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lost = [key for key in keys if key not in found]
        if not isinstance(found, dict) or lost:
            raise ValueError(f"it has no {lost[0]!r}" if lost else "it is no object")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error, path, "Cannot read") from error
    except (ValueError, TypeError, RecursionError) as error:
        remedy = "Put the file back from a copy, or train anew."
        raise PolyheadError(f"This file of the run is damaged: {error}.", file=path, remedy=remedy) from error
    return found


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """The SHA-256 of files and of what each is called, in their order."""
    digest = hashlib.sha256()
    for name, path in files:
        with path.open("rb") as stream:
            digest.update(f"\n{name} ".encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def sized(size: int) -> str:
    """A number of bytes as people read it."""
    unit, name = next((one for one in ((2**30, "GiB"), (2**20, "MiB")) if size >= one[0]), (2**10, "KiB"))
    return f"{size / unit:.1f} {name}"


def bytes_in(folder: Path) -> int:
    """What the files of a folder take on disk."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def remove_unfinished(folder: Path) -> None:
    """Clear away what a killed process left half-written in ``folder``."""
    for path in folder.glob(f"*{UNFINISHED}"):
        _remove(path)


def _sync(draft: Path) -> None:
    """Ask the system to put the content on the disk before the name points to it."""
    for path in [draft] if draft.is_file() else [p for p in draft.rglob("*") if p.is_file()]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
