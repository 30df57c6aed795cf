"""A transformer in two halves, each of which runs alone: the embeddings and the first layers, and the layers above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Mapping[str, Tensor]
"""What a transformer takes, by its own names."""

STATES = "states"
"""What the lower half's output is called among the inputs of the upper half."""

ALIKE = 1e-4
"""By how much of the largest value two ways to the same vector may differ: they do the same sums."""


class Halves:
    """The lower and the upper half of a transformer, without a copy of its code.

    The whole transformer is called for either half, so masks and positions are its own affair; but each layer of the
    other half hands on what it is given. Where a layer needs more from another one than its vectors (T5's first layer
    computes position biases for all), that goes wrong: see :meth:`fit`.

    Args:
        transformer: A model of the transformers library.
        layers: Its layers, in order.
        level: How many of them make the lower half; at least one, and not all.
    """

    def __init__(self, transformer: nn.Module, layers: Sequence[nn.Module], level: int) -> None:
        self.transformer = transformer
        self.layers = layers
        self.level = level
        self._sizes: list[int | None] = [None] * len(layers)  # of the tuples that layers return; None: a tensor alone

    def below(self, inputs: Inputs) -> list[Tensor]:
        """What goes into the first layer and what comes out of each layer of the lower half. (rows, pieces, width)
        each; nothing above is computed.
        """
        kept: list[Tensor] = []
        with ExitStack() as stack:
            for number in range(self.level, len(self.layers)):
                stack.enter_context(self._handing_on(number))
            stack.enter_context(_watched(self.layers[0], kept, before=True))
            for layer in self.layers[: self.level]:
                stack.enter_context(_watched(layer, kept))
            self.transformer(**inputs)
        return kept

    def above(self, inputs: Inputs, *, all_layers: bool = False) -> list[Tensor]:
        """What comes out of the upper half's layers, or of the last one alone. (rows, pieces, width) each.

        Args:
            inputs: As for the whole, and as ``STATES`` what came out of the lower half, (rows, pieces, width).
            all_layers: Whether the layers below the last are wanted, too.
        """
        states = inputs[STATES]
        inputs = {name: given for name, given in inputs.items() if name != STATES}
        kept: list[Tensor] = []
        with ExitStack() as stack:
            for number in range(self.level):
                given = states if number == self.level - 1 else None
                stack.enter_context(self._handing_on(number, given))
            for layer in self.layers[self.level : -1] if all_layers else ():
                stack.enter_context(_watched(layer, kept))
            last: Tensor = self.transformer(**inputs).last_hidden_state
        return [*kept, last]

    def fit(self, inputs: Inputs, mask: Tensor | None, whole: Callable[[], Sequence[Tensor]]) -> bool:
        """Whether both halves together give what the whole does, tried on a few texts.

        Args:
            inputs: A small batch, best of texts of several lengths.
            mask: True where there is a piece; ``None``: everywhere. Shape (rows, pieces).
            whole: Runs the whole on this batch; gives all its layers, or the last one alone.
        """
        try:
            with ExitStack() as stack:
                for number, layer in enumerate(self.layers):
                    stack.enter_context(self._seen(number, layer))
                expected = list(whole())
            states = self.below(inputs)
            found = [*states, *self.above({**inputs, STATES: states[-1]}, all_layers=True)]
        except Exception:  # whatever a family's own code makes of layers that do nothing
            return False
        found = found[-1:] if len(expected) == 1 else found
        there = slice(None) if mask is None else mask.bool()
        return len(found) == len(expected) and all(
            one.shape == other.shape and _alike(one[there], other[there])
            for one, other in zip(found, expected, strict=True)
        )

    @contextmanager
    def _handing_on(self, number: int, given: Tensor | None = None) -> Iterator[None]:
        """Let a layer return its input, or what is given, in the form in which it returns its output."""
        layer, size = self.layers[number], self._sizes[number]

        def hand_on(*args: Any, **named: Any) -> Any:
            first = args[0] if args else named["hidden_states"]
            hidden = first if given is None else given
            return hidden if size is None else (hidden, *[None] * (size - 1))

        layer.forward = hand_on
        try:
            yield
        finally:
            del layer.forward

    @contextmanager
    def _seen(self, number: int, layer: nn.Module) -> Iterator[None]:
        """Take note of the form in which a layer returns its output."""

        def note(_layer: nn.Module, _args: Any, output: Any) -> None:
            self._sizes[number] = len(output) if isinstance(output, tuple) else None

        handle = layer.register_forward_hook(note)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def _watched(layer: nn.Module, kept: list[Tensor], *, before: bool = False) -> Iterator[None]:
    """Keep what goes into a layer, or what comes out of it."""

    def keep_input(_layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        kept.append(args[0] if args else named["hidden_states"])

    def keep_output(_layer: nn.Module, _args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    hook = layer.register_forward_pre_hook(keep_input, with_kwargs=True) if before else None
    handle = hook or layer.register_forward_hook(keep_output)
    try:
        yield
    finally:
        handle.remove()


def _alike(one: Tensor, other: Tensor) -> bool:
    one, other = one.float(), other.float()
    return bool(torch.isfinite(one).all()) and bool((one - other).abs().max() <= ALIKE * other.abs().max())
