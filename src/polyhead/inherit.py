"""A head that goes on from another one: weights that stand for labels are matched by the labels' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polyhead.tasks import Head


class MisfitError(ValueError):
    """Two heads of different shape."""


class Places(NamedTuple):
    """Where the weights of shared labels are along one axis, in the new and in the earlier parameter. Shapes (n,)."""

    new: Tensor
    earlier: Tensor


def inherit(head: Head, earlier: Head) -> None:
    """Copy what an earlier head learnt onto a new one, of other labels perhaps; labels new to it stay as they are.

    Args:
        head: The new head; changed in place.
        earlier: The head to go on from.

    Raises:
        MisfitError: A parameter is missing, or differs in a size that stands for no labels. Then nothing has changed.
    """
    ours, theirs = head.state_dict(), earlier.state_dict()  # the same memory as the parameters
    if ours.keys() != theirs.keys():
        name = sorted(ours.keys() ^ theirs.keys())[0]
        raise MisfitError(
            f"it has {'no' if name in theirs else 'a'} parameter {name!r}, the run's has {_other(name, theirs)}"
        )
    new_axes, old_axes = head.label_axes(), earlier.label_axes()
    plan = {
        name: _places(name, ours[name], theirs[name], new_axes.get(name, {}), old_axes.get(name, {})) for name in ours
    }
    with torch.no_grad():
        for name, places in plan.items():
            _copy(ours[name], theirs[name].to(ours[name].device), places)
    head.settle(earlier)


def _other(name: str, theirs: dict[str, Tensor]) -> str:
    return "one" if name in theirs else "none"


def _places(
    name: str, new: Tensor, old: Tensor, new_axes: dict[int, list[str]], old_axes: dict[int, list[str]]
) -> list[Places]:
    """For each axis of a parameter the places to copy to and from."""
    if new.dim() != old.dim() or new_axes.keys() != old_axes.keys():
        raise MisfitError(f"its {name!r} is of shape {tuple(new.shape)}, the run's of shape {tuple(old.shape)}")
    found = []
    for axis, (size, before) in enumerate(zip(new.shape, old.shape, strict=True)):
        labels, known = new_axes.get(axis), old_axes.get(axis)
        if labels is None or known is None:
            if size != before:
                raise MisfitError(f"its {name!r} is of shape {tuple(new.shape)}, the run's of shape {tuple(old.shape)}")
            found.append(Places(torch.arange(size), torch.arange(size)))
            continue
        for length, names in ((size, labels), (before, known)):
            if not names or length % len(names):
                raise MisfitError(f"label_axes gives {len(names)} labels for {length} weights of {name!r}")
        if size * len(known) != before * len(labels):
            raise MisfitError(
                f"its {name!r} has {size // len(labels)} weights for a label, the run's {before // len(known)}"
            )
        found.append(_shared(labels, known, size // len(labels)))
    return found


def _shared(labels: Sequence[str], known: Sequence[str], stretch: int) -> Places:
    """The places of the labels that are in both lists, each of which has a stretch of the axis."""
    index = {label: i for i, label in enumerate(known)}
    pairs = [(i, index[label]) for i, label in enumerate(labels) if label in index]
    starts = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2) * stretch
    within = torch.arange(stretch)
    return Places(*((starts[:, side, None] + within).flatten() for side in (0, 1)))


def _copy(new: Tensor, old: Tensor, places: Sequence[Places]) -> None:
    if not places:  # a single number
        new.copy_(old)
        return
    for axis, place in enumerate(places):
        old = old.index_select(axis, place.earlier.to(old.device))
    new[torch.meshgrid(*(place.new.to(new.device) for place in places), indexing="ij")] = old.to(new.dtype)
