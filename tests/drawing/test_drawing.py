"""Pictures and pages, whatever they are of."""

from __future__ import annotations

import re

import pytest

from polyhead.drawing.html import document
from polyhead.drawing.rows import Gain, Saving, draw_gains, draw_savings


def test_what_turns_the_reading_direction_is_shown() -> None:
    page = document("a\u202eb", ["<p>left \u202eright\u202c, \u2067and\u2069; \u05d0\u05d1\u200f stays</p>"])
    assert "left ⟨202E⟩right⟨202C⟩, ⟨2067⟩and⟨2069⟩; \u05d0\u05d1\u200f stays" in page
    assert "\u202e" not in page


def ticks(svg: str) -> list[str]:
    """The numbers below a picture."""
    return re.findall(r">([\d,]+)</text>", svg)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    ("few", "most", "expected"),
    [
        ([60], 100, ["60", "100"]),
        ([50, 100, 200, 500], 5000, ["50", "100", "200", "500", "5,000"]),
        ([100, 110, 121, 133, 146, 161], 177, ["100", "133", "177"]),
    ],
)
def test_a_picture_of_savings_has_two_ends(few: list[int], most: int, expected: list[str], narrow: bool) -> None:
    rows = [Saving(f"with {one}", one, None, 20.0, None, "more than all") for one in few]
    found = ticks(draw_savings(rows, "examples", most, narrow=narrow))
    assert found[-1] == expected[-1] and found[0] in expected[:2] and len(found) >= 2
    assert narrow or found == expected


def test_names_above_a_matrix_never_meet() -> None:
    def aslant(names: list[str], narrow: bool) -> bool:
        cells = {("a", name): Gain(1.0, "+1.00", 1) for name in names}
        return "rotate(-40" in draw_gains(["a"], names, cells, narrow=narrow)

    assert not aslant(["50", "100", "200"], True) and not aslant([f"source number {n}" for n in range(5)], False)
    assert aslant([f"source number {n}" for n in range(5)], True) and aslant(
        [f"source number {n}" for n in range(9)], False
    )
