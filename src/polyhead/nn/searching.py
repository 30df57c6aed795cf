"""How texts are looked for: what may be set, and within which bounds; without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from polyhead.errors import PolyheadError

AT_ONCE = 1 << 26
"""The most logits held at once as texts are written, 256 MiB: vocabularies of hundreds of thousands of pieces exist."""

MOST_BEAMS = 64
"""The most hypotheses that are kept."""

COLDEST, HOTTEST = 0.001, 1000.0
"""The bounds of a temperature; far below, logits over it would be infinite."""


@dataclass(frozen=True, slots=True)
class Search:
    """How a text is looked for.

    Attributes:
        beams: The number of hypotheses that are kept at each step; 1 takes the likeliest piece each time (greedy).
        length_penalty: The power of its length that a hypothesis's log-probability is divided by: above 1 longer texts
            are preferred.
        temperature: Pieces are drawn by their probabilities, with logits divided by this, in place of the likeliest.
        best: How many texts are wanted for each; at most ``beams``, unless they are drawn.
        sure: Whether it is wanted how probable each text is, which is added up as it is written.
    """

    beams: int = 1
    length_penalty: float = 1.0
    temperature: float | None = None
    best: int = 1
    sure: bool = True


def changed(search: Search, *, beams: int | None, best: int, temperature: float | None) -> Search:
    """A search with another number of hypotheses or texts, or in which texts are drawn.

    Raises:
        PolyheadError: A number is out of bounds.
    """
    for name, number in (("beams", beams), ("n-best", best)):
        if number is not None and not 1 <= number <= MOST_BEAMS:
            raise PolyheadError(f"{name} = {number} is not right.", remedy=f"Take a number from 1 to {MOST_BEAMS}.")
    if temperature is not None and not COLDEST <= temperature <= HOTTEST:
        remedy = f"Take a number from {COLDEST} to {HOTTEST}."
        raise PolyheadError(f"temperature = {temperature} is not right.", remedy=remedy)
    if temperature is None and beams is not None and best > beams:
        raise PolyheadError(
            f"The {best} best texts are wanted of {beams} hypotheses.", remedy=f"Keep more: beams = {best}."
        )
    warmth = temperature if temperature is not None else search.temperature
    kept = beams if beams is not None else max(search.beams, best if warmth is None else 1)
    return replace(search, beams=kept, best=best, temperature=warmth)
