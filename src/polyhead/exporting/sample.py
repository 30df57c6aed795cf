"""Texts that an exported model is checked and calibrated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path

from polyhead.data import DataSpec, read
from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.model import Model
from polyhead.recipe import load_recipe
from polyhead.scoring import Gold
from polyhead.tasks import Task
from polyhead.training.prepare import Material, load_datasets

CHECKED = 48
"""How many texts of each dataset are answered by torch and by the exported model."""

CALIBRATED = 256
"""How many training texts of each dataset int8 is calibrated on."""


@dataclass(frozen=True)
class Sample:
    """Texts by dataset.

    Attributes:
        checked: On which answers must agree.
        training: Training texts.
        dev: The dev splits with gold, on which it is measured what int8 costs.
    """

    checked: Mapping[str, Sequence[Example]]
    training: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    dev: Mapping[str, Gold] = field(default_factory=dict)


def sample_of(run: str | Path, model: Model, tasks: Mapping[str, Task], *, calibrated: bool) -> Sample:
    """The texts for an export.

    They are the run's own; where its files are not at hand, sentences of the corpus that polyhead carries.

    Args:
        run: What is exported.
        model: Its model.
        tasks: The tasks that are exported.
        calibrated: Whether training and dev splits are needed, too.

    Raises:
        PolyheadError: They are needed, and there is no run, or its files cannot be read.
    """
    recipe = Path(run) / "recipe.toml"
    wanted = {task.data for task in tasks.values()}
    if not recipe.is_file():
        if calibrated:
            raise PolyheadError(
                f"{str(run)!r} is a model without a run: int8 is calibrated on a run's own training texts.",
                remedy="Export the run itself, or leave --quantise out.",
            )
        texts = _carried()
        return Sample(dict.fromkeys(wanted, texts))
    loaded = load_recipe(recipe)
    used = {name: spec for name, spec in loaded.data.items() if name in wanted}
    try:
        datasets = load_datasets(loaded.model_copy(update={"data": used}), tasks, ("train", "dev"))
    except PolyheadError:
        if calibrated:
            raise
        texts = _carried()
        return Sample(dict.fromkeys(wanted, texts))
    training = {name: _spread(one.splits["train"], CALIBRATED) for name, one in datasets.items()}
    checked = {
        name: with_odd(_spread(one.splits["dev" if one.splits.get("dev") else "train"], CHECKED))
        for name, one in datasets.items()
    }
    dev = Material(model.encoder, datasets).gold("dev", list(tasks.values())) if calibrated else {}
    if calibrated and not dev:
        raise PolyheadError("The run has no dev split, so it cannot be told what int8 costs.", remedy="Leave it out.")
    return Sample(checked, training, dev)


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """Some examples, evenly spread over all."""
    step = max(1, len(examples) // count)
    return [examples[i] for i in range(0, len(examples), step)][:count]


def _carried() -> list[Example]:
    spec = DataSpec(format="conllu")
    with as_file(files("polyhead") / "sample" / "reviews-dev.conllu") as path:
        return with_odd(_spread(list(read(path, spec)), CHECKED))


def with_odd(examples: Sequence[Example]) -> list[Example]:
    """Examples, and a few that are unlike them: one that needs several windows, one word, raw text, nothing, a pair."""
    plain = [replace(example, layers={}) for example in examples]
    words = [word for example in plain for word in example.words or (example.text or "").split()]
    many = tuple((words or ["a"]) * (700 // max(1, len(words)) + 1))[:700]
    text = " ".join(words[:60]) or "a text"
    odd = [Example(words=many), Example(words=("Yes",)), Example(text=text), Example(text=""), Example(text="\u200b")]
    return [*plain, *odd, Example(text=text, pair=" ".join(words[20:40]) or "another one")]


def odd_examples(model: Model, number: int) -> list[Example]:
    """A batch to trace with; every axis has another size for each number, 0 or 1."""
    short = [Example(words=("a", "Word", "here", "B")[: 2 + (i + number) % 3]) for i in range(4 + 3 * number)]
    longest = 7 if number else model.encoder.window // 2 + 2  # one that takes several rows, or fits
    return [Example(words=("word", "Word") * longest), *short]
