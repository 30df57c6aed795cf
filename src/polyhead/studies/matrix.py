"""Which task helps which: what each target gains when another task is learnt before it, or beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from polyhead.drawing.figures import Picture
from polyhead.drawing.rows import Gain, draw_gains
from polyhead.scoring import scale, signed
from polyhead.studies.answers import Verdict, answers
from polyhead.studies.folder import Study
from polyhead.studies.pictures import SIGNS
from polyhead.studies.ways import TUNED
from polyhead.studies.words import learns_from_tasks, size_name, way_name


@dataclass(frozen=True, slots=True)
class Gained:
    """What a target gains.

    Attributes:
        target: The task.
        way: How it learns from other tasks.
        size: Of its training examples.
        metric: Its main figure.
        test: The way beside fine-tuning alone, corrected for the tests of the target's study.
    """

    target: str
    way: str
    size: int
    metric: str
    test: Verdict

    @property
    def sign(self) -> int:
        """1 where the way surely helps, -1 where it surely harms, 0 where the data cannot tell."""
        return self.test.sign(self.way)

    @property
    def value(self) -> float:
        """The gain on the scale that figures are printed on; below 0 where the way is worse."""
        return (1 if self.test.better else -1) * scale(self.metric) * self.test.estimate.value

    @property
    def said(self) -> str:
        """The change of the figure, with its sign."""
        return signed(self.metric, self.test.estimate.value)

    @property
    def ends(self) -> str:
        """The interval of the change."""
        one = self.test.estimate
        return f"{signed(self.metric, one.low)} to {signed(self.metric, one.high)}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """What targets gain from other tasks.

    Attributes:
        targets, ways: In the order of the studies.
        gains: Of each target, way and size of which there are results.
    """

    targets: list[str]
    ways: list[str]
    gains: list[Gained]

    def at(self, place: int) -> dict[tuple[str, str], Gained]:
        """By target and way: each target's gains at its smallest size (0) or its largest (-1)."""
        sizes = {target: sorted({one.size for one in self.gains if one.target == target}) for target in self.targets}
        return {(one.target, one.way): one for one in self.gains if one.size == sizes[one.target][place]}

    @property
    def places(self) -> list[tuple[int, str]]:
        """What :meth:`at` can be asked for, with its name; one where each target has one size."""
        one_size = {place: one.size for place, one in self.at(0).items()} == {
            place: one.size for place, one in self.at(-1).items()
        }
        return [(0, "fewest")] if one_size else [(0, "fewest"), (-1, "most")]


def matrix(studies: Sequence[Study]) -> Matrix | None:
    """What studies say of each other's tasks; ``None`` while nothing can be compared with fine-tuning alone."""
    gains = []
    for found in map(answers, studies):
        for way in filter(learns_from_tasks, found.ways if found else ()):
            assert found is not None
            gains += [
                Gained(found.target, way, size, found.metric, test)
                for size in found.sizes
                if (test := found.between(TUNED, way, size)) is not None
            ]
    if not gains:
        return None
    targets, ways = (list(dict.fromkeys(names)) for names in ([g.target for g in gains], [g.way for g in gains]))
    return Matrix(targets, ways, gains)


def matrix_picture(found: Matrix, place: int) -> Picture:
    """A row for each target, a column for each way to learn from other tasks."""
    here = found.at(place)
    cells = {(target, way_name(way)): Gain(one.value, one.said, one.sign) for (target, way), one in here.items()}
    rows, columns = found.targets, [way_name(way) for way in found.ways if any(at == way for _, at in here)]
    wide, narrow = (draw_gains(rows, columns, cells, narrow=one) for one in (False, True))
    caption = (
        f"What each target gains beside fine-tuning alone, with the {dict(found.places)[place]} of its examples. "
        "▲ helps; ▼ and a frame mark negative transfer, which harms; ? the data cannot tell"
    )
    return Picture(wide, narrow, caption, "; ".join(f"{gain_words(one)}: {SIGNS[one.sign]}" for one in here.values()))


def matrix_lines(found: Matrix) -> Iterator[str]:
    """The answer in words: how many pairs help and harm, and which most."""
    for place, which in found.places:
        here = list(found.at(place).values())
        helping, harming = ([one for one in here if one.sign == sign] for sign in (1, -1))
        helping.sort(key=lambda one: -one.value)
        open_ = len(here) - len(helping) - len(harming)
        line = (
            f"With the {which} examples other tasks surely help in {len(helping):,} of {len(here):,} "
            f"case{'s'[: len(here) != 1]} and surely harm in {len(harming):,}; in {open_:,} the data cannot tell."
        )
        yield f"{line} Most: {gain_words(helping[0])}." if helping else line
        yield from (f"Negative transfer: {gain_words(one)}." for one in harming)


def gain_words(one: Gained) -> str:
    """A gain with its interval, as part of a sentence."""
    with_ = f"with {size_name(one.size)}"
    return f"{one.target} {with_}, {way_name(one.way)}, {one.said} ({one.ends}) in {one.metric}"
