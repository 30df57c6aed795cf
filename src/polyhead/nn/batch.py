"""Batches: examples of any dataset laid out as rows of pieces (see ``layout``), as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.nn.layout import Rows, cut_batches, laid_out, lay_out, padded_length, rows_of, windows
from polyhead.nn.pieces import Pieces, PieceTokenizer

__all__ = ["Batch", "Slots", "collate", "cut_batches", "laid_out", "padded_length", "rows_of", "windows"]


@dataclass(frozen=True, slots=True)
class Slots:
    """Where the vectors of a batch's rows are kept that were computed before. On the CPU, whatever the batch.

    Attributes:
        files: The number of the file that holds each row; -1 if none does. Shape (rows,).
        index: The place of each piece, filling included, in its row's file. Shape (rows, pieces).
        words: The batch's ``words``.
    """

    files: NDArray[np.int64]
    index: Tensor
    words: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples as rows of pieces. A text longer than the encoder's window takes several rows.

    Attributes:
        ids: Piece ids. Shape (rows, pieces).
        mask: True where there is a piece; ``None`` if no row is filled up. Shape (rows, pieces).
        types: Type ids; ``None`` if all are 0. Shape (rows, pieces).
        owners: The example of each row; ``None`` if row i is example i. Shape (rows,).
        words: For each word of the batch the index of its first piece in ``ids.flatten()``. Shape (all words,).
        lasts: For each word likewise the index of its last piece, in the same row. Shape (all words,).
        texts: The words of each example (none for raw text).
        case: How the word of each piece is capitalised, where the tokenizer drops that; ``None`` if no word is.
            Shape (rows, pieces).
        slots: Where what frozen layers make of the rows is kept, if it is.
        blanks: For each example whether the tokenizer leaves nothing of it: an unknown piece stands there alone.
    """

    ids: Tensor
    mask: Tensor | None
    types: Tensor | None
    owners: Tensor | None
    words: Tensor
    lasts: Tensor
    texts: tuple[tuple[str, ...], ...]
    case: Tensor | None = None
    slots: Slots | None = None
    blanks: tuple[bool, ...] = ()

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.texts)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return self if device.type == "cpu" else self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU copies from while it computes."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with all tensors changed but those of ``slots``, which stay on the CPU."""
        own: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: change(one) for name, one in own.items() if isinstance(one, Tensor)}
        return replace(self, **changed)


def collate(items: Sequence[Pieces], tokenizer: PieceTokenizer, window: int) -> Batch:
    """Lay examples out as rows.

    Args:
        items: The pieces of each example.
        tokenizer: Gives the special pieces.
        window: The most pieces a row may have, special ones included.
    """
    return _tensors(lay_out(items, tokenizer, window))


def _tensors(rows: Rows) -> Batch:
    def tensor(array: NDArray[Any] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array)

    return Batch(
        ids=torch.from_numpy(rows.ids),
        mask=tensor(rows.mask),
        types=tensor(rows.types),
        owners=tensor(rows.owners),
        words=torch.from_numpy(rows.words),
        lasts=torch.from_numpy(rows.lasts),
        texts=rows.texts,
        case=tensor(rows.case),
        blanks=rows.blanks,
    )
