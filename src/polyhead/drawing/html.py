"""What every page is made of: its style, tables and pictures. Whatever comes from data or a recipe is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 0.6rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 0.4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 0.2rem; }
p, ul { max-width: 46rem; margin: 0.5rem 0; }
ul { padding-left: 1.3rem; }
a { color: #0b4f9e; }
.lead { font-size: 1.2rem; line-height: 1.45; margin: 0 0 1rem; }
.warning { border-left: 0.3rem solid #1a1a1a; padding: 0.4rem 0.8rem; background: #f4f4f4; }
.note, figcaption { color: #4d4d4d; font-size: 0.9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 0.8rem; margin: 1.2rem 0; }
.tiles > div { border: 1px solid #c8c8c8; border-radius: 0.4rem; padding: 0.6rem 0.8rem; }
.tiles dt { color: #4d4d4d; font-size: 0.9rem; }
.tiles dd { margin: 0; font-size: 0.9rem; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; font-weight: 600; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; max-width: none;
  font-size: 0.95rem; }
table { border-collapse: collapse; margin: 0.6rem 0; overflow-wrap: normal; }
th, td { text-align: right; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #ddd; vertical-align: top;
  font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #767676; vertical-align: bottom; }
th:first-child, td:first-child, .left { text-align: left; }
tbody th { font-weight: 500; }
caption { text-align: left; color: #4d4d4d; font-size: 0.9rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: min(46rem, 100vw - 2rem); }
tbody th { min-width: 7rem; max-width: 16rem; }
.figures td { white-space: nowrap; }
td small { display: block; color: #4d4d4d; font-size: 0.82em; }
.texts td, .texts th { text-align: left; }
.texts td:first-child { min-width: 14rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #0b4f9e; }
figure { margin: 0.8rem 0 1.2rem; }
svg { max-width: 100%; height: auto; }
.wide svg, .narrow svg { display: block; width: 100%; }
.narrow { display: none; }
@media screen and (max-width: 40rem) {
  body { margin: 1rem auto; }
  h1 { font-size: 1.35rem; }
  .lead { font-size: 1.08rem; }
  .tiles { grid-template-columns: 1fr; gap: 0.5rem; }
  .wide { display: none; }
  .narrow { display: block; }
}
@media print {
  @page { margin: 15mm; }
  body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  h2, h3, h2 + p, h2 + p + p { break-after: avoid; }
  figure, tr, .tiles > div, li { break-inside: avoid; }
  .scroll { overflow: visible; }
  .figures { font-size: 8pt; }
  .figures th, .figures td { padding-right: 0.5rem; white-space: normal; }
}
"""


_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the reading direction of what follows: in a label they turn the sentence that names it."""


def document(title: str, body: Iterable[str]) -> str:
    """A whole page, which loads nothing from elsewhere; characters that turn the reading direction are shown as codes.

    Args:
        title: Plain text.
        body: HTML.
    """
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    inner = "\n".join(body)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>\n{inner}\n</main></body></html>\n'
    return _DIRECTIONS.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", page)


def section(name: str, title: str, body: Iterable[str]) -> str:
    """A part of a page with its heading, and an anchor to jump to.

    Args:
        name: Of the anchor: a plain word.
        title: Plain text.
        body: HTML.
    """
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return "\n".join([f'<section id="{name}" aria-labelledby="{name}-title">', heading, *body, "</section>"])


def jumps(places: Sequence[tuple[str, str]]) -> str:
    """Links to the parts of a page.

    Args:
        places: For each part its anchor and its title in plain text.
    """
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in places)
    return f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>'


def tiles(cards: Sequence[tuple[str, str, str]]) -> str:
    """The most important figures, large.

    Args:
        cards: For each what it is, the figure, and what to know about it; plain text.
    """
    inner = "".join(
        f"<div><dt>{escape(what)}</dt><dd><b>{escape(value)}</b>{escape(about)}</dd></div>"
        for what, value, about in cards
    )
    return f'<dl class="tiles">{inner}</dl>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text that can be scrolled sideways where the screen is narrow.

    Args:
        caption: What it holds.
        head: The columns' names.
        rows: The first cell of each is its name. What follows a line break in a cell stands below, in small type.
    """
    words = [not any(digit in row[i] for row in rows for digit in "0123456789") for i in range(len(head))]
    top = "".join(f'<th scope="col"{LEFT * left}>{escape(cell)}</th>' for cell, left in zip(head, words, strict=True))
    lines = ["".join(_cell(cell, head=i == 0, left=words[i]) for i, cell in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    # Whoever has no mouse scrolls by the keyboard, for which the box must be reachable and have a name.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="figures">'
        f"<caption><span>{escape(caption)}</span></caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


LEFT = ' class="left"'
"""Of the cells of a column without numbers."""


def _cell(cell: str, *, head: bool, left: bool) -> str:
    first, _, rest = cell.partition("\n")
    inner = escape(first) + (f"<small>{escape(rest)}</small>" if rest else "")
    return f'<th scope="row">{inner}</th>' if head else f"<td{LEFT * left}>{inner}</td>"


def picture(svg: str, caption: str, *, narrow: str | None = None, told: str | None = None) -> str:
    """A drawing with its caption.

    Args:
        svg: The drawing.
        caption: What it shows.
        narrow: The same for narrow screens, on which its letters would be too small.
        told: What a screen reader says in its place; by default the caption.
    """
    label = f'<svg role="img" aria-label="{escape(told or caption)}"'
    drawn = svg.replace("<svg", label, 1)
    if narrow is not None:
        drawn = f'<div class="wide">{drawn}</div><div class="narrow">{narrow.replace("<svg", label, 1)}</div>'
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"
