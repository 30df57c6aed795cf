"""One run of a study, in whichever process: trained or gone on with, and what it was worth."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyhead.errors import PolyheadError
from polyhead.files import read_json, whole, write_json
from polyhead.intervals import Answered
from polyhead.model import BEST

FIGURES, PARTS = "study.json", "study.npz"
"""The files of a run's folder that say what it was worth, and what each example contributed to that."""


@dataclass(frozen=True)
class Order:
    """What a process is asked to do. Plain data, so that it can be sent anywhere.

    Attributes:
        folder: The run's.
        recipe: Its recipe, a plain table.
        base: The folder that paths of the recipe start from.
        target: The task that is asked about.
        split: What it is scored on.
        threads: How many a run computes with; the same for all runs of a study, as the last bits depend on it.
        again: Whether the run was finished, but its model was deleted and is wanted, so that it is trained once more.
        part: Whether it learns without a part of the target's training split, to say what it would make of that.
    """

    folder: Path
    recipe: Mapping[str, Any]
    base: Path
    target: str
    split: str
    threads: int
    again: bool = False
    part: bool = False


def learn(order: Order) -> dict[str, Any]:
    """Train a run, or go on with it, and say what it was worth.

    Returns:
        ``figures`` of the target, where the run has learnt it, the ``seconds`` that it took in all, with what was done
        before a kill, and its ``curve``: for each epoch the seconds until its end and the target's score on dev. Or the
        ``error`` that ended it, in a sentence for people.
    """
    import torch

    from polyhead.studies.held import HELD, keep_held

    torch.set_num_threads(order.threads)
    _warm_up()
    done = order.folder / FIGURES
    if order.again:
        shutil.rmtree(order.folder, ignore_errors=True)
    try:
        if not done.exists():
            start = time.perf_counter()
            if not (order.part and (order.folder / HELD).exists()):  # which is kept before the weights go
                _train(order)
            if order.part:
                keep_held(order.folder, order.target)
            shutil.rmtree(order.folder / BEST, ignore_errors=True)  # the weights of tasks apart, which none asks for
            write_json(done, _said(order, time.perf_counter() - start))
        return read_json(done)
    except PolyheadError as error:
        return {"error": str(error)}


def _warm_up() -> None:
    """Import what training needs, so that a process's first run is not counted for slower than its others."""
    import torch._dynamo  # noqa: F401, as torch's optimisers do
    import transformers.modeling_utils  # noqa: F401

    import polyhead.scoring
    import polyhead.training.run  # noqa: F401


def _train(order: Order) -> None:
    from polyhead.recipe import make_recipe
    from polyhead.scoring import answered
    from polyhead.training import resume, train
    from polyhead.training.run import Where, open_gold

    def see(split: str, given: Answered) -> None:
        if split == order.split and given.task.name == order.target:
            _keep(order.folder, given)

    if (order.folder / "recipe.toml").exists():
        resume(order.folder, see=see)
    else:
        shutil.rmtree(order.folder, ignore_errors=True)  # of a run that was killed before it had written its recipe
        train(make_recipe(dict(order.recipe), base=order.base), order.folder, see=see)
    if not order.part and order.target in order.recipe["tasks"] and not (order.folder / PARTS).exists():
        # The run had been finished when it was last ended, so nobody has seen what it answers.
        model, gold, names = open_gold(order.folder, Where(order.split, only=[order.target]), lambda _: None)
        for given in answered(model, gold, names):
            _keep(order.folder, given)


def _keep(folder: Path, given: Answered) -> None:
    """Write down what each example contributes."""
    from polyhead.studies.effects import contributions

    found = contributions(given)
    with whole(folder / PARTS) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, figure=found.figure, of=found.of)


def _said(order: Order, seconds: float) -> dict[str, Any]:
    log = order.folder / "log.jsonl"
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    epochs = [record for record in records if record["record"] == "EpochEnded"]
    spent = 0.0
    curve = []
    for epoch in epochs:
        spent += epoch["seconds"]
        figures = epoch["scores"].get(order.target)
        if figures:
            curve.append([round(spent, 2), figures[epoch["main"][order.target]]])
    scores = read_json(order.folder / "scores.json").get(order.split, {}).get(order.target, {})
    return {
        "figures": scores,
        "seconds": round(max(seconds, spent), 2),
        "training_seconds": round(spent, 2),
        "curve": curve,
        "process": os.getpid(),
    }
