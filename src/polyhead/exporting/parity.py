"""Whether an exported model answers as torch does: on a sample, answers counted and scores compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyhead.data.example import Example, Prediction
from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.exporting.sample import Sample
from polyhead.model import Model
from polyhead.predict import answer
from polyhead.runtime.backend import OnnxBackend
from polyhead.runtime.folder import CONFIG

ALIKE = 1e-3
"""By how much confidences of the same numbers may differ: both libraries add up in another order."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the answers of a task agree.

    Attributes:
        texts: How many texts were answered by both.
        same: For how many the answers are equal.
        difference: The largest difference of confidences, among equal answers.
    """

    texts: int
    same: int
    difference: float


@dataclass(frozen=True, slots=True)
class Parity:
    """How well an exported model agrees with torch in fp32.

    Attributes:
        precision: That of the exported model.
        tasks: Each task's agreement.
    """

    precision: str
    tasks: Mapping[str, Agreement]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: asdict(one) for name, one in self.tasks.items()}

    def notes(self) -> Iterator[str]:
        """What is worth telling, a line for each task."""
        for name, one in self.tasks.items():
            yield (
                f"{self.precision}, {name}: {one.same} of {counted(one.texts, 'text')} answered as by torch in fp32, "
                f"confidences within {one.difference:.2g}"
            )


def compare(model: Model, folder: Path, sample: Sample, precision: str, *, strict: bool) -> Parity:
    """Let torch and an exported model answer for the same texts.

    Args:
        model: In evaluation mode, in fp32.
        folder: The exported model's.
        sample: The texts.
        precision: That of the exported model.
        strict: Whether it must answer the same: then a difference is an error.

    Raises:
        PolyheadError: The answers differ, and must not.
    """
    backend = OnnxBackend(folder)
    found: dict[str, Agreement] = {}
    for name in backend.tasks:
        texts = list(sample.checked[model.tasks[name].data])
        language = model.info.get("data", {}).get(model.tasks[name].data, {}).get("language_code")
        items = model.encoder.tokenise(texts, language)
        ours, theirs = answer(model, items, [name]), backend.answer(items, [name])
        pairs = [(a[name], b[name], text) for a, b, text in zip(ours, theirs, texts, strict=True) if name in a]
        found[name] = _agreement(pairs)
        if strict:
            _see_same(name, pairs, found[name], folder)
    return Parity(precision, found)


def _agreement(pairs: Sequence[tuple[Prediction, Prediction, Example]]) -> Agreement:
    same = [(a, b) for a, b, _ in pairs if alike(a.value, b.value)]
    gaps = [np.abs(np.asarray(a.confidence) - np.asarray(b.confidence)).max(initial=0.0) for a, b in same]
    return Agreement(len(pairs), len(same), float(max(gaps, default=0.0)))


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same; numbers but for rounding."""
    if isinstance(one, float):
        return bool(np.isclose(one, other, rtol=1e-3, atol=1e-4))
    return bool(one == other)


def _see_same(
    name: str, pairs: Sequence[tuple[Prediction, Prediction, Example]], found: Agreement, folder: Path
) -> None:
    """Answers may differ where torch itself is torn between two, and nowhere else."""
    for a, b, text in pairs:
        if not alike(a.value, b.value) and not _torn(a, b):
            raise PolyheadError(
                f"tasks.{name} is not answered as torch does, for {text.raw[:60]!r}: {str(b.value)[:80]}, not"
                f" {str(a.value)[:80]}.",
                file=folder / CONFIG,
                remedy="The encoder's family, or a head of your own, is not traced rightly. Use the model with torch.",
            )
    if found.difference > ALIKE:
        raise PolyheadError(
            f"tasks.{name}: confidences differ from torch's by {found.difference:.2g}.",
            remedy="The encoder's family, or a head of your own, is not traced rightly. Use the model with torch.",
        )


def _torn(a: Prediction, b: Prediction) -> bool:
    """Whether two other answers are held for as likely as each other."""
    one, other = np.atleast_1d(np.asarray(a.confidence)), np.atleast_1d(np.asarray(b.confidence))
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) < ALIKE)
