"""The demo: train on the corpus that polyhead carries, score it, and annotate a sentence."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError
from polyhead.files import UNFINISHED, check_place, read_json
from polyhead.predict import load
from polyhead.recipe import Recipe, load_recipe
from polyhead.scoring import Scores
from polyhead.training import train
from polyhead.views import Watcher, show

SENTENCE = "Maria from Lindqvist Travel rebooked my flight to Porto, and it didn't cost a cent."


_FILES = (
    *("recipe.toml", "run.json", "log.jsonl", "scores.json", "stages.json", "intervals.json", "best/tasks.json"),
    *("best/*.safetensors", "checkpoints/*.json", "checkpoints/*.safetensors"),
    *("model/*.json", "model/*.safetensors", "model/README.md"),
    *(f"*.[0-9]*{UNFINISHED}", f"*.[0-9]*{UNFINISHED}/*"),
)
_FOLDERS = ("best", "checkpoints", "checkpoints/*", "model", "model/*", f"*.[0-9]*{UNFINISHED}*")
"""What the files and folders of a run are called."""


def run_demo(output: Path) -> dict[str, Scores]:
    """Train on the sample corpus and print scores and an annotated sentence; returns the scores by split.

    Raises:
        PolyheadError: ``output`` holds something other than an earlier demo.
    """
    with as_file(files("polyhead") / "sample") as sample:
        recipe = load_recipe(sample / "recipe.toml")
        clear(output, recipe)
        with Watcher() as watcher:
            run = train(recipe, output, watch=watcher, tell=watcher.tell)
    watcher.finish(run)
    show(f'\npolyhead.load("{output}")("{SENTENCE}")\n')
    show(str(load(output)(SENTENCE)))
    return run.scores


def clear(output: Path, recipe: Recipe) -> None:
    """Remove an earlier run of a recipe, and nothing else.

    Raises:
        PolyheadError: ``output`` is no such run, or holds anything that a run does not write.
    """
    check_place(output, folder=True)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    found = sorted(output.rglob("*"), reverse=True)  # what lies in a folder comes before the folder
    own = all(not path.is_symlink() and _of_a_run(path.relative_to(output), folder=path.is_dir()) for path in found)
    if not own or not _is_run_of(output, recipe):
        raise PolyheadError(
            f"{str(output)!r} holds something other than an earlier demo.", remedy="Take another --output."
        )
    for path in found:
        path.rmdir() if path.is_dir() else path.unlink()


def _of_a_run(path: Path, *, folder: bool) -> bool:
    return any(fnmatchcase(path.as_posix(), pattern) for pattern in (_FOLDERS if folder else _FILES))


def _is_run_of(output: Path, recipe: Recipe) -> bool:
    """Whether a folder is a run whose resolved recipe is this one, but for what the machine decides."""
    try:
        found = tomllib.loads((output / "recipe.toml").read_text(encoding="utf-8"))
        if not isinstance(read_json(output / "run.json", "fingerprints")["fingerprints"], dict):
            return False
        return _settled(found) == _settled(tomllib.loads(recipe.to_toml()))
    except (PolyheadError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _settled(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what a run fills in: precision, device and learning rates."""
    stages = [{k: v for k, v in stage.items() if k != "learning_rate"} for stage in table["stages"]]
    return {k: v for k, v in table.items() if k not in ("precision", "device")} | {"stages": stages}
