"""What a study is about: a recipe, its target, and what there is to learn from."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from polyhead.recipe import Recipe
from polyhead.stage import Stage

FULL = 2000
"""From so many examples on a stage has the recipe's epochs; fewer examples get more, by the root of what is missing."""

MOST_TIMES = 4
"""How many times more epochs at most."""


@dataclass(frozen=True)
class Question:
    """What a study is about.

    Attributes:
        recipe: The user's, with paths made absolute.
        target: The task.
        whole: How many training examples the target has.
        labels: The target's labels in all of its training split, for small draws that lack some; none if its type has
            no plain labels.
        data: For each dataset the fingerprint of its files.
        counts: For each dataset how many training examples it has.
        scored: The split that all ways are scored on, ``test`` or ``dev``.
    """

    recipe: Recipe
    target: str
    whole: int
    labels: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scored: str = "test"

    @cached_property
    def table(self) -> dict[str, Any]:
        """The recipe as a plain table."""
        return tomllib.loads(self.recipe.to_toml())

    @property
    def sources(self) -> list[str]:
        """The tasks beside the target that have a head of their own, or learn from text alone."""
        return [name for name in self.table["tasks"] if name != self.target and not self._shares(name)]

    def _shares(self, name: str) -> bool:
        """Whether a task has the target's head, and so is no other task."""
        return self.target in (self.table["tasks"][name].get("head_of"), name)

    @property
    def untrained(self) -> bool:
        """Whether the recipe's own encoder has random weights, so that there is nothing to freeze or adapt."""
        spec = self.recipe.encoder_spec
        return self.recipe.start is None and (spec.name is None or spec.weights == "random")

    @property
    def stage(self) -> Stage:
        """The recipe's last stage that trains the target."""
        found = [stage for stage in self.recipe.stages if self.target in (stage.tasks or self.recipe.tasks)]
        return found[-1] if found else Stage()

    def epochs(self, size: int, times: float = 1.0) -> int:
        """How many epochs a run with so many examples has."""
        more = min(MOST_TIMES, max(1.0, math.sqrt(min(FULL, self.whole) / size)))
        return max(1, round(self.stage.epochs * more * times))
