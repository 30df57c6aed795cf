"""The page of a run: what it scores, what each stage gained and lost, how it learnt, and how its tasks got on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from polyhead.drawing.figures import curves, matrix
from polyhead.drawing.html import document, picture, table
from polyhead.errors import PolyheadError
from polyhead.files import check_place, write_text
from polyhead.inspection import inspect_run
from polyhead.intervals import Intervals
from polyhead.reporting.best_page import inspection_sections
from polyhead.reporting.matrix_page import matrix_report
from polyhead.reporting.study_page import study_report
from polyhead.scoring import figure, scale, signature_lines, stage_rows
from polyhead.studies import Study, look_at_best
from polyhead.studies.folder import RESULTS
from polyhead.studies.several import STUDIES, Studies
from polyhead.training.run import Run


def report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write a page about a finished run, or a study; it loads nothing from elsewhere.

    Args:
        folder: The run; or the study, or the studies of several targets, finished or not.
        output: The file to write; by default ``report.html`` in that folder.

    Raises:
        PolyheadError: There is no finished run, its log is damaged, or matplotlib is not installed.
    """
    if (Path(folder) / STUDIES).exists():
        return matrix_report(Studies.open(folder), output)
    if (Path(folder) / RESULTS).exists():
        return _study(Study.open(folder), output)
    run = Run.open(folder)
    path = Path(output) if output is not None else run.folder / "report.html"
    check_place(path)
    write_text(path, page(run))
    return path


def _study(study: Study, output: str | Path | None) -> Path:
    """The page of a study, with a closer look at its best run; label errors are not looked for anew."""
    try:
        best = look_at_best(study, training=False)
    except PolyheadError as error:  # such as a study that goes on meanwhile, or models that are gone
        return study_report(study, output, unseen=error.what)
    return study_report(study, output, best)


def page(run: Run) -> str:
    """The page as HTML. Whatever comes from data or recipe is escaped."""
    records = _records(run.folder / "log.jsonl")
    main = run.main_figures
    name = escape(run.folder.resolve().name)
    body = [
        f"<h1>{name}</h1>",
        f'<p class="lead">{_answer(run, main)}</p>',
        *_scores(run),
        *_stages(run, main),
        *_learning(records, main),
        *_cosines(records),
        *_closer(run),
    ]
    return document(run.folder.resolve().name, body)


def _closer(run: Run) -> Iterator[str]:
    """A closer look at each task; a run whose data or model is gone has none, and the page says why."""
    if not run.scores:
        return
    try:
        inspected = inspect_run(run.folder)
    except PolyheadError as error:
        yield f'<p class="note">Its answers could not be looked at closely: {escape(error.what)}</p>'
        return
    for name, found in inspected.items():
        yield f"<h2>{escape(name)}, looked at closely</h2>"
        yield from inspection_sections(found)


