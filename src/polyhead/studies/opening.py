"""A study that is on disk, opened to look at it."""

from __future__ import annotations

from pathlib import Path

from polyhead.errors import PolyheadError
from polyhead.files import read_json
from polyhead.recipe import load_recipe
from polyhead.studies.learn import FIGURES
from polyhead.studies.study import RECIPE, RUNS, STUDY, Asked, Study, ask


def open_study(folder: str | Path) -> Study:
    """A study's folder, finished or not; nothing is trained.

    Args:
        folder: As :func:`polyhead.study` made it.

    Raises:
        PolyheadError: It holds no study, or the study's data is gone or has changed.
    """
    folder = Path(folder)
    try:
        facts = read_json(folder / STUDY, "target", "asked", "threads")
        recipe = load_recipe(folder / RECIPE)
    except FileNotFoundError as error:
        remedy = "Check the path; polyhead study makes one."
        raise PolyheadError(f"There is no study in {str(folder)!r}.", remedy=remedy) from error
    question = ask(recipe, facts["target"], lambda _: None)
    made = Study(folder, question, [Asked(**asked) for asked in facts["asked"]], facts["threads"])
    for lesson in made.lessons:
        path = folder / RUNS / lesson.key / FIGURES
        if path.exists():
            made.outcomes[lesson.key] = read_json(path, "figures", "seconds", "curve")
    return made
