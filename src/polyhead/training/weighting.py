"""How the losses of a batch's tasks become one number."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from polyhead.tasks import LossSum


def combine(losses: Mapping[str, LossSum], weights: Mapping[str, float], usual: Mapping[str, float]) -> Tensor:
    """The weighted sum of each task's loss per unit, a unit being a word or a text.

    A task's loss is divided by the units that a batch usually has of it, not by those that this batch happens to have:
    so every unit counts the same, and one text alone in a batch does not pull as hard as ten. (Dividing by the batch's
    own units cost two points of sentiment accuracy and of span F1 after the first epoch of the benchmark.)

    Args:
        losses: Of the tasks that some example of the batch carries; at least one.
        weights: What each task's loss counts.
        usual: The mean number of units of each task in a batch of this stage.
    """
    terms = [weights[name] * loss.total / max(1.0, usual[name]) for name, loss in losses.items()]
    return sum(terms[1:], start=terms[0])
