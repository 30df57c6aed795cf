"""Shows the report of a dataset as tables that fit a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polyhead.data.braces import name_without_folder
from polyhead.data.check import LayerReport, Report
from polyhead.data.check_reading import sentences
from polyhead.data.check_sides import PairReport, SideReport
from polyhead.data.check_spread import Found, Spread
from polyhead.data.dataset import TRAIN
from polyhead.data.example import KIND_NAMES
from polyhead.data.example import Text as TextValue
from polyhead.errors import from_here

_LABELS = 6  # Labels of a layer that the table names.
_NAMED = 3  # Labels and places that a sentence names.


def view(report: Report) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = [
        Text.assemble((f"data.{report.name}", "bold"), f"  (sha256 {report.fingerprint[:12]})"),
        _splits(report),
        _lengths(report),
    ]
    if report.layers:
        parts.append(_layers(report))
    for layer, pairs in report.pairs.items():
        parts += [_sides(layer, pairs), _side_lengths(layer, pairs)]
    for title, style, told in (
        ("To look at", "yellow", list(_warnings(report))),
        ("Notes", "dim", list(map(from_here, report.notes))),
    ):
        if told:
            parts.append(Text(title, "bold"))
            parts.append(_bullets(told, style))
    return Group(*parts)


def _table(*columns: str, left: int = 1) -> Table:
    """A table whose first columns stand to the left, and whose others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=number >= left)
    return table


def _bullets(told: Iterable[str], style: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    for sentence in told:
        grid.add_row(Text(" -", style), Text(sentence))
    return grid


def _splits(report: Report) -> Table:
    table = _table("split", "examples", "words", "pieces", "repeated", "in train", "too long")
    for name, split in report.splits.items():
        table.add_row(
            name,
            f"{split.examples:,}",
            f"{split.words.total:,}" if split.words else "-",
            f"{split.pieces.total:,}",
            _count(split.repeats, split.examples),
            "-" if name == TRAIN or TRAIN not in report.splits else _count(split.in_train, split.examples),
            _count(split.too_long, split.examples),
        )
    return table


def _lengths(report: Report) -> Table:
    table = _table("length of an example in", "split", "min", "median", "95 %", "max", left=2)
    for unit in ("words", "pieces"):
        for name, split in report.splits.items():
            spread: Spread | None = getattr(split, unit)
            if spread is not None:
                figures = (spread.min, spread.median, spread.p95, spread.max)
                table.add_row(unit, name, *(f"{figure:,}" for figure in figures))
    return table


def _layers(report: Report) -> Table:
    table = _table("layer", "kind", "examples", left=2)
    table.add_column("labels and how often they occur")
    everything = sum(split.examples for split in report.splits.values())
    for name, layer in report.layers.items():
        present = sum(layer.present.values())
        table.add_row(Text(name), layer.kind, "all" if present == everything else f"{present:,}", _contents(layer))
    return table


def _sides(layer: str, pairs: Mapping[str, PairReport]) -> Table:
    table = _table("side", "split", "lines", "words", "characters", "repeated", "in train", left=2)

    def row(name: str, split: str, side: SideReport | PairReport, lines: int, *sizes: str) -> None:
        shared = "-" if split == TRAIN or TRAIN not in pairs else _count(side.in_train, lines)
        table.add_row(Text(name), split, f"{lines:,}", *sizes, _count(side.repeats, lines), shared)

    for split, pair in pairs.items():
        for name, side in (("text", pair.text), (layer, pair.other)):
            row(name, split, side, side.lines, f"{side.words.total:,}", f"{side.characters.total:,}")
        row("both", split, pair, pair.text.lines, "-", "-")
    return table


def _side_lengths(layer: str, pairs: Mapping[str, PairReport]) -> Table:
    table = _table("length of a line in", "split", "min", "median", "95 %", "max", left=2)
    for split, pair in pairs.items():
        for name, side in (("text", pair.text), (layer, pair.other)):
            for unit, spread in (("words", side.words), ("characters", side.characters)):
                figures = (spread.min, spread.median, spread.p95, spread.max)
                table.add_row(Text(f"{unit} of {name}"), split, *(f"{figure:,}" for figure in figures))
        ratios = (pair.ratio.min, pair.ratio.median, pair.ratio.p95, pair.ratio.max)
        table.add_row(Text(f"characters of {layer} to 1 of text"), split, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def _contents(layer: LayerReport) -> Text:
    if layer.kind == KIND_NAMES[TextValue]:
        return Text("see its lines below")
    if layer.numbers is not None:
        spread = layer.numbers
        return Text(f"{spread.min:g} to {spread.max:g}, median {spread.median:g}")
    shown = list(layer.most.items())[:_LABELS]
    text = Text(" · ").join(Text.assemble(label, (f" {count:,}", "dim")) for label, count in shown)
    more = layer.labels - len(shown)
    return text.append(f" · {more:,} more" if more else "")


def _warnings(report: Report) -> Iterator[str]:
    for side, reading in report.readings.items():
        yield from sentences(side, reading)
    for name, split in report.splits.items():
        for found, one, many in (
            (split.in_train, "stands in train too", "stand in train too"),
            (split.contradictions, "repeats a text with other labels", "repeat a text with other labels"),
            (split.too_long, f"is longer than {report.window} pieces", f"are longer than {report.window} pieces"),
        ):
            yield from _told(found, f"example of {name} {one}", f"examples of {name} {many}")
    for layer, pairs in report.pairs.items():
        for name, pair in pairs.items():
            yield from _odd_pairs(name, layer, pair)
    for layer, seen in report.layers.items():
        for name, unseen in seen.unseen.items():
            labels = "1 label" if unseen.labels == 1 else f"{unseen.labels:,} labels"
            times = "once" if unseen.occurrences == 1 else f"{unseen.occurrences:,} times"
            yield f"{layer}: {labels} of {name} ({times}) never in train: {_listed(unseen.most, unseen.labels)}"


def _odd_pairs(split: str, layer: str, pair: PairReport) -> Iterator[str]:
    beside = f"than usual, with {pair.usual:.2f} characters of {layer} to 1 of text"
    for found, one, many in (
        (pair.in_train, "stands in train too", "stand in train too"),
        (pair.repeats, "stands earlier in it too", "stand earlier in it too"),
        (pair.copied, "has the same text on both sides", "have the same text on both sides"),
        (pair.wild, f"is far longer or shorter {beside}", f"are far longer or shorter {beside}"),
    ):
        yield from _told(
            found, f"pair of text and {layer} of {split} {one}", f"pairs of text and {layer} of {split} {many}"
        )


def _told(found: Found, one: str, many: str) -> Iterator[str]:
    """A sentence on a fault, if some examples have it."""
    if found.count:
        what = f"1 {one}" if found.count == 1 else f"{found.count:,} {many}"
        yield f"{what}: {_listed(map(_without_folder, found.places), found.count)}"


def _listed(items: Iterable[str], count: int) -> str:
    """The first few of ``count`` items."""
    return ", ".join(list(items)[:_NAMED]) + (" ..." if count > _NAMED else "")


def _without_folder(place: str) -> str:
    return " = ".join(map(name_without_folder, place.split(" = ")))


def _count(found: Found, examples: int) -> str:
    return f"{found.count:,} ({found.count / examples:.1%})" if found.count else "0"
