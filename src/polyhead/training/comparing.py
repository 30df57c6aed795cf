"""Two models on the same examples: which is better at what, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polyhead.data.example import Example
from polyhead.data.readers import suffix_format
from polyhead.data.text import counted, is_stream
from polyhead.errors import PolyheadError
from polyhead.hub import meant
from polyhead.intervals import Answered
from polyhead.intervals import compare as compare_answers
from polyhead.model import tasks_of
from polyhead.scoring import answered
from polyhead.tasks import Task
from polyhead.training.differences import Comparisons
from polyhead.training.run import Where, open_gold


def compare(
    first: str | Path,
    second: str | Path,
    *,
    split: str = "test",
    file: str | Path | None = None,
    data: str | None = None,
    best: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Comparisons:
    """Compare two models on the same examples, in every task that both have, by the paired bootstrap (Koehn 2004).

    Each model is loaded and run once, the second after the first has left memory. They may have different encoders,
    training data and recipes.

    Args:
        first: A run, which the other is compared with; or, with a file, a model folder or an id on the Hub.
        second: The other.
        split: ``train``, ``dev`` or ``test``, as each run's own recipe names it.
        file: A file to score on instead.
        data: The dataset that the file is like, by the name that both recipes give it; needed if the tasks that both
            have are of several. Without a file only this dataset is scored on.
        best: A task whose own best weights to take of both.
        tell: Called with each note.

    Returns:
        For each task that both have and that there is gold for, its figures and their differences; a notebook shows
        them as a table, and ``to_pandas`` gives one.

    Raises:
        PolyheadError: They have no task in common, their examples are not the same, or as :func:`polyhead.evaluate`.
    """
    if file is not None and is_stream(Path(file)):
        remedy = "Write its examples into a file: each of the two reads it."
        raise PolyheadError("this can be read only once", remedy=remedy, file=file)
    tell = _once(tell)
    common = _common(first, second, tell)
    where = Where(split, file, data, best, common)
    one = _answers(first, where, tell)
    other = _answers(second, replace(where, only=list(one)), tell)
    both = [name for name in one if name in other]
    if left := [name for name in common if name not in both]:
        tell(f"{', '.join(left)}: there is no gold here; left out")
    for name in both:
        _check_same(name, (first, second), one[name], other[name], "" if file else split)
        _note_ways(name, one[name].task, other[name].task, tell)
    found = Comparisons({name: compare_answers(one[name], other[name]) for name in both})
    found.places = (str(first), str(second))
    return found


def other_and_file(rest: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Which of the paths after the first run are another run, and a file: a folder, or an id on the Hub, is a run.

    Raises:
        PolyheadError: They are something else.
    """
    runs = [one.is_dir() or (not one.exists() and not suffix_format(one) and meant(one) is not None) for one in rest]
    if runs == [True, False]:
        return rest[0], rest[1]
    if len(rest) > 1:
        raise PolyheadError(
            f"{' '.join(map(str, rest))} is not a run and a file.",
            remedy="Give two runs first, then a file: polyhead evaluate RUN OTHER_RUN FILE",
        )
    if rest and not rest[0].exists() and not suffix_format(rest[0]) and not runs[0]:
        raise PolyheadError(f"There is neither a run nor a file {str(rest[0])!r}.", remedy="Check the path.")
    return (rest[0], None) if runs == [True] else (None, rest[0] if rest else None)


def _common(first: str | Path, second: str | Path, tell: Callable[[str], object]) -> list[str]:
    """The tasks to compare."""
    ours, theirs = tasks_of(first), tasks_of(second)
    for place, tasks, others in ((first, ours, theirs), (second, theirs, ours)):
        if alone := [name for name in tasks if name not in others]:
            tell(f"only {place} has {', '.join(alone)}; left out")
    both = [name for name in ours if name in theirs]
    names = [name for name in both if ours[name].annotates and theirs[name].annotates]
    if silent := [name for name in both if name not in names]:
        tell(f"{', '.join(silent)}: learnt from text alone, whose blocks are no sample of examples; left out")
    if not names:
        raise PolyheadError(
            f"{first} and {second} have no task in common that answers for examples.",
            remedy=f"Tasks go by their names: {_listed(ours)} in {first}, {_listed(theirs)} in {second}.",
        )
    return names


def _answers(place: str | Path, where: Where, tell: Callable[[str], object]) -> dict[str, Answered]:
    """What a model answers; the model itself goes when this returns.

    Raises:
        PolyheadError: As :func:`open_gold`, with the model's name.
    """
    try:
        model, gold, names = open_gold(place, where, tell)
    except PolyheadError as error:
        what = f"Scoring {place}: {error.what}"
        raise PolyheadError(what, remedy=error.remedy, file=error.file, line=error.line) from error
    return {given.task.name: given for given in answered(model, gold, names)}


def _check_same(name: str, places: tuple[str | Path, str | Path], one: Answered, other: Answered, split: str) -> None:
    """See that two models answered the same texts with the same gold, wherever these were read and however cut.

    Raises:
        PolyheadError: They did not; names the first example that differs.
    """
    first, second = places
    if split:
        where, remedy = f"the {split} split", f"Score both on one file: polyhead evaluate {first} {second} FILE"
    else:
        where, remedy = "the file", "See in both runs' recipe.toml how the dataset is read."
    ours, theirs = _content(one), _content(other)
    if len(ours) != len(theirs):
        counts = f"{counted(len(ours), 'example')} of {where} with gold in {first}, {len(theirs):,} in {second}"
        raise PolyheadError(f"tasks.{name} has {counts}: only the same can be compared.", remedy=remedy)
    for number, ((text, gold), (its_text, its_gold)) in enumerate(zip(ours, theirs, strict=True)):
        if text != its_text or gold != its_gold:
            example = one.examples[number]
            part = "text" if text != its_text else "gold"
            raise PolyheadError(
                f"tasks.{name}: this example of {where} has another {part} in {second} than in {first}: only the same "
                "can be compared.",
                remedy=remedy,
                file=example.file,
                line=example.line,
            )


def _content(given: Answered) -> list[tuple[tuple[str, str], object]]:
    """The text and the gold of each example. White space is left out: words and the text of them are the same."""
    return [(_signs(example), example.layers.get(given.task.layer)) for example in given.examples]


def _signs(example: Example) -> tuple[str, str]:
    text = example.text if example.text is not None else " ".join(example.words)
    return "".join(text.split()), "".join((example.pair or "").split())


def _note_ways(name: str, one: Task, other: Task, tell: Callable[[str], object]) -> None:
    """Say which figures the two compute in different ways."""
    ways, others = one.signatures(), other.signatures()
    for which in [which for which in {**ways, **others} if ways.get(which) != others.get(which)]:
        tell(f"tasks.{name}: {which} is {ways.get(which)} of the one, {others.get(which)} of the other; left out")


def _listed(tasks: Mapping[str, Task]) -> str:
    return ", ".join(tasks) or "none"


def _once(tell: Callable[[str], object]) -> Callable[[str], object]:
    """The same, but for what was told before: both models read the same data."""
    said: set[str] = set()

    def tell_new(note: str) -> None:
        if note not in said:
            said.add(note)
            tell(note)

    return tell_new
