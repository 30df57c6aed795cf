"""What task types with labels share: which weights stand for which labels, and what is said of labels never learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyhead.data.example import Example
from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.tasks.base import Task


def linear_axes(name: str, labels: Sequence[str]) -> dict[str, dict[int, list[str]]]:
    """The axes of a linear layer of this name with one output for each label, for ``Head.label_axes``."""
    return {f"{name}.weight": {0: list(labels)}, f"{name}.bias": {0: list(labels)}}


def unknown_label(task: Task, example: Example, label: str, split: str, known: Sequence[str], word: int = 0) -> Any:
    """The error for a label that the training split does not have."""
    line = example.lines[word] if example.lines else example.line
    shown = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
    return PolyheadError(
        f"The label {label!r} of layer {task.layer!r} is in the {split} split but never in the training split.",
        file=example.file,
        line=line,
        remedy=f"Correct it, or add training examples that have it. Known labels: {shown}.",
    )


def unseen_note(task: Task, count: int, what: str, split: str) -> list[str]:
    """A note on words whose gold the head cannot give, because training never shows it; none if there are none."""
    if not count:
        return []
    words = counted(count, "word")
    return [f"tasks.{task.name}: {words} of the {split} split with {what} that training never shows; counted as errors"]
