"""The page of a study: first the answer, then pictures, then tables."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from polyhead.errors import PolyheadError
from polyhead.files import check_place, write_text
from polyhead.intervals import LEVEL
from polyhead.reporting.best_page import best_sections
from polyhead.reporting.figures import by_size
from polyhead.reporting.html import document, picture, table
from polyhead.scoring import figure, signed
from polyhead.study import Answers, Best, Study, answers
from polyhead.study.ways import FROM, TUNED
from polyhead.study.words import estimate_words, headline, needed_words, saved_words, verdict_words, way_name

PAGE = "report.html"

HOW = (
    "Figures are means over seeds; each seed draws other training examples and trains with other random numbers, and "
    "all ways see the same draws. Intervals are for 95 in 100, over seeds and test examples together (a two-way layout "
    "with random seeds and examples, Satterthwaite's degrees of freedom); of two ways the difference is taken on the "
    "same examples and seeds. Tests are corrected for their number (Holm 1979). Numbers of examples are read off the "
    "curves, which are lines over the logarithm of the size, made never to fall."
)
"""How the figures came about."""


def study_report(study: Study, output: str | Path | None = None, best: Best | None = None) -> Path:
    """Write the page of a study; it loads nothing from elsewhere.

    Args:
        study: With at least one finished run.
        output: The file to write; by default ``report.html`` in the study's folder.
        best: A closer look at its best run.

    Raises:
        PolyheadError: No run is finished, or matplotlib is not installed.
    """
    found = answers(study)
    if found is None:
        raise PolyheadError("No run of the study is finished yet.", remedy="Give the same command again.")
    path = Path(output) if output is not None else study.folder / PAGE
    check_place(path)
    write_text(path, study_page(study, found, best))
    return path


def study_page(study: Study, found: Answers, best: Best | None = None) -> str:
    """The page as HTML."""
    title = f"What did transfer buy for {found.target}?"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(headline(found))}</p>',
        *_curves(found),
        *_saved(found),
        *_convergence(study, found),
        *_sources(found),
        *_verdicts(found),
        *_forecasts(found),
        *(best_sections(best) if best is not None else ()),
        *_failures(study),
        "<h2>How this was measured</h2>",
        f'<p class="note">{escape(HOW)}</p>',
    ]
    return document(title, body)


def _curves(found: Answers) -> Iterator[str]:
    yield "<h2>More examples, and better ways</h2>"
    scale = 100.0 if figure(found.metric, 0.5) == "50.00" else 1.0
    series = {
        way_name(way): [
            (float(size), scale * one.value, scale * one.low, scale * one.high)
            for size in found.sizes
            if (one := found.means.get((way, size))) is not None
        ]
        for way in found.ways
    }
    drawn = by_size(series, f"{found.metric} on {found.scored}", "training examples", logarithmic=True)
    yield picture(drawn, f"The {found.metric} of each way by the number of training examples, with 95 % intervals")
    rows = [
        [way_name(way)]
        + [
            "" if (way, size) not in found.means else estimate_words(found, found.means[way, size])
            for size in found.sizes
        ]
        for way in found.ways
    ]
    yield table(f"{found.metric} on {found.scored}", ["way", *(f"{size:,}" for size in found.sizes)], rows)


def _saved(found: Answers) -> Iterator[str]:
    if not found.saved:
        return
    yield "<h2>Labels saved</h2>"
    for other in dict.fromkeys(saved.other for saved in found.saved):
        here = [saved for saved in found.saved if saved.other == other]
        rows = []
        for way in dict.fromkeys(saved.way for saved in here):
            cells = {saved.size: needed_words(saved.needed) for saved in here if saved.way == way}
            rows.append([way_name(way), *(cells.get(size, "") for size in found.sizes)])
        caption = f"how many examples {way_name(other)} needs for what a way reaches with so many"
        yield table(caption, ["way", *(f"{size:,}" for size in found.sizes)], rows)
    first = min(found.saved, key=lambda saved: saved.size)
    yield f'<p class="note">For example: {escape(saved_words(first))}</p>'


def _convergence(study: Study, found: Answers) -> Iterator[str]:
    """The score on dev over minutes of training, at the largest size."""
    results = [one for one in study.results if one.curve and one.size == found.sizes[-1]]
    if not results:
        return
    yield "<h2>Minutes</h2>"
    scale = 100.0 if figure(found.metric, 0.5) == "50.00" else 1.0
    series = {}
    for way in dict.fromkeys(one.way for one in results):
        runs = [one.curve for one in results if one.way == way]
        epochs = min(len(curve) for curve in runs)
        times = np.array([[seconds / 60 for seconds, _ in curve[:epochs]] for curve in runs])
        scores = scale * np.array([[score for _, score in curve[:epochs]] for curve in runs])
        columns = (times.mean(0), scores.mean(0), scores.min(0), scores.max(0))
        series[way_name(way)] = [tuple(map(float, point)) for point in zip(*columns, strict=True)]
    drawn = by_size(series, f"{found.metric} on dev", "minutes of training", logarithmic=False)  # type: ignore[arg-type]
    largest = f"{found.sizes[-1]:,}"
    yield picture(drawn, f"The {found.metric} on dev after each epoch with {largest} examples; range over seeds")
    rows = []
    for one in found.minutes:
        reached = [minutes for minutes in one.minutes if minutes is not None]
        said = "never" if not reached else f"{np.mean(reached):.1f} ({min(reached):.1f} to {max(reached):.1f})"
        if reached and len(reached) < len(one.minutes):
            said += f", {len(reached)} of {len(one.minutes)} seeds"
        rows.append([way_name(one.way), said])
    if rows:
        goal = figure(found.metric, found.minutes[0].score)
        yield table(f"minutes until {found.metric} {goal} on dev, mean and range over seeds", ["way", "minutes"], rows)


def _sources(found: Answers) -> Iterator[str]:
    sources = [way.removeprefix(FROM) for way in found.ways if way.startswith(FROM)]
    if not sources or TUNED not in found.ways:
        return
    yield "<h2>Which source helps</h2>"
    rows = []
    for source in sources:
        cells = []
        for size in found.sizes:
            verdict = found.gain_from(source, size)
            if verdict is None:
                cells.append("")
                continue
            gain = verdict.estimate.value * (1 if verdict.first == TUNED else -1)
            worse = verdict.called and (gain < 0) != found.lower_is_better
            mark = " ▼ harms" if worse else " ▲ helps" if verdict.called else " cannot tell"
            cells.append(signed(found.metric, gain) + mark)
        rows.append([source, *cells])
    caption = f"what {found.target} gains where a source was learnt first, beside fine-tuning alone"
    yield table(caption, ["source", *(f"{size:,}" for size in found.sizes)], rows)


def _verdicts(found: Answers) -> Iterator[str]:
    if not found.verdicts:
        return
    yield "<h2>Can the data tell them apart?</h2>"
    for size in found.sizes:
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in verdict_words(found, size))
        if sentences:
            yield f"<h3>With {size:,} examples</h3><ul>{sentences}</ul>"


def _forecasts(found: Answers) -> Iterator[str]:
    if not found.forecasts:
        return
    yield "<h2>What more labels would bring</h2>"
    rows = []
    for way, one in found.forecasts.items():
        cells = [
            f"{figure(found.metric, value)} ({figure(found.metric, low)} to {figure(found.metric, high)})"
            for value, low, high in zip(one.values, one.low, one.high, strict=True)
        ]
        tested = (
            "" if one.tested is None else f"{figure(found.metric, one.tested)}, seen {figure(found.metric, one.seen)}"
        )
        rows.append([way_name(way), *cells, tested])
    sizes = next(iter(found.forecasts.values())).sizes
    head = ["way", *(f"{size:,}" for size in sizes), "the largest size, from the smaller ones"]
    yield table(
        "by a power law through each way's curve; how well it would have foretold stands at the end", head, rows
    )


def _failures(study: Study) -> Iterator[str]:
    failures = study.failures
    if not failures:
        return
    yield "<h2>What could not be had</h2>"
    rows = [[way_name(point.way), f"{point.size:,}", str(point.seed), why] for point, why in failures]
    yield table("runs that ended in an error", ["way", "examples", "seed", "why"], rows)


assert LEVEL == 0.95, "the words of this page say so"
