"""What pydantic finds wrong with a recipe, in the words of the recipe's own keys."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from polyhead.data import DataSpec
from polyhead.encoder_spec import EncoderSpec, StartSpec
from polyhead.errors import PolyheadError, nearest
from polyhead.stage import AdapterSpec, DistilSpec, Stage


def explain(error: ValidationError, recipe: type[BaseModel]) -> PolyheadError:
    """One of pydantic's complaints in our words: an unknown key before all others, else the first.

    Args:
        error: Raised by ``recipe``.
        recipe: The model of a whole recipe.
    """
    complaints = [(_place(one["loc"]), one) for one in error.errors()]
    place, first = next((c for c in complaints if c[1]["type"] == "extra_forbidden"), complaints[0])
    if first["type"] == "extra_forbidden":
        remedy = nearest(str(place[-1]), _fields_at(place[:-1], recipe))
        return PolyheadError(f"The recipe has an unknown key {_dotted(place)!r}.", remedy=remedy)
    if first["type"] == "missing":
        return PolyheadError(f"The recipe has no {_dotted(place)!r}.", remedy=_description(place, recipe))
    # A value that may be of several kinds has a complaint for each; those that look furthest into it say most.
    place = max((where for where, _ in complaints if where[: len(place)] == place), key=len)
    alike = [one for where, one in complaints if where == place]
    given = alike[0]["input"]
    value = f" = {given!r}" if isinstance(given, str | int | float | bool | list) else ""
    messages = [one["msg"].removeprefix("Value error, ").removeprefix("Input should be ") for one in alike]
    messages = ["a table" if text.startswith("a valid dictionary or instance of") else text for text in messages]
    should = "it should be " if alike[0]["msg"].startswith("Input should be ") else ""
    message = f"{_dotted(place)}{value} is not right: {should}{', or '.join(messages)}."
    return PolyheadError(message, remedy=_description(place, recipe))


def _place(loc: tuple[int | str, ...]) -> list[int | str]:
    """Where a complaint is, without pydantic's marks for the kinds that a value may be of."""
    marks = (
        "EncoderSpec",
        "AdapterSpec",
        "DistilSpec",
        "str",
        "float",
        "constrained-",
        "int",
        "literal[",
        "list[",
        "dict[",
    )
    named = 2 if loc[0] in ("data", "tasks") else 1  # the user's own names are no marks
    return [*loc[:named], *(p for p in loc[named:] if isinstance(p, int) or not p.startswith(marks))]


def _dotted(place: list[int | str]) -> str:
    return ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in place).replace(".[", "[")


def _model_at(place: list[int | str], recipe: type[BaseModel]) -> type[BaseModel] | None:
    """The table at a place, if it is one of the recipe's own kinds of table."""
    if not place:
        return recipe
    if place[0] == "stages" and place[2:] in (["adapter"], ["distil"]):
        return AdapterSpec if place[2] == "adapter" else DistilSpec
    depth = 1 if place[0] in ("encoder", "start") else 2
    known: dict[int | str, type[BaseModel]] = {
        "encoder": EncoderSpec,
        "start": StartSpec,
        "stages": Stage,
        "data": DataSpec,
    }
    return known.get(place[0]) if len(place) == depth else None


def _fields_at(place: list[int | str], recipe: type[BaseModel]) -> list[str]:
    model = _model_at(place, recipe)
    return [name for name in model.model_fields if name != "base"] if model else []


def _description(place: list[int | str], recipe: type[BaseModel]) -> str:
    """What the recipe's own key at this place, or around it, means."""
    for end in range(len(place), 0, -1):
        model, key = _model_at(place[: end - 1], recipe), str(place[end - 1])
        if model and key in model.model_fields:
            return f"{key}: {model.model_fields[key].description}"
    return ""
