"""What a run that learnt without a part of the training split says of that part, whose labels it does not know.

They are what label errors are found with (see :mod:`polyhead.studies.suspects`). Computed in the process that trained,
and kept in one file; the weights, which serve nothing else, are deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyhead.calibration import asking, by_batches
from polyhead.data import load_dataset
from polyhead.data.stream import folded
from polyhead.errors import PolyheadError
from polyhead.files import whole
from polyhead.model import Model, load_model
from polyhead.nn.precision import choose_precision, find_device
from polyhead.predict import answer
from polyhead.recipe import load_recipe
from polyhead.scoring import Gold
from polyhead.tasks import Head
from polyhead.training.prepare import layer_kinds

HELD = "held.npz"
"""The file in the run's folder."""

MOST = 50_000_000
"""The most probabilities of all parts together; of larger sets a part of the examples, drawn at random, is judged."""

SEED = 1
"""Of that draw."""


@dataclass(frozen=True)
class Held:
    """What a run says of the examples that it has not seen.

    Attributes:
        places: Their places in the training split. Shape (examples,).
        counts: How many units each has. Shape (examples,).
        chances: The probabilities of choices, one example's units after the other's, (units, choices); of numbers the
            answers, (examples, 1).
        choices: What the columns stand for, as far as they have names.
    """

    places: NDArray[np.int64]
    counts: NDArray[np.int64]
    chances: NDArray[np.float32]
    choices: list[str]


def gives_chances(head: type[Head]) -> bool:
    """Whether heads of a type say how probable each choice is."""
    return head.chances is not Head.chances


def keep_held(folder: Path, target: str) -> None:
    """Write down what a finished run says of the part of the training split that it lacks, and delete its weights.

    Args:
        folder: The run, whose recipe has ``fold`` for the target's dataset.
        target: The task.
    """
    if (folder / HELD).exists():
        _drop_weights(folder)
        return
    recipe = load_recipe(folder / "recipe.toml")
    device = find_device("auto")
    model = load_model(folder).to(device).use(choose_precision(device))
    task = model.tasks[target]
    spec = recipe.data[task.data]
    assert spec.folds is not None
    complete = spec.model_copy(update={"fold": None})
    kinds = layer_kinds([task])
    examples = load_dataset(task.data, complete, recipe.base, kinds, ("train",)).splits["train"]
    parts = spec.folds[1]
    places = np.asarray(folded(*spec.folds, len(examples)), dtype=np.int64)
    places = np.asarray([place for place in places if task.carries(examples[place])], dtype=np.int64)
    places = np.random.default_rng(SEED).permutation(places)
    gold = Gold(
        [examples[place] for place in places],
        model.encoder.tokenise([examples[place] for place in places], complete.language_code),
    )
    found = _numbers(model, target, gold) if task.kind is float else _chances(model, target, gold, MOST // parts)
    known = [i for i, one in enumerate(found) if one is not None]
    chances = [one for one in found if one is not None]
    with whole(folder / HELD) as draft, draft.open("wb") as stream:
        np.savez_compressed(
            stream,
            places=places[known],
            counts=np.asarray([len(one) for one in chances], dtype=np.int64),
            chances=np.concatenate(chances) if chances else np.zeros((0, 1), dtype=np.float32),
            choices=np.asarray(task.choices(), dtype=np.str_),
        )
    _drop_weights(folder)


def _drop_weights(folder: Path) -> None:
    for name in ("model", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)


def read_held(folder: Path) -> Held:
    """What ``keep_held`` wrote.

    Raises:
        PolyheadError: The file is gone or damaged.
    """
    try:
        with np.load(folder / HELD, allow_pickle=False) as found:
            return Held(found["places"], found["counts"], found["chances"], found["choices"].tolist())
    except (OSError, ValueError, KeyError) as error:
        remedy = f"Delete {folder}, and give the command again."
        raise PolyheadError("What this run says cannot be read.", remedy=remedy, file=folder / HELD) from error


def _numbers(model: Model, name: str, gold: Gold) -> list[NDArray[np.float32] | None]:
    """The answers. Shape of each (1, 1)."""
    given = answer(model, gold.items, [name], sure=False)
    return [np.asarray([[one[name].value]], dtype=np.float32) for one in given]


def _chances(model: Model, name: str, gold: Gold, most: int) -> list[NDArray[np.float32] | None]:
    """The probabilities of the units of each example; ``None`` for those that the task can learn nothing from, and for
    all beyond the bound."""
    task, head = model.tasks[name], model.head(name)
    found: list[NDArray[np.float32] | None] = [None] * len(gold.examples)
    for rows, targets in _within(task, gold, by_batches(model, gold), most):
        known = [i for i, target in enumerate(targets) if target is not None]
        if not known:
            continue
        with asking(model):
            encoding = model.encoding(model.encoder.collate([gold.items[i] for i in rows]), name, known)
            each = head.chances(encoding, [targets[i] for i in known])
        for i, one in zip(known, each, strict=True):
            found[rows[i]] = one.astype(np.float32)
    return found


def _within(task: Any, gold: Gold, batches: Iterator[list[int]], most: int) -> Iterator[tuple[list[int], list[Any]]]:
    """Batches with their targets, of the first examples (their order is random) that stay below a bound."""
    width = max(2, len(task.choices()) + 1)
    sizes = np.cumsum([width * max(1, len(example.words) if task.words else 1) for example in gold.examples])
    last = int(np.searchsorted(sizes, most))
    for batch in batches:
        rows = [row for row in batch if row <= last]
        if rows:
            yield rows, [task.target(gold.examples[row]) for row in rows]
