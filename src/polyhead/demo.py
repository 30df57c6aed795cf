"""The demo: train on the corpus that polyhead carries, score it, and annotate a sentence."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from polyhead.errors import PolyheadError
from polyhead.predict import load
from polyhead.recipe import load_recipe
from polyhead.scoring import Scores
from polyhead.training import train
from polyhead.views import Watcher, show

SENTENCE = "Maria from Lindqvist Travel rebooked my flight to Porto, and it didn't cost a cent."


def run_demo(output: Path) -> dict[str, Scores]:
    """Train on the sample corpus and print scores and an annotated sentence; returns the scores by split.

    Raises:
        PolyheadError: ``output`` holds something other than an earlier demo.
    """
    _clear(output)
    with as_file(files("polyhead") / "sample") as sample:
        recipe = load_recipe(sample / "recipe.toml")
        with Watcher() as watcher:
            run = train(recipe, output, watch=watcher, tell=watcher.tell)
    watcher.finish(run)
    show(f'\npolyhead.load("{output}")("{SENTENCE}")\n')
    show(str(load(output)(SENTENCE)))
    return run.scores


def _clear(output: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    mine = output / "recipe.toml"
    if not mine.is_file() or "reviews-train.conllu" not in mine.read_text(encoding="utf-8", errors="replace"):
        raise PolyheadError(
            f"{str(output)!r} holds something other than an earlier demo.", remedy="Take another --output."
        )
    shutil.rmtree(output)
