"""What was found about the best run, in words: the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator

from polyhead.data.text import counted
from polyhead.inspection import Inspection
from polyhead.scoring import figure
from polyhead.studies.best import Best, Choice
from polyhead.studies.suspects import LIST, Suspects
from polyhead.studies.words import way_name

FEW = 10
"""A label that is rarer in gold says little."""

NOTICEABLE = 0.005
"""A mean confidence that is nearer to the share of right answers is called as sure as right."""


def run_words(best: Best) -> str:
    """Which run it is, and what it scores."""
    run, found = best.run, best.inspection
    chosen = f"Of all runs it is the best on {best.chosen_on}"
    warned = "" if best.chosen_on != found.split else ", so that its figure there flatters it a little"
    value = figure(found.metric, found.figures[found.metric])
    return (
        f"{way_name(run.way)} with {run.size:,} examples, seed {run.seed}: {found.metric} {value} on {found.split}. "
        f"{chosen}{warned}. Its folder is runs/{run.key}."
    )


def label_words(found: Inspection) -> str:
    """The label that fares worst, and the most frequent confusion."""
    known = [one for one in found.labels if one.gold >= FEW and one.f1 is not None]
    parts = []
    if len(known) > 1:
        worst = min(known, key=lambda one: one.f1 or 0.0)
        parts.append(f"Of the labels {worst.label!r} fares worst: F1 {figure('f1', worst.f1 or 0.0)}.")
    if found.confusions:
        gold, given, count = found.confusions[0]
        times = counted(count, "time")
        if gold is None:
            parts.append(f"The most frequent error: {given!r} where there is nothing ({times}).")
        elif given is None:
            parts.append(f"The most frequent error: {gold!r} that is not found ({times}).")
        elif gold == given:
            parts.append(f"The most frequent error: {gold!r} in another place ({times}).")
        else:
            parts.append(f"The most frequent error: {given!r} in place of {gold!r} ({times}).")
    return " ".join(parts) or f"All of {counted(found.examples, 'example')} are right."


def calibration_words(found: Inspection, *, kept: bool = False) -> str:
    """Whether confidences mean what they say, what a temperature changes, and whether the model keeps it."""
    one = found.calibration
    if one is None:
        return f"Whether its confidences mean what they say is not known. {found.uncalibrated}"
    before, after = one.before, one.after
    mean, right = _means(before.bins)
    lean = "too sure" if mean > right else "not sure enough"
    said = f"On average it is {100 * mean:.1f} % sure and {100 * right:.1f} % right: {lean}."
    if abs(mean - right) < NOTICEABLE:
        said = f"On average it is as sure as it is right: {100 * right:.1f} %."
    result = (
        f"A temperature of {one.temperature:.2f}, found on {counted(one.fitted, 'example')} of dev, takes the expected "
        f"calibration error from {100 * before.ece:.1f} to {100 * after.ece:.1f} points"
    )
    crossed = " (each half of dev judged at the temperature of the other)" if one.crossed else f" on {one.judged}"
    return f"{said} {result}{crossed}.{' It is kept with the model.' if kept else ''}"


def _means(bins: list[tuple[int, float, float]]) -> tuple[float, float]:
    """The mean confidence, and the share that is right."""
    count = sum(one[0] for one in bins)
    return sum(one[0] * one[1] for one in bins) / count, sum(one[0] * one[2] for one in bins) / count


def suspects_words(found: Suspects) -> str:
    """How many labels are wrong, about, and where they are listed."""
    judged = f"{found.units:,} labels of {counted(found.texts, 'training text')}"
    where = f"All are listed in {LIST}, the most suspect first."
    if found.errors is None:
        texts = counted(found.texts, "training text")
        return f"The numbers of {texts} were held against runs that never saw them. {where}"
    share = 100 * found.errors / max(1, found.units)
    about = (
        f"About {found.errors:,} of the {judged} may be wrong ({share:.1f} %)"
        if found.errors
        else f"None of the {judged} stands out"
    )
    return f"{about}, say runs that never saw them. {where}"


def choice_words(choice: Choice) -> str:
    """Which texts were chosen, where they are, and what to do with them."""
    left = [
        f"{number:,} {what}"
        for number, what in (
            (choice.blank, "empty"),
            (choice.known, "in the target's data already"),
            (choice.twice, "repeated"),
        )
        if number
    ]
    out = f" ({', '.join(left)} left out)" if left else ""
    filled = (
        "The model's answers are filled in: correct them."
        if choice.filled
        else "Labels are open; what the model would say stands beside them where the format has room."
    )
    back = (
        "Then name the file beside the others of train."
        if choice.same
        else "Then it is a dataset of its own, since the target's format cannot hold it."
    )
    chosen = f"{counted(choice.texts, 'text')} of {choice.read:,} in {choice.pool}{out}"
    return f"{chosen}, unsure and unlike each other, are in {choice.path}. {filled} {back}"


def best_words(best: Best) -> Iterator[str]:
    """A sentence or two on each matter."""
    yield run_words(best)
    if best.inspection.labels:
        yield label_words(best.inspection)
    yield calibration_words(best.inspection, kept=True)
    if best.suspects is not None:
        yield suspects_words(best.suspects)
    if best.choice is not None:
        yield choice_words(best.choice)
