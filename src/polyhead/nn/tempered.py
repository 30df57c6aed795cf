"""Temperatures: what logits are divided by before they become confidences (Guo et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyhead.errors import PolyheadError
from polyhead.nn.words import IGNORE

COOLEST, HOTTEST = 1 / 8, 8.0
"""The bounds of a temperature."""


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """The logarithms of the probabilities of logits over a temperature. Shapes (..., choices).

    Log probabilities are logits, too: at a temperature of 1 they stay what they are.
    """
    return torch.log_softmax(logits / temperature, dim=-1)


def surprises(logits: Tensor, gold: Tensor, counts: Sequence[int], temperatures: Sequence[float]) -> Tensor:
    """The negative log likelihood of the gold of each example at each temperature.

    Args:
        logits: Shape (units, choices).
        gold: A choice for each unit, or ``IGNORE``. Shape (units,).
        counts: How many of the units each example has.
        temperatures: What logits are divided by.

    Returns:
        Shape (examples, temperatures).
    """
    each = [nn.functional.cross_entropy(logits / t, gold, ignore_index=IGNORE, reduction="none") for t in temperatures]
    return summed(torch.stack(each, dim=1), counts)


def summed(units: Tensor, counts: Sequence[int]) -> Tensor:
    """Sums over the units of each example, from (units, n) to (examples, n)."""
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts)))
    total = units.new_zeros(len(counts), units.shape[1])
    return total.index_add(0, owners.to(units.device), units)


def temperatures_of(heads: nn.ModuleDict) -> dict[str, float]:
    """The temperatures of heads that have another than 1."""
    found = {name: float(cast(Any, head).temperature) for name, head in heads.items()}
    return {name: temperature for name, temperature in found.items() if temperature != 1}


def set_temperatures(heads: nn.ModuleDict, known: Mapping[str, Any]) -> None:
    """Give heads these temperatures, and all others 1.

    Raises:
        PolyheadError: One is no number that makes sense.
    """
    for name, head in heads.items():
        found = known.get(name, 1.0)
        right = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        if not right or not COOLEST <= found <= HOTTEST:
            raise PolyheadError(
                f"The temperature of {name!r} in config.json is {found!r}.",
                remedy=f"It is a number from {COOLEST} to {HOTTEST:g}; 1 leaves confidences as they are.",
            )
        cast(Any, head).temperature = float(found)