def _records(path: Path) -> list[dict[str, Any]]:
    """The log without single steps."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise PolyheadError(f"The run's log cannot be read: {error}.", file=path) from error
    return [line for line in lines if line["record"] != "Stepped"]


def _answer(run: Run, main: Mapping[str, str]) -> str:
    """What the run scores, in one line."""
    if not run.scores:
        return "The run has no dev or test split, so nothing was scored."
    split = "test" if "test" in run.scores else "dev"
    sure = run.intervals.get(split, {})
    parts = []
    for task, figures in run.scores[split].items():
        name = main[task]
        ends = _ends(sure.get(task), name)
        parts.append(
            f"{escape(task)} {escape(name)} <b>{figure(name, figures[name])}</b>" + (f" ({ends})" if ends else "")
        )
    return f"On {split}: {', '.join(parts)}."


def _scores(run: Run) -> Iterator[str]:
    if not run.scores:
        return
    yield "<h2>Scores</h2>"
    for split, scores in run.scores.items():
        sure = run.intervals.get(split, {})
        rows = [
            [task, name, figure(name, value), _ends(sure.get(task), name)]
            for task, figures in scores.items()
            for name, value in figures.items()
            if "/" not in name
        ]
        yield table(f"on {split}; 95 % intervals by the bootstrap over texts", ["task", "figure", "", "interval"], rows)
    for line in signature_lines(run.signatures):
        yield f'<p class="note">{escape(line)}</p>'


def _stages(run: Run, main: Mapping[str, str]) -> Iterator[str]:
    stages = run.stages
    if len(stages) < 2 or not stages[-1]["scores"]:
        return
    yield "<h2>What each stage gained and lost</h2>"
    rows = stage_rows(stages, main, "")
    yield table("main figure on dev after each stage", ["task", *(stage["stage"] for stage in stages)], rows)


def _learning(records: Sequence[Mapping[str, Any]], main: Mapping[str, str]) -> Iterator[str]:
    epochs = [record for record in records if record["record"] == "EpochEnded"]
    if not epochs:
        return
    counts = [record["epochs"] for record in records if record["record"] == "StageEnded"]
    bounds = [sum(counts[: i + 1]) for i in range(len(counts) - 1)]
    yield "<h2>How it learnt</h2>"
    tasks = list(dict.fromkeys(task for record in epochs for task in record["scores"]))
    for names in _alike(main, tasks):
        scores = {f"{task} {main[task]}": [_main(record, task, main[task]) for record in epochs] for task in names}
        told = (
            "Main figure of each task on dev after each epoch"
            if len(names) == len(tasks)
            else (f"{', '.join(dict.fromkeys(main[task] for task in names))} on dev after each epoch")
        )
        yield picture(curves(scores, bounds, "on dev"), told)
    names = list(dict.fromkeys(task for record in epochs for task in record["losses"]))
    losses = {name: [record["losses"].get(name) for record in epochs] for name in names}
    yield picture(curves(losses, bounds, "training loss"), "Mean training loss per word or text in each epoch")


def _alike(main: Mapping[str, str], tasks: Sequence[str]) -> list[list[str]]:
    """The tasks whose main figures can share an axis: those in per cent, and those of one name."""
    groups: dict[str, list[str]] = {}
    for task in tasks:
        groups.setdefault("%" if scale(main[task]) == 100 else main[task], []).append(task)
    return list(groups.values())


def _main(record: Mapping[str, Any], task: str, name: str) -> float | None:
    """A task's main figure after an epoch, as tables print it; ``None`` where it was not scored."""
    value = record["scores"].get(task, {}).get(name)
    return None if value is None else scale(name) * value


def _cosines(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    stages = [record for record in records if record["record"] == "StageEnded" and record.get("cosines")]
    if not stages:
        return
    yield "<h2>How the tasks get on</h2>"
    yield (
        '<p class="note">The cosine between the gradients of two tasks with respect to the shared encoder: above 0 '
        "they pull the same way, below 0 apart. An asterisk marks pairs that surely pull apart: below 0 by three "
        "standard errors and by 0.05.</p>"
    )
    for stage in stages:
        cells = {_pair(both): found["mean"] for both, found in stage["cosines"].items()}
        names = list(dict.fromkeys(name for pair in cells for name in pair))
        against = [_pair(both) for both in stage["against"]]
        yield picture(matrix(names, cells, against), f"Stage {stage['stage']}")
        rows = [
            [*pair.split(), f"{found['mean']:+.3f}", f"{found['error']:.3f}", str(found["measured"])]
            for pair, found in stage["cosines"].items()
        ]
        yield table("the same in numbers", ["task", "and", "mean", "standard error", "measured"], rows)


def _pair(both: str) -> tuple[str, str]:
    first, second = both.split()
    return first, second


def _ends(sure: Intervals | None, name: str) -> str:
    ends = None if sure is None else sure.figures.get(name)
    return "" if ends is None else f"{figure(name, ends[0])} to {figure(name, ends[1])}"
