"""What every page is made of: its style, tables and pictures. Whatever comes from data or a recipe is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.lead { font-size: 1.1rem; }
table { border-collapse: collapse; margin: 0.6rem 0; }
th, td { text-align: right; padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; color: #555; font-size: 0.9rem; }
.texts td, .texts th { text-align: left; vertical-align: top; }
.texts td:first-child { min-width: 14rem; }
.scroll { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
.note { color: #555; font-size: 0.9rem; }
@media print { body { margin: 0; max-width: none; } }
"""


def document(title: str, body: Iterable[str]) -> str:
    """A whole page, which loads nothing from elsewhere.

    Args:
        title: Plain text.
        body: HTML.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n' + "\n".join(
        [*body, "</body></html>\n"]
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text that can be scrolled sideways where the screen is narrow."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(svg: str, caption: str) -> str:
    """A drawing with its caption, which is what a screen reader says of it."""
    label = f'<svg role="img" aria-label="{escape(caption)}"'
    return f"<figure>{svg.replace('<svg', label, 1)}<figcaption class='note'>{escape(caption)}</figcaption></figure>"
