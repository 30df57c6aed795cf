"""Which tasks to train together: what a step for one does to the loss of another, in a short joint run.

The affinity of task i onto task j is by what share j's loss falls when the shared weights go a step along i's gradient
alone (Fifty et al. 2021, "Efficiently identifying task groupings for multi-task learning"). Three things are done
otherwise: the step is scaled as AdamW scales its steps, since that is what trains here; j's loss is taken on examples
that i's gradient did not come from; and nothing is dropped while it is measured. Groups are those that make the mean
affinity onto each task from its companions as high as it can be; a task that no companion helps stays alone.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.advice.candidates import Tell, brief
from polyhead.advice.measures import Floats, Sure
from polyhead.errors import PolyheadError
from polyhead.intervals import by_student
from polyhead.recipe import Recipe, make_recipe
from polyhead.studies.effects import holm
from polyhead.training.examples import TrainingSet
from polyhead.training.loop import Training
from polyhead.training.records import Stepped
from polyhead.training.start import set_up

STEPS = 120
"""How long the joint run is; all of a short one is taken."""

EVERY = 6
"""Affinities are measured after every so many steps."""

TELL_SECONDS = 20.0
"""So often it is told how far it is."""

EXAMPLES = 8
"""Of each task so many examples give its gradient, and so many others its loss."""

SETTINGS = {"epochs": 40, "sampling": "uniform", "schedule": "constant", "warmup": 0.0}
"""Of the run: even a handful of examples gets its steps, and at one rate, as the run does not go to its end."""

MOST_TASKS = 12
"""All ways to group so many tasks are looked through."""


@dataclass(frozen=True)
class Affinity:
    """What a step for one task does to another.

    Attributes:
        source, onto: The task that steps, and the one whose loss is looked at.
        share: By what share the loss falls, with its interval over the run; p is raised for the number of pairs.
    """

    source: str
    onto: str
    share: Sure


@dataclass(frozen=True)
class Together:
    """Which tasks to train together.

    Attributes:
        groups: Each task in one of them.
        affinities: Of all ordered pairs of tasks.
        over_alone, over_joint: How much higher the mean affinity onto a task is in groups than with each task alone,
            where it is 0, and than with all tasks together. On each half of the measurements the groups are those that
            the other half would choose: on those that chose them they would look better than they are.
        steps, measured: How many steps the run took, and how often affinities were measured.
    """

    groups: list[list[str]]
    affinities: list[Affinity]
    over_alone: Sure
    over_joint: Sure
    steps: int
    measured: int


def together(recipe: Recipe, *, seed: int = 1, tell: Tell = lambda _: None) -> Together:
    """Train all tasks of a recipe together for a short while, and see which help each other.

    Raises:
        PolyheadError: There are fewer than two tasks, or too many; or the recipe or its data is wrong.
    """
    names = list(recipe.tasks)
    if not 2 <= len(names) <= MOST_TASKS:
        raise PolyheadError(
            f"The recipe has {len(names)} tasks, of which groups are to be made.",
            remedy=f"Groups are found for 2 to {MOST_TASKS} tasks.",
        )
    table = brief(recipe, names, seed, settings=SETTINGS) | {"precision": "fp32"}
    with tempfile.TemporaryDirectory(prefix="polyhead-") as folder:
        training, _ = set_up(make_recipe(table), Path(folder), lambda _: None)
        found, steps = _measurements(training, names, seed, tell)
    if len(found) < 2:
        raise PolyheadError(
            f"The joint run has only {steps} steps, too few to see what its tasks do to each other.",
            remedy="Give the tasks more training examples.",
        )
    return grouped(names, np.stack(found), steps)


def grouped(names: Sequence[str], found: Floats, steps: int) -> Together:
    """The best groups by measured affinities.

    Args:
        names: The tasks.
        found: By what share the loss of the task of a column falls by a step for that of a row; NaN where it was not
            measured. Shape (measurements, tasks, tasks).
        steps: How many the run took.
    """
    with np.errstate(invalid="ignore"):
        means = np.nan_to_num(np.nanmean(found, axis=0))
    held = np.nan_to_num(found)
    halves = held[::2], held[1::2]
    chosen = np.concatenate([_worth(a, best_groups(b.mean(0))) for a, b in (halves, halves[::-1])])
    joint = np.concatenate([_worth(half, [list(range(len(names)))]) for half in halves])
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    shares = [mean_of(found[:, i, j]) for i, j in pairs]
    raised = holm([one.p for one in shares])
    affinities = [
        Affinity(names[i], names[j], Sure(one.value, one.low, one.high, p))
        for (i, j), one, p in zip(pairs, shares, raised, strict=True)
    ]
    return Together(
        groups=[[names[task] for task in group] for group in best_groups(means)],
        affinities=affinities,
        over_alone=mean_of(chosen),
        over_joint=mean_of(chosen - joint),
        steps=steps,
        measured=len(found),
    )


def _worth(found: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """The mean over tasks of the mean affinity from their companions, at each measurement. Shape (measurements,)."""
    worth: Floats = sum((_group_worth(found, group) for group in groups), start=np.zeros(len(found))) / found.shape[1]
    return worth


def _group_worth(found: Floats, group: Sequence[int]) -> Floats:
    """The sum over a group's tasks of the mean affinity from the others of it. Shape (measurements,)."""
    if len(group) < 2:
        return np.zeros(len(found))
    inside = found[:, group][:, :, group]
    others: Floats = inside.sum((1, 2)) - np.trace(inside, axis1=1, axis2=2)
    return others / (len(group) - 1)


