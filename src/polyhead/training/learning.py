"""What of the encoder learns at which step of a stage."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.errors import PolyheadError
from polyhead.nn.adapt import find_peft
from polyhead.nn.cache import find_cache
from polyhead.nn.encoder import Encoder
from polyhead.nn.layers import EMBEDDINGS
from polyhead.stage import Stage
from polyhead.training.conflicts import AGGREGATORS, make_aggregator

NOTHING = EMBEDDINGS - 1
"""The frozen level where everything learns."""


def first_frozen(stage: Stage, layers: int) -> int:
    """The highest level that is frozen when the stage begins: ``NOTHING``, 0 for the embeddings, or a layer's number.

    Args:
        stage: Its ``freeze`` and ``thaw``.
        layers: How many layers the encoder has.
    """
    freeze = "encoder" if stage.thaw is not None and stage.freeze == "nothing" else stage.freeze
    if isinstance(freeze, int):
        return freeze
    return {"nothing": NOTHING, "embeddings": EMBEDDINGS, "encoder": layers}[freeze]


def frozen_at(stage: Stage, layers: int, *, epoch: int, share: float) -> int:
    """The highest level that is frozen at a point of the stage.

    Gradual unfreezing (Howard and Ruder 2018) begins with the top layer and ends with the embeddings.

    Args:
        stage: Its ``freeze`` and ``thaw``.
        layers: How many layers the encoder has.
        epoch: The number of epochs done.
        share: The share of the stage's steps done.
    """
    first = first_frozen(stage, layers)
    if stage.thaw is None:
        return first
    thawed = epoch if stage.thaw == "epoch" else int(share / stage.thaw + 1e-9)
    return max(NOTHING, first - thawed)


def last_frozen(stage: Stage, layers: int) -> int:
    """The highest level that never learns in the stage."""
    return frozen_at(stage, layers, epoch=stage.epochs - 1, share=1.0)


def see_extras(stages: Sequence[Stage]) -> None:
    """See before the first stage that the libraries are there which a later one needs, and that its cache is in order.

    Raises:
        PolyheadError: One is not installed, or the environment's bound on the cache is no number.
    """
    for stage in stages:
        if stage.cache and (stage.freeze != "nothing" or stage.thaw is not None):
            find_cache()
        if stage.adapter is not None:
            find_peft()
        if stage.combine in AGGREGATORS:
            make_aggregator(stage.combine)


def see_layers(stages: Sequence[Stage], encoder: Encoder) -> None:
    """See before the first stage that the encoder has the layers which stages speak of.

    Raises:
        PolyheadError: It has fewer, or they cannot be told apart.
    """
    layers = encoder.depth - 1
    for number, stage in enumerate(stages, 1):
        if isinstance(stage.freeze, int) and stage.freeze > layers:
            raise PolyheadError(
                f"stages[{number}].freeze = {stage.freeze}, but the encoder has {layers} layers.",
                remedy='Take fewer, or freeze = "encoder".',
            )
        some = NOTHING < first_frozen(stage, layers) < layers
        if some or stage.thaw is not None or stage.layer_decay < 1:
            encoder.levels()
