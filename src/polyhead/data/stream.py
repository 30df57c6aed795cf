"""A split that is read anew each time it is gone through, so that it may be larger than memory."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

from polyhead.data.example import Example

HELD_OUT_SEED = 0
"""Of the choice of held-out examples; fixed, so that every run of a study holds out the same."""


@dataclass(frozen=True, eq=False)
class Stream(Sequence[Example]):
    """The examples of a split, read from its files whenever they are gone through.

    To go through it takes bounded memory; to index it reads from the start, so that only the first few are cheap.

    Attributes:
        read: Reads all examples of the files behind it, from the first.
        size: How many of them belong to the split.
        held: The places, in what ``read`` gives, of examples that are held out, sorted. Those are left out of the
            split, or with ``only_held`` make it up.
        only_held: See there.
    """

    read: Callable[[], Iterator[Example]]
    size: int
    held: Sequence[int] = ()
    only_held: bool = False

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Example]:
        return islice(self._chosen(), self.size)

    def _chosen(self) -> Iterator[Example]:
        held = iter(self.held)
        awaited = next(held, -1)
        for place, example in enumerate(self.read()):
            if place == awaited:
                awaited = next(held, -1)
                if self.only_held:
                    yield example
            elif not self.only_held:
                yield example

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return list(islice(self, *index.indices(self.size)))
        place = index + self.size if index < 0 else index
        found = next(islice(self, place, None), None) if 0 <= place < self.size else None
        if found is None:
            raise IndexError(index)
        return found


def held_out(share: float, count: int) -> Sequence[int]:
    """The places of a share of ``count`` examples, sorted; at least one. The same in every run."""
    wanted = max(1, round(share * count))
    return array("q", sorted(random.Random(HELD_OUT_SEED).sample(range(count), wanted)))


def drawn(wanted: int, count: int, seed: int) -> Sequence[int]:
    """The places of ``wanted`` of ``count`` examples, or of all if there are no more, sorted.

    They are the first of a shuffle, so that with one seed fewer are always among more.
    """
    places = array("q", range(count))
    random.Random(seed).shuffle(places)
    return array("q", sorted(places[:wanted]))


def folded(part: int, parts: int, count: int) -> Sequence[int]:
    """The places of one of equal parts of ``count`` examples, sorted; the same in every run."""
    places = array("q", range(count))
    random.Random(HELD_OUT_SEED + 1).shuffle(places)  # not the order that the dev split was drawn in
    return array("q", sorted(places[part::parts]))


def without(held: Sequence[int], count: int) -> Sequence[int]:
    """The places of ``count`` examples that are not held out, sorted."""
    gone = set(held)
    return array("q", (place for place in range(count) if place not in gone))
