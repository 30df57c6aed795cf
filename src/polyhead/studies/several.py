"""A study of each of several targets of one recipe, whose sources are trained once: which task helps which?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyhead.claim import LOCK, claimed
from polyhead.errors import PolyheadError
from polyhead.files import check_place, read_json, write_json
from polyhead.recipe import load_recipe
from polyhead.studies.asking import ask_each
from polyhead.studies.folder import RUNS, STUDY, Study
from polyhead.studies.study import Wish, asked_of, learn, planned, tell_strangers
from polyhead.studies.ways import FROM

if TYPE_CHECKING:
    import pandas

    from polyhead.studies.matrix import Matrix

STUDIES = "studies.json"
"""The file that says which targets there are studies of."""


@dataclass(frozen=True)
class Studies:
    """Studies of several targets.

    Attributes:
        folder: Where they are: a folder for each target, and one for the runs of all.
        studies: In the order in which they were first asked for.
    """

    folder: Path
    studies: list[Study]

    @classmethod
    def open(cls, folder: str | Path) -> Studies:
        """Studies on disk, finished or not; nothing is trained.

        Args:
            folder: As :func:`study_each` made it.

        Raises:
            PolyheadError: It holds none, or the data of one is gone or has changed.
        """
        folder = Path(folder)
        try:
            targets = read_json(folder / STUDIES, "targets")["targets"]
        except FileNotFoundError as error:
            raise PolyheadError(
                f"There are no studies of several targets in {str(folder)!r}.",
                remedy="Check the path; polyhead study with several targets makes them.",
            ) from error
        return cls(folder, [Study.open(folder / target) for target in targets])

    def matrix(self) -> Matrix | None:
        """What each task gains from the others; ``None`` while nothing can be compared."""
        from polyhead.studies.matrix import matrix

        return matrix(self.studies)

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each target, way and size: the gain beside fine-tuning with its interval; needs pandas."""
        from polyhead.studies.notebook import matrix_table

        return matrix_table(self.matrix())


def study_each(
    recipe: str | Path,
    targets: Sequence[str],
    output: str | Path,
    *,
    on: str = "local",
    at_once: int | None = None,
    tell: Callable[[str], object] = lambda _: None,
    see: Callable[[Study], object] = lambda _: None,
    **wish: Any,
) -> Studies:
    """Study each of several targets, one after the other; a source that several of them learn from is trained once.

    The way of learning a target before itself is left out for it.

    Args:
        recipe: The recipe's file.
        targets: Tasks of it.
        output: The folder of all studies.
        on: ``local`` or ``ray``.
        at_once: How many processes on this machine.
        tell: Called with each note.
        see: Called with a target's study whenever a run of it is finished.
        wish: ``ways``, ``sizes``, ``seeds``, ``threads`` and ``keep``, as for :func:`polyhead.study`.

    Raises:
        PolyheadError: As for one study; or a task cannot have a folder of its own.
    """
    folder, targets = Path(output), list(dict.fromkeys(targets))
    check_place(folder, folder=True)
    _check_folder(folder, targets)
    questions = ask_each(load_recipe(recipe), targets, tell)
    wishes = [Wish(**_without_itself(wish, question.target)) for question in questions]
    plans = [(q, one, asked_of(q, one)) for q, one in zip(questions, wishes, strict=True)]  # before a folder is made
    with claimed(folder):
        before = read_json(folder / STUDIES, "targets")["targets"] if (folder / STUDIES).exists() else []
        runs = folder / RUNS
        made = [planned(folder / plan[0].target, *plan, runs) for plan in plans]
        write_json(folder / STUDIES, {"targets": list(dict.fromkeys([*before, *targets]))})
        tell(f"{sum(len(known.points) for known in made):,} runs are asked for, of {len(targets):,} targets")
        tell_strangers(runs, Studies.open(folder).studies, tell)
        for number, known in enumerate(made, 1):
            tell(f"target {number:,} of {len(made):,}: {known.question.target}")
            known.see = see
            with claimed(known.folder):
                learn(known, on, at_once, tell)
    return Studies.open(folder)


def _without_itself(wish: dict[str, Any], target: str) -> dict[str, Any]:
    """A wish without the way of learning the target before itself."""
    if not wish.get("ways"):
        return wish
    return {**wish, "ways": [way for way in wish["ways"] if way != FROM + target]}


def _check_folder(folder: Path, targets: Sequence[str]) -> None:
    """See that a folder can hold studies of several targets.

    Raises:
        PolyheadError: It holds one study, or something else; or a target cannot be the name of a folder in it.
    """
    for target in targets:
        if target in (RUNS, STUDIES, LOCK) or Path(target).name != target:
            raise PolyheadError(
                f"A task named {target!r} cannot have a folder of its own beside those of other targets.",
                remedy="Rename the task in the recipe, or study it alone.",
            )
    if (folder / STUDY).exists():
        raise PolyheadError(
            f"The folder {str(folder)!r} holds a study of one target.", remedy="Choose another folder for several."
        )
    if folder.exists() and not (folder / STUDIES).exists() and any(one.name != LOCK for one in folder.iterdir()):
        raise PolyheadError(
            f"The folder {str(folder)!r} is not empty, and holds no studies.", remedy="Choose another folder."
        )
