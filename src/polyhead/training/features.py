"""Which texts of a stage have features, that is, what layers that stay frozen make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polyhead.model import Model
from polyhead.nn.cache import find_cache
from polyhead.nn.features import Features
from polyhead.nn.keeping import keep_features
from polyhead.stage import Stage
from polyhead.training.learning import last_frozen
from polyhead.training.prepare import Material


def features_of(
    model: Model, material: Material, stage: Stage, tasks: Sequence[str], tell: Callable[[str], object]
) -> Features | None:
    """What the layers that stay frozen through a stage make of its training and dev texts; ``None`` without any.

    Args:
        model: Frozen as the stage begins, in the precision in which it will compute.
        material: The datasets.
        stage: What is frozen.
        tasks: All tasks that learn in the stage.
        tell: Called with each note.
    """
    if not stage.cache or last_frozen(stage, model.encoder.depth - 1) < 1:
        return None
    learning = [model.tasks[name] for name in tasks if model.tasks[name].annotates]  # others change their input
    splits = [gold.items for split in ("train", "dev") for gold in material.gold(split, learning).values()]
    if not splits:
        return None
    return keep_features(
        model.encoder,
        splits,
        all_layers=any(model.mix(name) is not None for name in tasks),
        precision=model.precision,
        cache=find_cache(),
        tell=tell,
    )
