"""The table of task types. A type is one file; a user's own is named by its dotted path."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from polyhead.errors import PolyheadError, nearest
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.classification import Classification
from polyhead.tasks.denoising import Denoising
from polyhead.tasks.head import Head, LossSum, Network
from polyhead.tasks.lemmatization import Lemmatization
from polyhead.tasks.masked_lm import MaskedLm
from polyhead.tasks.ner import Ner
from polyhead.tasks.packing import Packing
from polyhead.tasks.parsing import Parsing
from polyhead.tasks.regression import Regression
from polyhead.tasks.seq2seq import Seq2Seq
from polyhead.tasks.tagging import Tagging

__all__ = [
    "TYPES",
    "Head",
    "LossSum",
    "Network",
    "Packing",
    "Task",
    "describe_task",
    "learnt",
    "make_task",
    "make_tasks",
    "restore_task",
    "type_named",
]

TYPES: dict[str, type[Task]] = {
    "classification": Classification,
    "denoising": Denoising,
    "lemmatization": Lemmatization,
    "masked-lm": MaskedLm,
    "ner": Ner,
    "parsing": Parsing,
    "regression": Regression,
    "seq2seq": Seq2Seq,
    "tagging": Tagging,
}


def type_named(name: str) -> type[Task]:
    """The task type of this name or dotted path (``package.module.Class``).

    Raises:
        PolyheadError: There is no such type.
    """
    if name in TYPES:
        return TYPES[name]
    if "." not in name:
        raise PolyheadError(
            f"There is no task type {name!r}.", remedy=nearest(name, TYPES) + " Your own type goes by its dotted path."
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the latter two: a path such as ".Own"
        raise PolyheadError(
            f"The task type {name!r} cannot be imported: {error}.",
            remedy="Its module must be importable: install it, or set PYTHONPATH to its folder.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise PolyheadError(f"{name!r} is no subclass of polyhead.tasks.Task.")
    return found


def make_task(name: str, settings: Mapping[str, Any]) -> Task:
    """A task from its table in the recipe.

    Raises:
        PolyheadError: A setting is unknown, missing, or of a wrong kind.
    """
    if "type" not in settings:
        raise PolyheadError(f"tasks.{name} has no type.", remedy='Add one, such as type = "tagging".')
    try:
        cls = type_named(str(settings["type"]))
    except PolyheadError as error:
        raise PolyheadError(f"tasks.{name}.type: {error.what}", remedy=error.remedy) from error
    given = {key: value for key, value in settings.items() if key != "type"}
    fields = {f.name: f for f in dataclasses.fields(cls) if not f.metadata.get("learnt") and f.name != "name"}
    for key in given:
        if key not in fields:
            raise PolyheadError(f"tasks.{name} has an unknown key {key!r}.", remedy=nearest(key, ["type", *fields]))
    if "data" not in given:
        raise PolyheadError(f"tasks.{name} does not say which data it learns from.", remedy='Add data = "NAME".')
    return cls(name=name, **given)


def make_tasks(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Task]:
    """All tasks of a recipe, from their tables; one that shares a head has the settings of the task that has it.

    Raises:
        PolyheadError: As for :func:`make_task`; or a task shares a head that is not there, or has other settings.
    """
    return {name: make_task(name, _with_shared(name, table, tables)) for name, table in tables.items()}


def _with_shared(name: str, table: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """A task's table, filled up with the settings of the task whose head it shares."""
    if "head_of" not in table:
        return table
    what, other = f"tasks.{name}.head_of = {table['head_of']!r}", table["head_of"]
    rest = [key for key, one in tables.items() if key != name and "head_of" not in one]
    if not isinstance(other, str) or other not in tables or other == name:
        raise PolyheadError(f"{what} is no other task of the recipe.", remedy=nearest(str(other), rest))
    if "head_of" in tables[other]:
        remedy = f"Name the task that has the head: {tables[other]['head_of']!r}."
        raise PolyheadError(f"{what}, which has no head of its own.", remedy=remedy)
    theirs = make_task(other, tables[other])
    cls = _sharing(table.get("type"), type(theirs))
    settings = theirs.to_dict() | ({"type": tables[other]["type"]} if cls is type(theirs) else {})
    own = theirs.own | cls.own
    for key, value in table.items():  # what is no setting at all is told when the task is made
        if key in settings and key not in own and value != settings[key]:
            raise PolyheadError(
                f"tasks.{name}.{key} = {value!r}, but the head that it shares with {other!r} has {settings[key]!r}.",
                remedy=f"Leave {key} out.",
            )
    fields = {"type", *(field.name for field in dataclasses.fields(cls))}
    return {key: value for key, value in tables[other].items() if key in fields - own} | dict(table)


def _sharing(given: Any, owner: type[Task]) -> type[Task]:
    """The type of this name, if it may share a head of the owner's type; else the owner's."""
    try:
        cls = type_named(str(given))
    except PolyheadError:
        return owner
    return cls if cls.can_share(owner) else owner


def restore_task(saved: Mapping[str, Any]) -> Task:
    """A task as :func:`describe_task` gave it."""
    cls = type_named(str(saved["type"]))
    return cls(**{key: value for key, value in saved.items() if key != "type"})


def describe_task(task: Task) -> dict[str, Any]:
    """A task as plain data, its type included."""
    name = next((name for name, cls in TYPES.items() if cls is type(task)), None)
    return {"type": name or f"{type(task).__module__}.{type(task).__qualname__}", **task.to_dict()}
