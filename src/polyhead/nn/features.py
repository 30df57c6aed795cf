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
        return Slots(files, index, batch.words)

    def serve(self, frozen: int, *, all_layers: bool) -> bool:
        """Whether the levels that are wanted are here, and frozen right now."""
        return frozen >= self.level and (not all_layers or len(self.files[0]) == self.level + 1)

    def below(self, slots: Slots, inputs: Callable[[], Inputs], *, all_layers: bool) -> Sequence[Tensor]:
        """The levels of a batch up to the highest frozen one, or that one alone. (rows, pieces, width) each.

        Texts that no file holds, such as those of tasks that change their input, are computed.
        """
        kept = KeptLayers(self, slots, range(self.level + 1) if all_layers else range(-1, 0))
        missing = torch.from_numpy(np.flatnonzero(slots.files < 0)).to(self.device)
        if not len(missing):
            return kept
        with torch.no_grad():
            computed = self.lower({name: given[missing] for name, given in inputs().items()})
        for layer, states in zip(kept, computed[-len(kept) :], strict=True):
            layer[missing] = states.to(layer.dtype)
        return list(kept)

    def pick(self, levels: Sequence[int], files: Ints, index: Tensor) -> Tensor:
        """Vectors from where they are; those that no file holds are anything. Shape (levels, chosen, width).

        Args:
            levels: Places among the levels of a file.
            files: The file of each vector, -1 for none. Shape (chosen,).
            index: The place of each in its file. Shape (chosen,).
        """
        like = self.files[0][-1]
        out = like.new_empty(len(levels), len(index), like.shape[1])
        for number in np.unique(files).tolist():
            if number < 0:
                continue
            chosen = np.flatnonzero(files == number)
            if len(chosen) == len(files):
                for layer, level in zip(out, levels, strict=True):
                    torch.index_select(self.files[number][level], 0, index, out=layer)
                break
            rows = torch.from_numpy(chosen)
            here = index[rows]
            for layer, level in zip(out, levels, strict=True):
                layer.index_copy_(0, rows, self.files[number][level].index_select(0, here))
        return out


class KeptLayers(Sequence[Tensor]):
    """Layers of a batch, (rows, pieces, width) each, of which only that is read which is asked for.

    Args:
        features: Where to read.
        slots: Where the batch's rows are.
        levels: Which of a file's levels these are.
    """

    def __init__(self, features: Features, slots: Slots, levels: Sequence[int]) -> None:
        self.features = features
        self.slots = slots
        self.levels = levels
        self._whole: dict[int, Tensor] = {}
        self._words: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, place: int) -> Tensor:  # type: ignore[override]
        level = self.levels[place]
        if level not in self._whole:
            rows, pieces = self.slots.index.shape
            (states,) = self.features.pick([level], np.repeat(self.slots.files, pieces), self.slots.index.flatten())
            self._whole[level] = states.view(rows, pieces, -1).to(self.features.device)
        return self._whole[level]

    def words(self, chosen: Tensor | None = None) -> Tensor:
        """The first pieces of words, by their place among all words of the batch. Shape (layers, chosen, width)."""
        chosen = None if chosen is None else chosen.cpu()
        key = b"" if chosen is None else chosen.numpy().tobytes()
        if key not in self._words:
            words = self.slots.words if chosen is None else self.slots.words[chosen]
            files = self.slots.files[words.numpy() // self.slots.index.shape[1]]
            index = self.slots.index.flatten().index_select(0, words)
            self._words[key] = self.features.pick(self.levels, files, index).to(self.features.device)
        return self._words[key]


def digest(item: Pieces) -> bytes:
    """What a text is known by: all that an encoder reads of it."""
    case = b"" if item.case is None else item.case.tobytes()
    head = b"%d %d " % (len(item.ids), len(item.pair))
    if item.code is not None:
        head += b"in %d " % item.code
    return hashlib.blake2b(head + item.ids.tobytes() + item.pair.tobytes() + case, digest_size=16).digest()
