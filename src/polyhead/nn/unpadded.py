"""Rows of pieces without what fills them up: every step computes what is there, and nothing else.

Pieces lie one after the other, and rows of one length beside each other: these attend together, as they lie, without a
mask. A GPU takes rows of all lengths at once, by where each of them begins (Dao 2023, FlashAttention-2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from polyhead.nn.attention import short_attention

HALVES = (torch.bfloat16, torch.float16)
"""What a GPU's attention over rows of all lengths computes in."""

MULTIPLE, MOST = 8, 256
"""What it wants the size of a head to be a multiple of, and at most."""


class Unpadded:
    """How the pieces of a batch's rows lie without filling.

    Args:
        lengths: The pieces of each row, which come first in it, some at least in one of them. Shape (rows,).
        pieces: The pieces of a row with its filling.
        device: Where they lie.
        total: For a number of pieces the number to compute: after the last one come copies of some piece, which attend
            to nothing.

    Attributes:
        whole: Whether rows lie as they came.
        count: How many pieces there are in all.
        within: The place of each piece in its row. Shape (all pieces,).
    """

    def __init__(
        self, lengths: Sequence[int], pieces: int, device: torch.device, total: Callable[[int], int] = int
    ) -> None:
        counts = np.asarray(lengths, dtype=np.int64)
        order = np.argsort(counts, kind="stable")
        self.shape = (len(counts), pieces)
        self.device = device
        self.lengths = counts[order]
        self.ends = self.lengths.cumsum()
        self.count = int(self.lengths.sum())
        more = np.zeros(total(self.count) - self.count, dtype=np.int64)
        self.whole = bool(counts.min(initial=pieces) == pieces) and not len(more)
        begins = self.ends - self.lengths
        within = np.arange(self.count) - np.repeat(begins, self.lengths)
        index = np.repeat(order * pieces, self.lengths) + within
        back = np.zeros(len(counts) * pieces, dtype=np.int64)
        back[index] = np.arange(len(index))
        within, index = np.concatenate([within, more]), np.concatenate([index, more])
        self.within, self._index, self._back = (torch.from_numpy(x).to(device) for x in (within, index, back))

    def flat(self, x: Tensor) -> Tensor:
        """(rows, pieces, ...) to (all pieces, ...)."""
        whole = x.flatten(0, 1)
        return whole if self.whole else whole.index_select(0, self._index)

    def filled(self, flat: Tensor) -> Tensor:
        """(all pieces, width) to (rows, pieces, width), where the vector of some piece fills up."""
        return (flat if self.whole else flat.index_select(0, self._back)).view(*self.shape, -1)

    @cached_property
    def groups(self) -> list[tuple[int, int, int]]:
        """For the rows of each length the places of their first piece, of the one after their last, and the length."""
        lengths, counts = np.unique(self.lengths[self.lengths > 0], return_counts=True)
        ends = (lengths * counts).cumsum()
        return [(int(e - n * c), int(e), int(n)) for e, n, c in zip(ends, lengths, counts, strict=True)]

    @cached_property
    def begins(self) -> Tensor:
        """Where each row begins, and the last one's end. Shape (rows + 1,)."""
        return torch.from_numpy(np.concatenate([[0], self.ends])).to(self.device, torch.int32)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Attention of each row's pieces to one another, (all pieces, width) each and returned."""
        if query.device.type == "cuda" and _takes_all(query.dtype, query.shape[1] // heads):
            return self._attend_all(query, key, value, heads)
        parts = [self._attend_alike(query, key, value, heads, group) for group in self.groups]
        if len(query) > self.count:
            parts.append(query[self.count :])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend_all(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = (x.view(len(x), heads, -1) for x in (query, key, value))  # (all pieces, heads, size)
        longest = int(self.lengths[-1])
        found = varlen_attn(query, key, value, self.begins, self.begins, longest, longest)
        assert isinstance(found, Tensor)
        return found.flatten(1)

    def _attend_alike(
        self, query: Tensor, key: Tensor, value: Tensor, heads: int, group: tuple[int, int, int]
    ) -> Tensor:
        """Attention in the rows of one length; (their pieces, width)."""
        start, end, length = group
        shape = ((end - start) // length, length, heads, query.shape[1] // heads)
        query, key, value = (x[start:end].view(shape).transpose(1, 2) for x in (query, key, value))
        found = short_attention(query, key, value, None)  # from (rows, heads, length, size)
        if found is None:
            found = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).contiguous()
        return found.view(end - start, -1)


@lru_cache
def _takes_all(dtype: torch.dtype, size: int) -> bool:
    """Whether a GPU can attend to rows of all lengths at once, with heads of this size."""
    fits = dtype in HALVES and size % MULTIPLE == 0 and size <= MOST
    there = torch.version.hip is None and find_spec("torch.nn.attention.varlen") is not None  # an older torch lacks it
    return fits and there
