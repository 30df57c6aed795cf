"""A look at splits that are read as streams: the same report, in a few bytes for each text."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyhead.data.check import Report, SplitReport
from polyhead.data.check_spread import Found, Spread
from polyhead.data.dataset import SPLITS, TRAIN, Dataset
from polyhead.data.example import Example

_CHUNK, _SHOWN = 500, 8  # Texts that are tokenised together; places of a fault that a report names.


class Seen:
    """What is kept of each text of a split.

    Args:
        examples: Gone through once.
        lengths: Gives the number of pieces of each example.
    """

    def __init__(self, examples: Iterable[Example], lengths: Callable[[Sequence[Example]], list[int]]) -> None:
        self.files: dict[str, int] = {}
        keys, lines, files, pieces, words = array("q"), array("q"), array("l"), array("l"), array("l")
        for chunk in _chunks(examples):
            pieces.extend(lengths(chunk))
            for example in chunk:
                keys.append(_key(example))
                lines.append(example.line or 0)
                files.append(self.files.setdefault(example.file or "?", len(self.files)))
                words.append(len(example.words))
        self.keys, self.lines, self.file, self.pieces, self.words = map(np.asarray, (keys, lines, files, pieces, words))

    def place(self, text: int) -> str:
        """Where a text stands."""
        return f"{list(self.files)[self.file[text]]}:{self.lines[text] or '?'}"

    def repeats(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The texts that stood earlier in the split, in order, and for each the first that is the same."""
        order = np.argsort(self.keys, kind="stable")
        ranked = self.keys[order]
        new = np.diff(ranked, prepend=ranked[0] - 1) != 0
        first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
        again = np.flatnonzero(~new)
        back = np.argsort(order[again], kind="stable")
        return order[again][back], first[again][back]


def check_streams(dataset: Dataset, lengths: Callable[[Sequence[Example]], list[int]], window: int) -> Report:
    """Looks over every split of a dataset that has no layers, going through each once.

    Args:
        dataset: The dataset; splits it lacks are left out.
        lengths: Gives the number of pieces that the encoder gets for each example.
        window: The most pieces that the encoder takes at once.
    """
    train = np.zeros(0, dtype=np.int64)
    reports = {}
    for name in SPLITS:
        if not dataset.splits.get(name):
            continue
        seen = Seen(dataset.splits[name], lengths)
        reports[name] = _report(seen, window, train)
        if name == TRAIN:
            train = np.unique(seen.keys)
    return Report(dataset.name, dataset.fingerprint, window, reports, {}, list(dataset.notes))


def _report(seen: Seen, window: int, train: NDArray[Any]) -> SplitReport:
    again, first = seen.repeats()
    pairs = zip(again[:_SHOWN].tolist(), first[:_SHOWN].tolist(), strict=True)
    return SplitReport(
        examples=len(seen.keys),
        words=_spread(seen.words[seen.words > 0]) if seen.words.any() else None,
        pieces=_spread(seen.pieces),
        too_long=_found(seen, np.flatnonzero(seen.pieces > window)),
        repeats=Found(len(again), tuple(_pair(seen, *pair) for pair in pairs)),
        contradictions=Found(),
        in_train=_found(seen, np.flatnonzero(np.isin(seen.keys, train))),
    )


def _found(seen: Seen, texts: NDArray[Any]) -> Found:
    return Found(len(texts), tuple(map(seen.place, texts[:_SHOWN].tolist())))


def _spread(numbers: NDArray[Any]) -> Spread:
    ranked = np.sort(numbers)
    middle, high = (int(ranked[-(-len(ranked) * percent // 100) - 1]) for percent in (50, 95))
    return Spread(int(ranked.sum()), int(ranked[0]), middle, high, int(ranked[-1]))


def _pair(seen: Seen, text: int, earlier: int) -> str:
    same_file = seen.file[text] == seen.file[earlier]
    return f"{seen.place(text)} = {seen.lines[earlier] if same_file else seen.place(earlier)}"


def _key(example: Example) -> int:
    """A number that two texts share only if they are the same, up to white space, or by a very rare chance."""
    words = example.words or tuple((example.text or "").split())
    text = "\n".join(words) + ("" if example.pair is None else "\0" + "\n".join(example.pair.split()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    going = iter(examples)
    while chunk := list(islice(going, _CHUNK)):
        yield chunk