def best_groups(means: Floats) -> list[list[int]]:
    """The partition of tasks with the highest mean affinity from companions; among equals one with smaller groups.

    Args:
        means: From the task of a row onto that of a column. Shape (tasks, tasks).
    """
    count = len(means)
    worth = [0.0] * (1 << count)
    for chosen in range(1, 1 << count):
        group = [task for task in range(count) if chosen >> task & 1]
        worth[chosen] = float(_group_worth(means[None], group)[0])
    best: list[tuple[float, int]] = [(0.0, 0)] * (1 << count)
    for chosen in range(1, 1 << count):
        lowest = chosen & -chosen
        rest = chosen ^ lowest
        part = 0
        found = (-math.inf, 0)
        while True:  # each group that holds the lowest task of those chosen, the smallest first
            total = worth[part | lowest] + best[rest ^ part][0]
            if total > found[0] + 1e-15:
                found = (total, part | lowest)
            if part == rest:
                break
            part = (part - rest) & rest
        best[chosen] = found
    groups = []
    left = (1 << count) - 1
    while left:
        here = best[left][1]
        groups.append([task for task in range(count) if here >> task & 1])
        left ^= here
    return groups


def mean_of(values: Floats) -> Sure:
    """The mean of independent measurements, and how sure it is, by Student's t."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Sure(float(values.mean()) if len(values) else 0.0, -math.inf, math.inf, 1.0)
    value, error = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
    return Sure(value, *by_student(value, error, len(values) - 1))


def _measurements(training: Training, names: Sequence[str], seed: int, tell: Tell) -> tuple[list[Floats], int]:
    """Train, and measure now and then; also how many steps were taken."""
    examples = training.material.training_set([training.model.tasks[name] for name in names])
    rng = np.random.default_rng(seed)
    found = []
    steps, told = 0, -math.inf
    for record in training.records():
        if not isinstance(record, Stepped):
            continue
        steps = record.step
        if steps % EVERY == 0:
            found.append(_measure(training, examples, names, rng))
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                tell(f"affinities after step {steps} of {min(STEPS, record.steps)}")
        if steps >= STEPS:
            break
    return found, steps


def _measure(training: Training, examples: TrainingSet, names: Sequence[str], rng: np.random.Generator) -> Floats:
    """By what share each task's loss falls by a step for each. Shape (tasks, tasks)."""
    half = rng.random(len(examples.items)) < 0.5  # no task's step comes from what another's loss is taken on
    drawn = {name: _two_draws(_rows(examples, name), half, rng) for name in names}
    model = training.model
    model.eval()
    shared = [weight for weight in training.shared if weight.requires_grad]
    batch = training.batch(examples, np.unique(np.concatenate([judged for _, judged in drawn.values()])), names)

    def look() -> dict[str, float]:
        with torch.no_grad():
            return {name: float(loss.total) / max(1, loss.units) for name, loss in model.loss(*batch).items()}

    before = look()
    out = np.full((len(names), len(names)), np.nan)
    for name, (stepped, _) in drawn.items():
        loss = model.loss(*training.batch(examples, stepped, [name])).get(name)
        if loss is None or not loss.units:
            continue
        gradient = torch.autograd.grad(loss.total / loss.units, shared, allow_unused=True)
        with _moved(training, shared, gradient):
            after = look()
        for onto, value in before.items():
            if value > 0 and math.isfinite(after[onto]):
                out[names.index(name), names.index(onto)] = 1 - after[onto] / value
    model.train()
    return out


def _rows(examples: TrainingSet, name: str) -> NDArray[np.int64]:
    """The examples that a task learns from."""
    if name in examples.blocks:
        return np.asarray(examples.blocks[name].rows, dtype=np.int64)
    return np.asarray([row for row, gold in enumerate(examples.targets[name]) if gold is not None], dtype=np.int64)


def _two_draws(
    rows: NDArray[np.int64], half: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A few of a task's examples in one half, and a few in the other; the same where a half has none."""
    first, second = (rng.permutation(rows[half[rows] == side])[:EXAMPLES] for side in (True, False))
    return first if len(first) else second, second if len(second) else first


@contextmanager
def _moved(training: Training, shared: Sequence[Tensor], gradient: Sequence[Tensor | None]) -> Iterator[None]:
    """The shared weights one step of AdamW further along a gradient, inside the block; its momentum left out."""
    assert training.optimizer is not None
    adamw = training.optimizer.adamw
    rates: Mapping[int, float] = {id(p): group["highest"] for group in adamw.param_groups for p in group["params"]}
    beta, epsilon = adamw.defaults["betas"][1], adamw.defaults["eps"]
    before = []
    with torch.no_grad():
        for weight, slope in zip(shared, gradient, strict=True):
            state = adamw.state.get(weight, {})
            if slope is None or "exp_avg_sq" not in state:
                continue
            before.append((weight, weight.detach().clone()))
            size = (state["exp_avg_sq"] / (1 - beta ** float(state["step"]))).sqrt() + epsilon
            weight.sub_(rates[id(weight)] * slope / size)
        try:
            yield
        finally:
            for weight, value in before:
                weight.copy_(value)
