"""Batches laid out ahead of time: by a thread, while a GPU computes with those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Rows = NDArray[np.int64]
T = TypeVar("T")

DEPTH = 2
"""So many batches are laid out before they are asked for."""


class Ahead(Generic[T]):
    """Lays batches out in the order in which they will be asked for.

    Args:
        lay_out: What makes a batch of some examples at a step, counted from 0. It depends on nothing else.
        device: The GPU that computes, whose memory the thread pins.
    """

    def __init__(self, lay_out: Callable[[Rows, int], T], device: torch.device | None = None) -> None:
        self.lay_out = lay_out
        begin = partial(torch.cuda.set_device, device) if device is not None and device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "polyhead-ahead", begin)
        self._coming: Iterator[tuple[Rows, int]] = iter(())
        self._begun: deque[tuple[Rows, int, Future[T]]] = deque()

    def begin(self, coming: Iterable[tuple[Rows, int]]) -> None:
        """Lay these out from now on, and what was begun of others no more."""
        self._forget()
        self._coming = iter(coming)
        self._go_on()

    def take(self, rows: Rows, number: int) -> T:
        """The batch of these examples at this step, whether or not it was expected.

        Raises:
            Exception: What laying it out raised.
        """
        if self._begun and self._begun[0][1] == number and np.array_equal(self._begun[0][0], rows):
            made = self._begun.popleft()[2]
            self._go_on()
            return made.result()
        return self.lay_out(rows, number)

    def close(self) -> None:
        """End the thread."""
        self._forget()
        self._thread.shutdown()

    def _go_on(self) -> None:
        while len(self._begun) < DEPTH and (one := next(self._coming, None)) is not None:
            self._begun.append((*one, self._thread.submit(self.lay_out, *one)))

    def _forget(self) -> None:
        for *_, made in self._begun:
            made.cancel()
        self._begun.clear()
        self._coming = iter(())
