"""Sections on one run that the pages of runs and of studies share: labels, errors, calibration, what to label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from polyhead.drawing.figures import reliability, scatter
from polyhead.drawing.html import picture, table
from polyhead.inspection import Inspection, Slip
from polyhead.scoring import figure
from polyhead.studies.best import Best, Choice
from polyhead.studies.best_words import calibration_words, choice_words, label_words, run_words, suspects_words
from polyhead.studies.suspects import Suspect, Suspects

MOST_LABELS = 40
"""Rows of the table of labels; what is rarer is left to the JSON file."""

WIDEST = 12
"""Up to so many labels, confusions are a matrix; else a list of the most frequent."""

MOST_CONFUSIONS, MOST_SLIPS, MOST_SUSPECTS = 15, 12, 20

NOTHING = "nothing"
"""What stands for an answer, or gold, that is not there."""

ELSEWHERE = "the same, in another place"
"""What stands for an answer of the right label whose place is wrong."""


def best_sections(best: Best) -> Iterator[str]:
    """The best run of a study.

    Args:
        best: What was found about it.
    """
    yield f"<p>{escape(run_words(best))}</p>"
    yield from inspection_sections(best.inspection, kept=True)
    if best.suspects is not None:
        yield from _suspects(best.suspects)
    if best.choice is not None:
        yield from _choice(best.choice)


def inspection_sections(found: Inspection, *, kept: bool = False) -> Iterator[str]:
    """What one task of a run gets right and wrong, and whether it knows.

    Args:
        found: What was found about it.
        kept: Whether its temperature is kept with the model.
    """
    if found.labels:
        yield "<h3>Labels</h3>"
        yield f"<p>{escape(label_words(found))}</p>"
        yield from _labels(found)
        yield from _confusions(found)
    if len(found.pairs) > 1:
        yield "<h3>Answers beside gold</h3>"
        yield picture(scatter(found.pairs, "gold", "answer"), f"What {found.task} answers, by what is right")
    if found.slips:
        yield "<h3>Errors to read</h3>"
        where = f"on {found.split}; of each kind those that it was surest of"
        yield _texts(
            where, ["text", "gold", "answer", "sure", "where"], [_slip(slip) for slip in found.slips[:MOST_SLIPS]]
        )
    yield "<h3>Does it know when it is right?</h3>"
    yield f"<p>{escape(calibration_words(found, kept=kept))}</p>"
    if found.calibration is not None:
        sides = {"without": found.calibration.before, "with": found.calibration.after}
        rows = [
            [f"{name} temperature", f"{100 * one.ece:.2f}", f"{one.brier:.4f}", f"{one.nll:.4f}"]
            for name, one in sides.items()
        ]
        head = ["confidences", "ECE, points", "Brier score", "negative log likelihood"]
        yield table(f"on {found.calibration.judged}; less is better", head, rows)
        drawn = reliability({f"{name} temperature": one.bins for name, one in sides.items()})
        yield picture(drawn, "How often answers are right, by how sure they are; on the dotted line both agree")


def _labels(found: Inspection) -> Iterator[str]:
    rows = [
        [one.label, f"{one.gold:,}", _share(one.precision), _share(one.recall), _share(one.f1)]
        for one in found.labels[:MOST_LABELS]
    ]
    more = len(found.labels) - MOST_LABELS
    caption = f"on {found.split}" + (f"; {more:,} rarer labels are left out" if more > 0 else "")
    yield table(caption, ["label", "in gold", "precision", "recall", "F1"], rows)


def _confusions(found: Inspection) -> Iterator[str]:
    if not found.confusions:
        return
    names = [one.label for one in found.labels]
    if len(names) <= WIDEST and all(gold != given for gold, given, _ in found.confusions):
        yield _matrix(found, names)
        return
    rows = []
    for gold, given, count in found.confusions[:MOST_CONFUSIONS]:
        other = _given(gold, given)
        rows.append([NOTHING if gold is None else gold, other, f"{count:,}"])
    yield table(f"what is confused most on {found.split}", ["gold", "answer", "times"], rows)


def _matrix(found: Inspection, names: Sequence[str]) -> str:
    counts = {(gold, given): count for gold, given, count in found.confusions}
    counts |= {(one.label, one.label): one.right for one in found.labels}
    sides: list[str | None] = [*names]
    if any(None in pair for pair in counts):
        sides.append(None)
    rows = [
        [
            NOTHING if gold is None else gold,
            *(f"{counts[gold, given]:,}" if (gold, given) in counts else "" for given in sides),
        ]
        for gold in sides
    ]
    head = ["gold \\ answer", *(NOTHING if name is None else name for name in sides)]
    return table(f"gold in rows, answers in columns, on {found.split}", head, rows)


def _suspects(found: Suspects) -> Iterator[str]:
    yield "<h3>Labels to look at again</h3>"
    yield f"<p>{escape(suspects_words(found))}</p>"
    if found.listed:
        sure = "off, in standard deviations" if found.numbers else "gold's chance"
        head = ["text", "gold", "another run", sure, "where"]
        yield _texts(
            "training data, the most suspect first, and what a run says that has not seen it",
            head,
            [_suspect(one, found) for one in found.listed[:MOST_SUSPECTS]],
        )


def _choice(choice: Choice) -> Iterator[str]:
    yield "<h3>What to label next</h3>"
    yield f"<p>{escape(choice_words(choice))}</p>"
    items = "".join(f"<li>{escape(text)}</li>" for text in choice.first)
    yield f"<ol>{items}</ol>"


def _slip(slip: Slip) -> list[str]:
    sure = "" if slip.sure is None else f"{100 * slip.sure:.0f}&nbsp;%"
    gold, given = NOTHING if slip.gold is None else slip.gold, _given(slip.gold, slip.given)
    return [_marked(slip), escape(gold), escape(given), sure, _where(slip.file, slip.line)]


def _given(gold: str | None, given: str | None) -> str:
    """An answer that is wrong, in words."""
    return NOTHING if given is None else ELSEWHERE if given == gold else given


def _suspect(one: Suspect, found: Suspects) -> list[str]:
    sure = f"{one.chance:+.1f}" if found.numbers else f"{100 * one.chance:.1f}&nbsp;%"
    return [_marked(one), escape(one.gold), escape(one.instead), sure, _where(one.file, one.line)]


def _marked(one: Slip | Suspect) -> str:
    """A text with what it is about marked; a whole text as it is."""
    if not one.before and not one.after:
        return escape(one.here)
    return f"{escape(one.before)} <mark>{escape(one.here)}</mark> {escape(one.after)}".strip()


def _where(file: str | None, line: int | None) -> str:
    return "" if file is None else escape(f"{Path(file).name}:{line}" if line else Path(file).name)


def _texts(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are HTML, the first one a text."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="texts"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _share(value: float | None) -> str:
    return "" if value is None else figure("f1", value)
