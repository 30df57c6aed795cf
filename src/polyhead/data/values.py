"""Turns cells of tables and values of JSON into values of layers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import NoReturn

from polyhead.data.example import KIND_NAMES, Labels, Span, Spans, Text, Tree, Value, WordLabels
from polyhead.data.text import short
from polyhead.data.trees import check_tree

LARGEST = 1e30
"""The largest number that a layer may hold: well inside what fp32 holds (3e38)."""

_HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair."""

_ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def from_cell(cell: str, kind: type, separator: str) -> Value | list[Span] | None:
    """A layer's value from one cell; None for an empty cell, which is a missing value for all but ``Labels``.

    Several labels stand between separators, labels for words between white space, spans as tags for words or as
    a JSON list. A list of spans counts characters or words and is still to be placed. A text is the cell as it is.

    Raises:
        ValueError: The cell holds no value of that kind.
    """
    if kind is Text:
        return Text(cell) if cell and not cell.isspace() else None
    cell = cell.strip()
    if kind is Labels:
        parts = [part.strip() for part in cell.split(separator)] if cell else []
        if "" in parts:
            raise ValueError(f"an empty label in {short(cell)} (labels stand between {separator!r})")
        return Labels(parts)
    if not cell:
        return None
    if kind is str:
        return cell
    if kind is float:
        return number(cell)
    if (kind is Spans and cell[0] == "[") or (kind is Tree and cell[0] == "{"):
        return from_json(load_json(cell), kind, separator)
    if kind in (WordLabels, Spans):
        return WordLabels(cell.split())
    raise ValueError(f"{short(cell)} cannot be {KIND_NAMES.get(kind, kind.__name__)}")


def from_json(value: object, kind: type, separator: str) -> Value | list[Span] | None:
    """A layer's value from a value of JSON or Parquet; None where it is null.

    Labels may be strings, whole numbers or booleans. Spans are a tag for each word, or a list of objects with
    ``start``, ``end`` and ``label`` or of triples; the latter are returned as a list, still to be placed.

    Raises:
        ValueError: The value is not of that kind.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return from_cell(value, kind, separator)
    if kind is Text:
        raise ValueError(f"{short(value)} is not a text; a text is a string, in quotes")
    if kind is float:
        return number(value)
    if kind is str:
        return _label(value)
    if kind is Tree:
        return _tree(value)
    if kind is Spans and _looks_like_span(value):
        raise ValueError(f"{short(value)} is one span where a list of spans should be; put brackets around it")
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} is not {KIND_NAMES.get(kind, kind.__name__)}, which is a list in this format")
    if kind is Labels:
        return Labels(_label(one) for one in value)
    if kind is Spans and (not value or any(isinstance(one, dict | list) for one in value)):
        return [_span(one) for one in value]
    if kind in (WordLabels, Spans):
        return WordLabels(None if one is None else _label(one) for one in value)
    raise ValueError(f"{short(value)} cannot be {KIND_NAMES.get(kind, kind.__name__)}")


def natural_kind(value: object, n: int) -> type | None:
    """The kind that suits a value by its type, in a record of ``n`` words; None for a shape that is no layer."""
    if isinstance(value, str | bool):
        return str
    if isinstance(value, int | float):
        return float if abs(value) <= LARGEST else None
    if isinstance(value, dict) and value.keys() == {"heads", "relations"}:
        return Tree
    if not isinstance(value, list):
        return None
    if all(one is None or isinstance(one, str | int) for one in value):
        if n and len(value) == n:
            return WordLabels
        return Labels if None not in value else None
    return Spans if all(_looks_like_span(one) for one in value) else None


def number(value: object) -> float:
    """A finite number, small enough to be learnt.

    Raises:
        ValueError: The value is no number, is not finite, or is beyond :data:`LARGEST`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{short(value)} is not a number")
    try:
        # Python reads 1_000 and other scripts' digits as numbers; data that holds them is more likely broken.
        if isinstance(value, str) and ("_" in value or not value.isascii()):
            raise ValueError
        result = float(value)
    except OverflowError:  # A whole number of hundreds of digits.
        result = LARGEST * 10
    except ValueError:
        comma = isinstance(value, str) and "," in value
        hint = "; write decimals with a point" if comma else "; correct it, or leave it empty where there is none"
        raise ValueError(f"{short(value)} is not a number{hint}") from None
    if not math.isfinite(result):
        raise ValueError(f"{short(value)} is not a finite number; leave the value empty where there is none")
    if abs(result) > LARGEST:
        raise ValueError(
            f"{short(value)} is beyond {LARGEST:g}, too large to be learnt; correct it, or use another unit"
        )
    return result


