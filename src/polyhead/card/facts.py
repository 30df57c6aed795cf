"""What a model card is made from: plain facts about a model and the run behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polyhead.data.example import Text
from polyhead.data.writers import set_apart
from polyhead.recipe import Recipe
from polyhead.scoring import Scores
from polyhead.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: What the model is called.
        tasks: The tasks that it answers, by name.
        info: What is kept beside its weights: the stages behind it, and its encoder.
        run: The run's own record (``run.json``).
        recipe: The resolved recipe.
        scores: The figures of each split.
        intervals: For each split and task the intervals of its figures, as ``Intervals.to_dict`` gives them.
        signatures: How figures are computed exactly, by task and figure, where their scorer says so.
        best_of: Where the weights are one task's own best: the stage and epoch that they come from.
    """

    name: str
    tasks: Mapping[str, Task]
    info: Mapping[str, Any]
    run: Mapping[str, Any]
    recipe: Recipe
    scores: Mapping[str, Scores]
    intervals: Mapping[str, Mapping[str, Any]]
    signatures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    best_of: tuple[str, int] | None = None

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages behind the model, in their order."""
        return list(self.info.get("lineage", []))

    @property
    def encoder(self) -> dict[str, Any]:
        """The encoder that they began with."""
        return dict(self.info.get("encoder", {}))

    @property
    def writers(self) -> dict[str, str]:
        """The tasks that answer with texts, and what their answers are called."""
        names = set_apart({name: task.layer for name, task in self.tasks.items() if task.answers})
        return {name: layer for name, layer in names.items() if self.tasks[name].kind is Text}

    def languages(self, task: Task) -> list[str]:
        """The languages of a task's data, as far as they are stated."""
        return next((list(one.get("languages") or []) for one in self.data if one["name"] == task.data), [])

    @property
    def data(self) -> list[dict[str, Any]]:
        """Every dataset that some stage learnt from; one that was the same in two stages is there once."""
        found = {(data["name"], data["fingerprint"]): data for stage in self.stages for data in stage["data"]}
        return list(found.values())
