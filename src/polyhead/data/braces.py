"""Paths with braces: ``train.{en,fr}`` names ``train.en`` and ``train.fr``, as in a shell."""

from __future__ import annotations

import re
from pathlib import Path

from polyhead.errors import PolyheadError

_LIKELY = re.compile(r"\{[^{}]*,|,[^{}]*\}")
_GROUP = re.compile(r"\{([^{}]*)\}")
_EXAMPLE = "write train.{en,fr} for train.en and train.fr"


def is_braced(path: str | Path) -> bool:
    """Whether a path is meant to name several files: a brace with a comma after it, or a comma with one after it."""
    return _LIKELY.search(str(path)) is not None


def parts_of(path: str | Path) -> list[str]:
    """The files that a path with braces names, in their order.

    Raises:
        ValueError: The braces are not one pair with two parts or more between them, all of them different.
    """
    whole = str(path)
    groups = _GROUP.findall(whole)
    if whole.count("{") != len(groups) or whole.count("}") != len(groups):
        raise ValueError(f"a brace without its other one, or one within another; {_EXAMPLE}")
    if len(groups) != 1:
        what = "more than one pair of braces" if groups else "no braces"
        raise ValueError(f"{what} in a path of files whose lines belong together; {_EXAMPLE}")
    names = groups[0].split(",")
    if len(names) < 2:
        raise ValueError(f"one part alone, {names[0]!r}, between the braces; {_EXAMPLE}")
    for name in names:
        if not name or name != name.strip():
            what = "an empty part" if not name.strip() else f"a space beside the part {name.strip()!r}"
            raise ValueError(f"{what} between the braces; {_EXAMPLE}")
        if names.count(name) > 1:
            raise ValueError(f"the part {name!r} stands twice between the braces; name each file once")
    before, after = whole[: whole.index("{")], whole[whole.index("}") + 1 :]
    return [before + name + after for name in names]


def part_names(path: str | Path) -> list[str]:
    """What stands between the commas of a path's braces."""
    return str(_GROUP.findall(str(path))[0]).split(",")


def checked_parts(path: str | Path) -> list[Path]:
    """As :func:`parts_of`, for a reader.

    Raises:
        PolyheadError: The braces are wrong.
    """
    try:
        return [Path(part) for part in parts_of(path)]
    except ValueError as error:
        what, _, remedy = str(error).rpartition("; ")
        raise PolyheadError(what, remedy=f"{remedy[0].upper()}{remedy[1:]}.", file=path) from None


def files_of(path: Path) -> list[Path]:
    """The files behind a path as the user gave it: itself, or those that its braces name.

    Raises:
        ValueError: As :func:`parts_of`.
    """
    return [Path(part) for part in parts_of(path)] if is_braced(path) else [path]


def name_without_folder(path: str | Path) -> str:
    """A path's name for people, without the folders before it; of ``a/{en,fr}/x.txt`` it is ``{en,fr}/x.txt``."""
    whole = Path(path).as_posix()
    end = whole.index("{") if is_braced(whole) and "{" in whole else len(whole.rstrip("/"))
    return whole[whole.rfind("/", 0, end) + 1 :]
