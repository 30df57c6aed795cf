"""A study whose runs are made up, not trained: many ways, sizes and seeds in a second, with known figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import runs
from polyhead.recipe import load_recipe
from polyhead.studies.asking import ask
from polyhead.studies.folder import RUNS, Asked, Study
from polyhead.studies.learn import PARTS

WAYS = ("scratch", "frozen", "fine-tuned", "joint", "joint-fine-tuned", "from:pos", "from:entities", "from:syntax")
SIZES = (50, 100, 200, 500, 5000)

STARTS = {
    "scratch": 0.0,
    "frozen": 0.55,
    "fine-tuned": 0.6,
    "joint": 1.5,
    "joint-fine-tuned": 1.2,
    "from:pos": 1.3,
    "from:entities": 0.7,
    "from:syntax": -0.6,
}
"""The log odds of a right answer at the smallest size; by default those of fine-tuning."""

GAINS = {"scratch": 0.45, "frozen": 0.22}
"""What they grow by with each doubling of the size."""


def simulate(
    folder: Path,
    *,
    ways: Sequence[str] = WAYS,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = (1, 2, 3),
    examples: int = 600,
    tasks: str = runs.TASKS,
    starts: Mapping[str, float] = STARTS,
    target: str = "mood",
    unfinished: int = 0,
) -> Study:
    """A study of a classification task; the last ``unfinished`` runs are missing, the one before failed."""
    data = runs.write_data(folder / "files")
    recipe = runs.write_recipe(data, Path("minilm"), "[[stages]]\nepochs = 8\n", tasks=tasks)
    question = ask(load_recipe(recipe), target, lambda _: None)
    object.__setattr__(question, "whole", max(sizes))
    made = Study(folder / "study", question, [Asked(list(ways), list(sizes), list(seeds))])
    rng = np.random.default_rng(5)
    hard = rng.normal(size=examples)
    points = made.points
    for point in points[: len(points) - unfinished]:
        doublings = math.log2(point.size / min(sizes))
        odds = starts.get(point.way, STARTS["fine-tuned"]) + GAINS.get(point.way, 0.3) * doublings
        odds = min(odds, 2.6) + rng.normal(scale=0.12)
        right = (rng.random(examples) < 1 / (1 + np.exp(-(odds + 1.5 * hard)))).astype(float)
        accuracy = float(right.mean())
        place = made.folder / RUNS / point.lesson.key
        place.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(place / PARTS, figure=accuracy, of=right - accuracy)
        pace = 0.05 * point.size**0.7 * (0.4 if point.way == "frozen" else 3 if "joint" in point.way else 1)
        steps = range(1, 9)
        curve = [
            [round(pace * n, 2), min(1.0, accuracy * (1 - math.exp(-0.7 * n)) + rng.normal(scale=0.004))] for n in steps
        ]
        figures = {"accuracy": accuracy, "macro_f1": accuracy - 0.01}
        made.outcomes[point.lesson.key] = {"figures": figures, "seconds": 1.3 * pace * 8, "curve": curve}
        before = point.lesson.before
        if before is not None and before.key not in made.outcomes:
            made.outcomes[before.key] = {"figures": {}, "seconds": 200.0, "curve": []}
    if unfinished:
        made.outcomes[points[-unfinished - 1].lesson.key] = {"error": "<script>alert(1)</script> Out of memory & more."}
    return made
