"""Whether a task's settings are what its fields are annotated with."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from polyhead.errors import PolyheadError

_FINITE = ConfigDict(allow_inf_nan=False)


def check_settings(task: Any, base: type) -> None:
    """Settings must be what their fields are annotated with, as strictly as the rest of the recipe.

    Args:
        task: A task, which is a dataclass.
        base: What all tasks are.

    Raises:
        PolyheadError: One is of a wrong kind, or beyond its bounds.
    """
    # A type may give a setting of all tasks another default, as `dropout: float = 0.1`: the bounds of all tasks stay.
    every, own = (typing.get_type_hints(cls, include_extras=True) for cls in (base, type(task)))
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if field.metadata.get("learnt") or value is field.default:
            continue
        try:
            for hints in (every, own):
                if field.name in hints:
                    TypeAdapter(hints[field.name], config=_FINITE).validate_python(value, strict=True)
        except ValidationError as error:
            what = f"tasks.{task.name}.{field.name} = {value!r} is not right: {error.errors()[0]['msg']}."
            raise PolyheadError(what) from error