def load_json(text: str) -> object:
    """JSON without what no file could hold again: NaN and Infinity, a key twice, half a character, NUL.

    Raises:
        ValueError: What is wrong, and what to do about it.
    """
    try:
        value: object = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeats
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}: {short(text)}") from None
    except RecursionError:
        raise ValueError(f"JSON nested too deeply: {short(text)}; flatten it") from None
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # Python's own, for whole numbers.
            raise ValueError("a number of more than 4,300 digits; write it as a string") from None
        raise
    if _ODD_ESCAPE.search(text):
        refuse_odd_characters(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null where there is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{short(digits)} is not a finite number; correct it, or write it as a string")
    return number


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {short(key)} stands twice in one object; keep one of them")
    return found


def refuse_odd_characters(value: object) -> None:
    r"""See that no string of a value holds what no file could hold again.

    JSON can spell half a character (``\ud83d`` alone), which no tokenizer can take either; JSON and Parquet hold NUL.

    Raises:
        ValueError: One does.
    """
    if isinstance(value, dict):
        for key, one in value.items():
            refuse_odd_characters(key)
            refuse_odd_characters(one)
    elif isinstance(value, list):
        for one in value:
            refuse_odd_characters(one)
    elif isinstance(value, str):
        if _HALF.search(value):
            raise ValueError(f"half of a surrogate pair in {short(value)}; write both halves, or take it out")
        if "\0" in value:
            raise ValueError(f"a NUL character in {short(value)}; take it out")


def _label(value: object) -> str:
    """A label from a string, a whole number or a boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # Tools that allow for missing values write whole numbers as 1.0.
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is not a label; a label is a string, a whole number or a boolean")
    label = value.strip()
    if not label:
        raise ValueError("an empty label; name it, or write null for none")
    return label


def _tree(value: object) -> Tree:
    """A tree from an object with heads and relations."""
    heads, relations = (value.get("heads"), value.get("relations")) if isinstance(value, dict) else (None, None)
    if not isinstance(heads, list) or not isinstance(relations, list) or len(heads) != len(relations):
        raise ValueError(f"{short(value)} is not a tree: give `heads` and `relations`, one of each for every word")
    for head in heads:
        if isinstance(head, bool) or not isinstance(head, int):
            raise ValueError(f"head {short(head)} is not a whole number")
    try:
        check_tree(heads)
    except ValueError as error:
        _, what, remedy = error.args
        raise ValueError(f"{what}; {remedy}") from None
    return Tree(tuple(heads), tuple(_label(relation) for relation in relations))


def _looks_like_span(value: object) -> bool:
    if isinstance(value, dict):
        return value.keys() >= {"start", "end", "label"}
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], int) and isinstance(value[2], str)


def _span(value: object) -> Span:
    """A span from an object or a triple. Its positions are checked where the text is known."""
    if isinstance(value, dict):
        missing = [key for key in ("start", "end", "label") if key not in value]
        if missing:
            raise ValueError(f"span {short(value)} has no {missing[0]!r}")
        start, end, label = value["start"], value["end"], value["label"]
    elif isinstance(value, list) and len(value) == 3:
        start, end, label = value
    else:
        raise ValueError(f"{short(value)} is not a span: give start, end and label")
    for position in (start, end):
        if isinstance(position, bool) or not isinstance(position, int):
            raise ValueError(f"span {short(value)}: {short(position)} is not a whole number")
    return Span(start, end, _label(label))
