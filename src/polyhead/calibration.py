"""Confidences that mean what they say: one temperature for each head (Guo et al. 2017).

A head's logits are divided by its temperature before they become confidences; answers stay as they are. The
temperature is the one with the least negative log likelihood on the dev split, with a weak pull to 1 that a few dozen
examples outweigh. How good confidences are is told by three figures: the expected calibration error (ECE: how far the
mean confidence is from the share that is right, over bins of equal width), the Brier score (the mean square of
confidence less 0 or 1), and the negative log likelihood of gold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polyhead.answering.batches import BUDGET
from polyhead.data.example import Prediction
from polyhead.files import read_json, write_json
from polyhead.model import Model, model_folder
from polyhead.nn.batch import cut_batches
from polyhead.nn.precision import autocast
from polyhead.nn.tempered import COOLEST, HOTTEST
from polyhead.predict import answer
from polyhead.scoring import Gold
from polyhead.tasks import Head

GRID: NDArray[np.float64] = np.geomspace(COOLEST, HOTTEST, 49)
"""The temperatures that are tried; between the best and its neighbours a parabola says which is best."""

PULL = 0.5
"""The spread, in logarithms, of temperatures before dev was seen: normal around 0."""

BINS = 10
"""Bins of equal width for the ECE and the reliability picture."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sureness:
    """How good confidences are.

    Attributes:
        ece: The expected calibration error, from 0 to 1.
        brier: The mean square of confidence less 0 or 1.
        nll: The negative log likelihood of gold, per unit of the loss (a word, a text).
        bins: For each bin that is not empty: how many confidences, their mean, and the share that is right.
    """

    ece: float
    brier: float
    nll: float
    bins: list[tuple[int, float, float]]

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Sureness:
        """The inverse of ``dataclasses.asdict``, from JSON too."""
        bins = [(int(count), float(sure), float(right)) for count, sure, right in table["bins"]]
        return cls(table["ece"], table["brier"], table["nll"], bins)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A head's temperature, and what it is worth.

    Attributes:
        temperature: Fitted on all of the dev split.
        fitted: On how many examples.
        judged: The split that ``before`` and ``after`` are about.
        crossed: Whether that is the dev split, too: then each half was judged at the temperature of the other.
        before, after: Without and with temperature.
    """

    temperature: float
    fitted: int
    judged: str
    crossed: bool
    before: Sureness
    after: Sureness

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Calibration:
        """The inverse of ``dataclasses.asdict``, from JSON too."""
        sides = {name: Sureness.from_dict(table[name]) for name in ("before", "after")}
        return cls(**{**table, **sides})


def calibrate(model: Model, name: str, dev: Gold, scored: Gold | None, judged: str) -> Calibration | None:
    """Find the temperature of a head on the dev split, and judge it on another; the head's own is left as it is.

    Args:
        model: In evaluation mode.
        name: The task.
        dev: What the temperature is found on.
        scored: What it is judged on; ``None`` is the dev split as well, in halves.
        judged: What the split is called on which it is judged.

    Returns:
        ``None`` for a type that is not calibrated, or if no example of a split can be judged.
    """
    if not can_calibrate(model.head(name)):
        return None
    dev = carrying(model, name, dev)
    found, units = surprise(model, name, dev)
    if not units.sum():
        return None
    temperature = best_temperature(found)
    if scored is None:
        return _crossed(model, name, dev, (found, units), temperature, judged)
    scored = carrying(model, name, scored)
    seen, counts = surprise(model, name, scored)
    if not counts.sum():
        return None
    sides = []
    for one in (1.0, temperature):
        sure, right = certainties(model, name, scored, one)
        if not len(sure):
            return None
        sides.append(sureness(sure, right, float(_at(seen.sum(0), one) / counts.sum())))
    return Calibration(temperature, len(dev.examples), judged, False, *sides)


def _crossed(
    model: Model, name: str, dev: Gold, found: tuple[Floats, Floats], temperature: float, judged: str
) -> Calibration | None:
    """Each half judged at the temperature of the other."""
    losses, units = found
    halves = [np.arange(len(dev.examples)) % 2 == half for half in (0, 1)]
    if len(dev.examples) < 2:
        return None
    before, after, nll = [], [], 0.0
    for here, there in (halves, halves[::-1]):
        rows = np.flatnonzero(here).tolist()
        part = Gold([dev.examples[i] for i in rows], [dev.items[i] for i in rows])
        other = best_temperature(losses[there])
        before.append(certainties(model, name, part, 1.0))
        after.append(certainties(model, name, part, other))
        nll += float(_at(losses[here].sum(0), other))
    plain, fitted = ([np.concatenate(side) for side in zip(*both, strict=True)] for both in (before, after))
    if not len(plain[0]):
        return None
    first = sureness(plain[0], plain[1], float(_at(losses.sum(0), 1.0) / units.sum()))
    second = sureness(fitted[0], fitted[1], nll / float(units.sum()))
    return Calibration(temperature, len(dev.examples), judged, True, first, second)


def can_calibrate(head: Head) -> bool:
    """Whether a head's type says how surprising gold is."""
    return type(head).surprise is not Head.surprise


