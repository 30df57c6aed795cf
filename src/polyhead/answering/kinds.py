"""The kinds of choosers by the names that exported models know them by; a user's own goes by its dotted path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from polyhead.answering.chooser import Chooser
from polyhead.errors import PolyheadError, nearest

_HOMES = {
    "label": ("polyhead.answering.labels", "ChooseLabel"),
    "labels": ("polyhead.answering.labels", "ChooseLabels"),
    "number": ("polyhead.answering.labels", "ReadNumber"),
    "word-labels": ("polyhead.answering.words", "ChooseWordLabels"),
    "lemmas": ("polyhead.answering.words", "ChooseLemmas"),
    "spans": ("polyhead.answering.spans", "ChooseSpans"),
    "tree": ("polyhead.answering.trees", "ChooseTree"),
    "text": ("polyhead.answering.writing", "WriteText"),
}
"""Where each is; imported when it is needed."""


def describe(chooser: Chooser, keep: Callable[[str, str], str]) -> dict[str, Any]:
    """A chooser as plain data, its kind included.

    Args:
        chooser: The chooser.
        keep: Writes a field that is long, by its name and its text, into a file of its own, and gives the file's name.
    """
    home = (type(chooser).__module__, type(chooser).__qualname__)
    kind = next((name for name, place in _HOMES.items() if place == home), None)
    fields = {key: keep(key, value) if key in chooser.filed else value for key, value in chooser.to_dict().items()}
    return {"kind": kind or ".".join(home), **fields}


def restore(described: Mapping[str, Any], read: Callable[[str], str]) -> Chooser:
    """A chooser that :func:`describe` described.

    Args:
        described: As it gave it.
        read: Reads a file that a field is kept in, by its name.

    Raises:
        PolyheadError: There is no such kind, or its fields are others.
    """
    kind = str(described.get("kind"))
    if kind not in _HOMES and "." not in kind:
        raise PolyheadError(f"There is no kind of answers {kind!r}.", remedy=nearest(kind, _HOMES))
    module, name = _HOMES.get(kind) or kind.rsplit(".", 1)
    try:
        found = getattr(importlib.import_module(module), name)
        if not (isinstance(found, type) and issubclass(found, Chooser)):
            raise TypeError(f"{kind} is no Chooser")
        fields = {key: read(value) if key in found.filed else value for key, value in described.items()}
        fields.pop("kind")
        made: Chooser = found(**fields)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise PolyheadError(
            f"What makes answers of the kind {kind!r} cannot be had: {error}.",
            remedy="Its module must be importable: install it, or set PYTHONPATH to its folder.",
        ) from error
    return made


def is_ours(described: Mapping[str, Any]) -> bool:
    """Whether a described chooser is of a kind that polyhead brings."""
    return str(described.get("kind")) in _HOMES
