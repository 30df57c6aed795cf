"""What frozen layers make of texts, read from files instead of being computed at each step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyhead.nn.batch import Batch, Slots, laid_out
from polyhead.nn.halves import Halves, Inputs
from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer

Lower = Callable[[Inputs], Sequence[Tensor]]
"""Computes the levels that are kept, (rows, pieces, width) each, from what a transformer takes."""


@dataclass(frozen=True)
class Texts:
    """Texts in the order in which a file holds them, each once.

    Attributes:
        items: The pieces of each.
        starts: Where each one's vectors begin, and behind the last one where they end. Shape (texts + 1,).
        digests: What each is known by.
    """

    items: list[Pieces]
    starts: Ints
    digests: list[bytes]

    @classmethod
    def of(cls, items: Sequence[Pieces], tokenizer: PieceTokenizer, window: int) -> Texts:
        """Lay texts out by length, so that neighbours fill a batch well; their own order does not matter."""
        known = {digest(item): item for item in items}
        sizes = {key: laid_out(item, tokenizer, window) for key, item in known.items()}
        keys = sorted(known, key=lambda key: (sizes[key], key))
        starts = np.cumsum([0, *(sizes[key] for key in keys)])
        return cls([known[key] for key in keys], starts.astype(np.int64), keys)

    @property
    def pieces(self) -> int:
        """The number of vectors of one level."""
        return int(self.starts[-1])

    @property
    def key(self) -> str:
        """What they are known by together."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()


class Features:
    """The vectors that frozen layers make of some texts.

    Args:
        level: The highest frozen layer, counted from 1.
        lower: Computes the levels of texts that no file holds.
        halves: Runs the layers above; ``None`` if there are none.
        device: Where the vectors go.
    """

    def __init__(self, level: int, lower: Lower, halves: Halves | None, device: torch.device) -> None:
        self.level = level
        self.lower = lower
        self.halves = halves
        self.device = device
        self.files: list[Sequence[Tensor]] = []
        """For each file of texts its levels, the highest frozen one last. Shape of each (pieces, width)."""
        self.places: dict[bytes, tuple[int, int]] = {}
        """For each text its file, and where its vectors begin there."""

    def add(self, texts: Texts, levels: Sequence[Tensor]) -> None:
        """Take up texts whose vectors were read from files."""
        number = len(self.files)
        self.files.append(levels)
        starts = texts.starts.tolist()
        self.places |= {key: (number, start) for key, start in zip(texts.digests, starts[:-1], strict=True)}

    def find(self, items: Sequence[Pieces], batch: Batch) -> Slots | None:
        """Where the vectors of a batch's rows are; ``None`` if none of its texts is known."""
        places = np.asarray([self.places.get(digest(item), (-1, 0)) for item in items], dtype=np.int64)
        if (places[:, 0] < 0).all():
            return None
        rows, width = batch.ids.shape
        lengths = np.full(rows, width) if batch.mask is None else batch.mask.sum(1).numpy()  # (rows,)
        owners = np.arange(rows) if batch.owners is None else batch.owners.numpy()
        before = np.cumsum(lengths) - lengths
        first = before[np.searchsorted(owners, owners)]  # where the first row of the same text begins
        files, starts = places[owners, 0], places[owners, 1] + before - first
        # Filling takes the row's last vector: nobody reads it, but it must be a number.
        index = torch.from_numpy(starts[:, None] + np.minimum(np.arange(width), lengths[:, None] - 1))
        found = []
        for file in np.unique(files[files >= 0]).tolist():
            chosen = torch.from_numpy(np.flatnonzero(files == file))
            whole = len(chosen) == rows
            found.append((file, None if whole else chosen, index if whole else index[chosen]))
        return Slots(tuple(found), torch.from_numpy(np.flatnonzero(files < 0)))

    def serve(self, frozen: int, *, all_layers: bool) -> bool:
        """Whether the levels that are wanted are here, and frozen right now."""
        return frozen >= self.level and (not all_layers or len(self.files[0]) == self.level + 1)

    def below(self, slots: Slots, inputs: Callable[[], Inputs], *, all_layers: bool) -> list[Tensor]:
        """The levels of a batch up to the highest frozen one, or that one alone. (rows, pieces, width) each.

        Texts that no file holds, such as those of tasks that change their input, are computed.
        """
        out = [self._gather(slots, level) for level in (range(self.level + 1) if all_layers else [-1])]
        if len(slots.missing):
            rows = slots.missing.to(self.device)
            with torch.no_grad():
                computed = self.lower({name: given[rows] for name, given in inputs().items()})
            for layer, states in zip(out, computed[-len(out) :], strict=True):
                layer[rows] = states.to(layer.dtype)
        return out

    def _gather(self, slots: Slots, level: int) -> Tensor:
        """A level of the rows that files hold, as a whole batch; rows that are missing hold anything."""
        out: Tensor | None = None
        for file, rows, index in slots.found:
            states = self.files[file][level]
            vectors = states.index_select(0, index.flatten()).view(*index.shape, states.shape[1])
            if rows is None:
                return vectors.to(self.device)
            if out is None:
                count = len(slots.missing) + sum(len(index) for _, _, index in slots.found)
                out = vectors.new_empty(count, *vectors.shape[1:])
            out[rows] = vectors
        assert out is not None, "find gives None where there is nothing"
        return out.to(self.device)


def digest(item: Pieces) -> bytes:
    """What a text is known by: all that an encoder reads of it."""
    case = b"" if item.case is None else item.case.tobytes()
    head = b"%d %d " % (len(item.ids), len(item.pair))
    return hashlib.blake2b(head + item.ids.tobytes() + item.pair.tobytes() + case, digest_size=16).digest()