def carrying(model: Model, name: str, gold: Gold) -> Gold:
    """The examples that a task can be asked about: those that carry its layer, in words if it is about words."""
    task = model.tasks[name]
    rows = [i for i, example in enumerate(gold.examples) if task.carries(example)]
    return Gold([gold.examples[i] for i in rows], [gold.items[i] for i in rows])


def by_batches(model: Model, gold: Gold) -> Iterator[list[int]]:
    """The places of examples, in batches of about one length."""
    lengths, rows = model.encoder.measure(gold.items)
    for batch in cut_batches(np.argsort(lengths, kind="stable"), lengths, rows, BUDGET):
        yield batch.tolist()


@contextmanager
def asking(model: Model) -> Iterator[None]:
    """Where a model's heads are asked: without gradients, in its precision."""
    with torch.inference_mode(), autocast(model.encoder.device, model.precision):
        yield


def surprise(model: Model, name: str, gold: Gold) -> tuple[Floats, Floats]:
    """The negative log likelihood of each example's gold at each temperature of ``GRID``, (examples, temperatures), and
    over how many units each is a sum, (examples,); 0 for examples that the task can learn nothing from."""
    task, head = model.tasks[name], model.head(name)
    losses = np.zeros((len(gold.examples), len(GRID)))
    units = np.zeros(len(gold.examples))
    for rows in by_batches(model, gold):
        targets = [task.target(gold.examples[i]) for i in rows]
        known = [i for i, target in enumerate(targets) if target is not None]
        if not known:
            continue
        with asking(model):
            encoding = model.encoding(model.encoder.collate([gold.items[i] for i in rows]), name, known)
            found = head.surprise(encoding, [targets[i] for i in known], GRID.tolist())
        places = [rows[i] for i in known]
        losses[places] = found.double().numpy(force=True)
        units[places] = [task.units(gold.examples[i], targets[k]) for i, k in zip(places, known, strict=True)]
    return losses, units


def best_temperature(losses: Floats) -> float:
    """The temperature of the least loss.

    Args:
        losses: What each example loses at each of ``GRID``. Shape (examples, temperatures).
    """
    total = losses.sum(0) + np.log(GRID) ** 2 / (2 * PULL**2)
    place = int(np.argmin(total))
    if 0 < place < len(GRID) - 1:
        left, middle, right = total[place - 1 : place + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
        step = float(np.log(GRID[1] / GRID[0]))
        return round(float(GRID[place] * np.exp(shift * step)), 4)
    return float(GRID[place])


def _at(losses: Floats, temperature: float) -> Any:
    """The loss at a temperature between those of ``GRID``."""
    return np.interp(np.log(temperature), np.log(GRID), losses)


def certainties(model: Model, name: str, gold: Gold, temperature: float) -> tuple[Floats, Floats]:
    """All confidences of a task's answers at a temperature, and whether each is right, 0 or 1. Shapes (n,)."""
    given = answers_at(model, name, gold, temperature)
    return paired(model, name, gold, given)


def paired(model: Model, name: str, gold: Gold, given: Sequence[Prediction]) -> tuple[Floats, Floats]:
    """All confidences of answers, and whether each is right (0 or 1); those that gold does not judge are left out."""
    sure: list[float] = []
    right: list[float] = []
    for example, one in zip(gold.examples, given, strict=True):
        each = one.confidence if isinstance(one.confidence, tuple) else (one.confidence,)
        for chance, hit in zip(each, model.tasks[name].hits(example, one.value), strict=True):
            if hit is not None:
                sure.append(chance)
                right.append(float(hit))
    return np.asarray(sure), np.asarray(right)


def answers_at(model: Model, name: str, gold: Gold, temperature: float) -> list[Prediction]:
    """A task's answers with the confidences of a temperature; the head's own temperature is left as it is."""
    head = model.head(name)
    own, head.temperature = head.temperature, temperature
    try:
        return [one[name] for one in answer(model, gold.items, [name])]
    finally:
        head.temperature = own


def sureness(sure: Floats, right: Floats, nll: float) -> Sureness:
    """How good confidences are.

    Args:
        sure: Confidences. Shape (n,).
        right: 1 where the answer is right, else 0. Shape (n,).
        nll: The negative log likelihood of gold.
    """
    places = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    bins = []
    for place in range(BINS):
        here = places == place
        if here.any():
            bins.append((int(here.sum()), float(sure[here].mean()), float(right[here].mean())))
    ece = sum(count * abs(mean - share) for count, mean, share in bins) / len(sure)
    return Sureness(float(ece), float(np.mean((sure - right) ** 2)), nll, bins)


def keep_temperature(folder: Path, name: str, temperature: float) -> None:
    """Write a temperature into a saved model: whoever loads it gets confidences at this temperature.

    Args:
        folder: A run, or a model folder.
        name: The task that has the head.
        temperature: Its temperature.
    """
    path = model_folder(folder) / "config.json"
    config = read_json(path, "tasks")
    known = {**config.get("temperatures", {}), name: temperature}
    kept = {one: value for one, value in known.items() if value != 1}
    if kept != config.get("temperatures", {}):
        write_json(path, {**config, "temperatures": kept})
