"""Byte pair encoding that goes on from pieces that there are: neighbours that often meet become one piece."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise

LEAST = 5
"""How often a new piece must come in the texts: what comes less often is hardly learnt."""

LONGEST = 24
"""The most characters of a new piece; in scripts without spaces whole sentences that are repeated would become one."""

_Pair = tuple[str, str]


@dataclass
class Merges:
    """What was learnt.

    Attributes:
        merges: The pairs that become one, in their order.
        pieces: The new pieces.
    """

    merges: list[_Pair] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)


def learn_merges(
    words: Iterable[tuple[list[str], int]], *, most: int, known: set[str], join: Callable[[str, str], str], steps: bool
) -> Merges:
    """Join the two pieces that stand beside each other most often, again and again (Sennrich et al. 2016).

    Pairs that come as often as each other are joined in the order of their names.

    Args:
        words: The pieces of each word, and how often it comes.
        most: How many new pieces there may be.
        known: The pieces that there are already.
        join: The piece that two make.
        steps: Whether a piece must stay that is but a step towards longer ones, as in the BPE of a tokenizer. Otherwise
            it is left out if it comes less than :data:`LEAST` times beside them, which leaves room for others.
    """
    texts = _Texts(words)
    found = Merges()
    new: dict[str, None] = {}
    lively: set[str] = set()
    while len(new if steps else lively) < most and (pair := texts.best()) is not None:
        piece = join(*pair)
        if len(piece) > LONGEST:
            continue
        found.merges.append(pair)
        if piece not in known:
            new.setdefault(piece)
        for changed in texts.merge(pair, piece):
            if changed in new:
                (lively.add if texts.counts[changed] >= LEAST else lively.discard)(changed)
    found.pieces = [piece for piece in new if steps or piece in lively]
    return found


class _Texts:
    """Words as pieces, with the counts of pieces and pairs."""

    def __init__(self, words: Iterable[tuple[list[str], int]]) -> None:
        self.words = [(list(pieces), count) for pieces, count in words]
        self.counts: Counter[str] = Counter()
        self.pairs: Counter[_Pair] = Counter()
        self.where: defaultdict[_Pair, set[int]] = defaultdict(set)
        for number, (pieces, count) in enumerate(self.words):
            for piece in pieces:
                self.counts[piece] += count
            self._count(number, count)
        self.queue = [(-count, *pair) for pair, count in self.pairs.items() if count >= LEAST]
        heapify(self.queue)

    def best(self) -> _Pair | None:
        """The most frequent pair; ``None`` if none is frequent."""
        while self.queue:
            count, *pieces = heappop(self.queue)
            pair = (pieces[0], pieces[1])
            now = self.pairs[pair]
            if now == -count:
                return pair
            if now >= LEAST:  # it has lost some to pairs that overlap with it
                heappush(self.queue, (-now, *pair))
        return None

    def merge(self, pair: _Pair, piece: str) -> set[str]:
        """Put a piece in the place of a pair, and tell which pieces' counts have changed."""
        touched: set[_Pair] = set()
        for number in sorted(self.where.pop(pair)):
            pieces, count = self.words[number]
            touched |= self._count(number, -count)
            joined = list(_joined(pieces, pair, piece))
            made = len(pieces) - len(joined)
            for one, change in ((pair[0], -made), (pair[1], -made), (piece, made)):
                self.counts[one] += change * count
            self.words[number] = (joined, count)
            touched |= self._count(number, count)
        del self.pairs[pair]
        touched.discard(pair)
        for other in touched:
            if self.pairs[other] >= LEAST:
                heappush(self.queue, (-self.pairs[other], *other))
        return {*pair, piece}

    def _count(self, number: int, count: int) -> set[_Pair]:
        """Count the pairs of a word, or with a negative count take them away; gives the pairs."""
        found = list(pairwise(self.words[number][0]))
        for pair in found:
            self.pairs[pair] += count
            if count > 0:
                self.where[pair].add(number)
        return set(found)


def _joined(pieces: list[str], pair: _Pair, piece: str) -> Iterable[str]:
    i = 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
            yield piece
            i += 2
        else:
            yield pieces[i]
            i += 1
