"""What the parts of a report are made of: how numbers spread, and where examples with a fault stand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from polyhead.data.example import Example

_SHOWN = 8  # Places of a fault that a report names.


@dataclass(frozen=True, slots=True)
class Spread:
    """How numbers spread; percentiles are by nearest rank, so each is one of the numbers."""

    total: float
    min: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Spread:
        """The spread of some numbers, at least one."""
        ranked = sorted(numbers)
        median, p95 = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.95))
        return cls(sum(ranked), ranked[0], median, p95, ranked[-1])


@dataclass(frozen=True, slots=True)
class Found:
    """Examples with some fault: how many, and where the first of them stand (``file:line``)."""

    count: int = 0
    places: tuple[str, ...] = ()


def place(example: Example) -> str:
    """Where an example stands."""
    return f"{example.file or '?'}:{example.line or '?'}"


def faults(places: Iterable[str]) -> Found:
    """Some places with a fault, the first of which are named."""
    listed = list(places)
    return Found(len(listed), tuple(listed[:_SHOWN]))
