"""One model for each task of a run, alone with the weights that were best for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polyhead.errors import PolyheadError
from polyhead.files import check_place, read_json
from polyhead.model import BEST, Model, load_model
from polyhead.nn.tempered import set_temperatures, temperatures_of
from polyhead.scoring import Measured
from polyhead.training.lineage import end_lineage
from polyhead.training.run import Run, assess, write_card


def separate(run: str | Path, output: str | Path, *, tell: Callable[[str], object] = lambda _: None) -> dict[str, Path]:
    """Save a model for each task of a run: the encoder and this task's head, as they were best for it on dev.

    Each is a model folder that :func:`polyhead.load` opens, with a card of its own. A task without a dev split takes
    the run's own weights.

    Args:
        run: A finished run.
        output: Where to; new or empty. Each model's folder is called as its task.
        tell: Called with each note.

    Returns:
        The folder of each task's model.

    Raises:
        PolyheadError: There is no finished run, or the folder is taken.
    """
    folder, place = Run.open(run).folder, Path(output)
    check_place(place, folder=True)
    if place.exists() and any(place.iterdir()):
        raise PolyheadError(f"The output folder {str(place)!r} is not empty.", remedy="Choose another folder.")
    path = folder / BEST / "tasks.json"
    best = read_json(path) if path.exists() else {}
    saved = {}
    for name, task in load_model(folder).tasks.items():
        if task.head_of is not None:
            tell(f"tasks.{name} has the head of {task.head_of!r}, which is saved")
            continue
        where = best.get(name)
        model = _alone(load_model(folder, name if where else None), name)
        origin = (str(where["stage"]), int(where["epoch"])) if where else None
        if origin is not None:
            end_lineage(model.info, folder, *origin)
        else:
            tell(f"tasks.{name} has no best weights, since it has no dev split: the run's own are taken")
        saved[name] = place / name
        model.save(saved[name])
        measured = _measured(folder, name, bool(where), tell)
        write_card(folder, saved[name], model, measured, name=f"{folder.resolve().name}-{name}", best_of=origin)
    return saved


def _alone(model: Model, name: str) -> Model:
    """A model of one of the tasks, with the same weights."""
    task, info = model.tasks[name], dict(model.info)
    info["data"] = {data: spec for data, spec in info.get("data", {}).items() if data == task.data}
    info["units"] = {one: unit for one, unit in info.get("units", {}).items() if one == name}
    alone = Model(model.encoder, {name: task}, info)
    weights = model.state_dict()
    alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
    set_temperatures(alone.heads, temperatures_of(model.heads))
    return alone.eval()


def _measured(folder: Path, name: str, best: bool, tell: Callable[[str], object]) -> dict[str, Measured]:
    """What a task's own weights score on dev and test, as far as the data is still there."""
    recipe = Run.open(folder).recipe
    spec = recipe.data[str(recipe.tasks[name]["data"])]
    found = {}
    for split in ("dev", "test"):
        if getattr(spec, split) is None:
            continue
        try:
            found[split] = assess(folder, split=split, best=name if best else None, only=[name])
        except PolyheadError as error:
            tell(f"no scores of {name} on {split} in its card: {error.what}")
    return {split: measured for split, measured in found.items() if measured.scores}
