"""What several processes see to before they train one model: that they read, and are asked for, the same."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.launch import wishes
from polyhead.model import Model
from polyhead.recipe import Recipe
from polyhead.tasks import describe_task

SEEN_SECONDS = 60.0
"""For how long a process waits until it sees what another machine has written: network file systems lag behind."""


def launched_recipe(recipe: Recipe) -> Recipe:
    """A recipe with what accelerate's own options ask for.

    Raises:
        PolyheadError: They ask for something that polyhead does not do, or that the recipe contradicts.
    """
    asked = wishes()
    if asked.bf16 and recipe.precision == "fp32":
        raise PolyheadError(
            'accelerate asks for mixed_precision bf16, the recipe for precision = "fp32".',
            remedy='Take "auto" in the recipe, or no in accelerate.',
        )
    return recipe.model_copy(
        update={
            "precision": "bf16" if asked.bf16 else recipe.precision,
            "sharded": recipe.sharded or asked.sharded,
        }
    )


def see_alike(recipe: Recipe, model: Model, facts: Mapping[str, Any]) -> None:
    """See that all processes are about to train the same model on the same data."""
    known = [describe_task(task) for task in model.tasks.values()]
    stages = [stage.model_dump() for stage in recipe.stages]
    settings = [recipe.seed, recipe.precision, recipe.sharded, str(recipe.device).partition(":")[0]]
    ranks.see_same("version", json.dumps([facts[name] for name in ("polyhead", "torch", "transformers")]))
    ranks.see_same("dataset", json.dumps(facts["fingerprints"]))
    ranks.see_same("recipe", json.dumps([*settings, stages, known], default=str))
    ranks.see_same("tokenizer", hashlib.sha256(model.encoder.tokenizer.tokenizer.to_str().encode()).hexdigest())


def see_shared(folder: Path) -> None:
    """See that all processes see the run's folder: they read from it what the first one writes there."""
    ranks.wait()
    end = time.monotonic() + SEEN_SECONDS
    while ranks.several() and not (folder / "recipe.toml").exists():
        if time.monotonic() > end:
            raise PolyheadError(
                f"Process {ranks.rank()}, on {socket.gethostname()}, does not see the run's folder "
                f"{str(folder.absolute())!r}, into which the first process writes.",
                remedy="Put runs into a folder that all machines share, by the same path.",
            )
        time.sleep(0.1)
