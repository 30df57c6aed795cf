"""When in a run the encoder's weights are divided among processes: while a stage trains, and while it is scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.model import TRANSFORMER, Model
from polyhead.nn.sharding import Sharding
from polyhead.recipe import Recipe
from polyhead.training.conflicts import AGGREGATORS


def divides(recipe: Recipe) -> bool:
    """Whether the encoder's weights are divided: the recipe says so, and there are several processes."""
    return recipe.sharded and ranks.several()


def see_divided(recipe: Recipe) -> None:
    """See before anything is learnt that no stage asks for what weights in parts do not allow.

    Raises:
        PolyheadError: One does.
    """
    if not divides(recipe):
        return
    for number, stage in enumerate(recipe.stages, 1):
        asked = {
            "adapter": ("an adapter", stage.adapter is not None),
            "combine": (f"combine = {stage.combine!r}", stage.combine in AGGREGATORS),
            "cosines": (f"cosines = {stage.cosines}", bool(stage.cosines)),
        }
        for key, (what, there) in asked.items():
            if there:
                with recipe.blamed():
                    raise PolyheadError(
                        f"stages[{number}].{key}: {what} does not go with sharded = true: it needs whole gradients or "
                        "weights of the encoder.",
                        remedy=f"Leave {key} out, or sharded, if the encoder fits one device.",
                    )


class Division:
    """Divides a model's encoder among the processes, and puts it together again.

    Args:
        model: The model; while it is not divided it stays on the CPU, since it may fit no one device.
        device: Where each process computes.
        active: Whether anything is to be divided at all; if not, nothing is done.
    """

    def __init__(self, model: Model, device: torch.device, *, active: bool) -> None:
        self.model = model
        self.device = device
        self.active = active
        self.sharding: Sharding | None = None

    def begin(self, spared: str | None = None) -> None:
        """Divide; ``spared`` names a weight of the transformer that does not decay."""
        if not self.active:
            return
        self.sharding = Sharding(self.model.encoder, self.device, self.model.precision)
        self.sharding.spared = None if spared is None else TRANSFORMER + spared
        for module in (self.model.heads, self.model.mixes, self.model.encoder.case):
            if module is not None:
                module.to(self.device)

    def settle(self) -> None:
        """Be ready for weights to change, or to be frozen."""
        if self.sharding is not None:
            self.sharding.settle()

    def end(self) -> None:
        """Put together."""
        if self.sharding is not None:
            self.sharding.undo()
            self.sharding = None
            self.model.cpu()

    @contextmanager
    def during(self) -> Iterator[None]:
        """Divided inside the block."""
        self.begin()
        yield
        self.end()
