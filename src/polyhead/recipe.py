"""The recipe: a TOML file that names the encoder, the datasets, the tasks and the stages. Strict."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator

from polyhead.data import DataSpec
from polyhead.data.spec import RESERVED
from polyhead.data.text import missing_file
from polyhead.data.writers import is_key, set_apart, taken_for_confidence
from polyhead.encoder_spec import EncoderSpec, StartSpec, check_encoder, check_start
from polyhead.errors import PolyheadError, in_recipe, nearest
from polyhead.explain import explain
from polyhead.files import is_utf8, possible
from polyhead.nn.loading import BUNDLED
from polyhead.stage import STRICT, Stage
from polyhead.tasks import Task, describe_task, make_tasks

_NAME, _NAME_IN_WORDS = r"[A-Za-z0-9_-]*", "letters, digits, - and _"
"""What tasks and stages may be called: these names become names of files."""


class Recipe(BaseModel):
    """A whole recipe. ``base`` is the folder that its paths start from."""

    model_config = STRICT

    encoder: str | EncoderSpec = Field(
        default="minilm", description="The encoder: the name of a pretrained one, or a table."
    )
    start: StartSpec | None = Field(
        default=None, description="A previous run that the model goes on from, in place of an encoder."
    )
    seed: int = Field(
        default=1, ge=0, lt=2**63, description="Where random numbers start: heads, order of examples, dropout."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="The numbers to train with; auto takes bf16 where this machine gains from it."
    )
    device: str = Field(
        default="auto",
        description="Where to train: auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:1, mps.",
    )
    sharded: bool = Field(
        default=False,
        description="Whether several processes divide the encoder's weights among them (FSDP), for encoders that do "
        "not fit one device, see scale.md; in one process it changes nothing.",
    )
    licence: str | None = Field(
        default=None, min_length=1, description="The licence of the trained model, for its card, as apache-2.0."
    )
    data: dict[str, DataSpec] = Field(description="The datasets by name.", min_length=1)
    tasks: dict[str, dict[str, Any]] = Field(description="The tasks by name.", min_length=1)
    stages: list[Stage] = Field(
        default_factory=lambda: [Stage()],
        description="What happens, in order; by default one joint stage.",
        min_length=1,
    )
    base: Path = Field(default=Path(), exclude=True, strict=False)
    _source: tuple[Path, str] | None = PrivateAttr(default=None)

    @field_validator("encoder")
    @classmethod
    def _path(cls, encoder: str | EncoderSpec) -> str | EncoderSpec:
        return possible(encoder) if isinstance(encoder, str) else encoder

    @contextmanager
    def blamed(self, key: str = "") -> Iterator[None]:
        """What the block finds wrong, and names no file for, is told as a fault of the recipe's file, with its line.

        Args:
            key: The key at fault, for messages that do not begin with one.
        """
        try:
            yield
        except PolyheadError as error:
            if error.file is not None or self._source is None:
                raise
            raise in_recipe(error, *self._source, key) from error

    @property
    def encoder_spec(self) -> EncoderSpec:
        """The encoder's table with its defaults, whichever form the recipe has; not used where there is a ``start``."""
        spec = EncoderSpec(name=self.encoder) if isinstance(self.encoder, str) else self.encoder
        return spec.resolved()

    def make_tasks(self) -> dict[str, Task]:
        """The tasks by name, not yet prepared.

        Raises:
            PolyheadError: A setting of a task is wrong.
        """
        if str(self.base.resolve()) not in sys.path:
            sys.path.append(str(self.base.resolve()))  # a user's own task type may stand beside the recipe
        return make_tasks(self.tasks)

    def to_toml(self) -> str:
        """The recipe with every default written out and paths made absolute; it trains the same model again."""
        data = {name: _absolute(spec, self.base) for name, spec in self.data.items()}
        tasks = {}
        for name, task in self.make_tasks().items():
            learnt = {f for f, field in task.__dataclass_fields__.items() if field.metadata.get("learnt")}
            plain = describe_task(task).items()
            tasks[name] = {k: v for k, v in plain if v is not None and k != "name" and k not in learnt}
        whole = {
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            **({"sharded": True} if self.sharded else {}),
            **({} if self.licence is None else {"licence": self.licence}),
            **self._origin(),
            "data": data,
            "tasks": tasks,
            "stages": [_absolute_teachers(stage, self.base).model_dump(exclude_none=True) for stage in self.stages],
        }
        return tomli_w.dumps(whole)

    def _origin(self) -> dict[str, Any]:
        """Where the model starts, with defaults written out and paths made absolute."""
        if self.start is not None:
            run = str((self.base / Path(self.start.run).expanduser()).resolve())
            return {"start": {**self.start.model_dump(exclude_none=True), "run": run}}
        encoder = self.encoder_spec.model_dump(exclude_none=True)
        name = encoder.get("name")
        if name is not None and name not in BUNDLED and (self.base / name).is_dir():
            encoder["name"] = str((self.base / name).resolve())
        return {"encoder": encoder}


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe; nothing is trained or loaded.

    Raises:
        PolyheadError: The file is missing or no TOML, or a key or value is wrong; names the line and the remedy.
    """
    path = Path(path)
    base = path.parent.resolve()
    if not is_utf8(base):
        raise PolyheadError(
            "The recipe stands in a folder whose name is not UTF-8, and the run could not write it down.",
            file=path,
            remedy="Rename the folder.",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except FileNotFoundError as error:
        near = missing_file(path).remedy
        remedy = near if near.startswith("Did you mean") else "polyhead new FILE... writes one."
        raise PolyheadError("There is no such recipe.", file=path, remedy=remedy) from error
    except OSError as error:
        raise PolyheadError(f"The recipe cannot be read: {error.strerror}.", file=path) from error
    except UnicodeDecodeError as error:
        broken = path.read_bytes()[: error.start].count(b"\n") + 1
        raise PolyheadError("The recipe is not UTF-8.", file=path, line=broken, remedy="Save it as UTF-8.") from error
    except RecursionError as error:
        raise PolyheadError("The recipe is nested too deeply.", file=path, remedy="Mend its brackets.") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        where = int(found[1]) if found else None
        raise PolyheadError(f"This is not TOML: {error}.", file=path, line=where, remedy="Mend the line.") from error
    try:
        recipe = make_recipe(table, base=base)
    except PolyheadError as error:
        if error.file is not None:
            raise
        raise in_recipe(error, path, text) from error
    recipe._source = path, text
    return recipe


def make_recipe(table: dict[str, Any], *, base: Path = Path()) -> Recipe:
    """A recipe from a plain table, as TOML gives it.

    Raises:
        PolyheadError: A key or value is wrong.
    """
    if "base" in table:  # ours alone
        raise PolyheadError("The recipe has an unknown key 'base'.", remedy="Paths start from the recipe's own folder.")
    try:
        recipe = Recipe.model_validate({**table, "base": base})
    except ValidationError as error:
        raise explain(error, Recipe) from error
    check_encoder(recipe.encoder_spec)
    if recipe.start is not None:
        check_start(recipe.start, recipe.tasks, encoder="encoder" in table)
        _check_owners("start.fresh", recipe.start.fresh, recipe.tasks)
        _check_owners("start.heads", recipe.start.heads, recipe.tasks)
    _check_tasks(recipe)
    recipe = named_stages(recipe)
    _check_stages(recipe)
    return recipe


def _check_owners(key: str, names: Collection[str], tables: Mapping[str, Mapping[str, Any]]) -> None:
    """A task that shares another's head begins as that one does, so a key that says how heads begin cannot name it."""
    for name in names:
        if (other := tables[name].get("head_of")) is not None:
            raise PolyheadError(
                f"{key} names {name!r}, which has the head of {other!r}.", remedy=f"Name {other!r} instead."
            )


def _check_tasks(recipe: Recipe) -> None:
    for name in recipe.tasks:
        if not name or not re.fullmatch(_NAME, name):
            raise PolyheadError(f"tasks.{name!r}: the name has other characters than {_NAME_IN_WORDS}.")
    tasks = recipe.make_tasks()
    for name, task in tasks.items():
        if task.data not in recipe.data:
            raise PolyheadError(
                f"tasks.{name}.data = {task.data!r} is no dataset of the recipe.",
                remedy=nearest(task.data, recipe.data),
            )
        if task.annotates:
            _check_layer_name(name, task.layer, recipe.data[task.data])
    answering = {name: task for name, task in tasks.items() if task.answers}
    _check_confidences(answering, recipe.data)
    for number, stage in enumerate(recipe.stages, 1):
        if not re.fullmatch(_NAME, stage.name):
            raise PolyheadError(f"stages[{number}].name = {stage.name!r} has other characters than {_NAME_IN_WORDS}.")
        for key, names in (("tasks", stage.tasks), ("weights", stage.weights)):
            for name in names:
                if name not in recipe.tasks:
                    raise PolyheadError(
                        f"stages[{number}].{key} names {name!r}, which is no task of the recipe.",
                        remedy=nearest(name, recipe.tasks),
                    )


def _check_layer_name(task: str, layer: str, spec: DataSpec) -> None:
    """A layer's name becomes a field of the answers in JSON, and a key in CoNLL-U."""
    if layer in RESERVED:
        what = "but that name has a meaning of its own"
    elif not is_key(_key(layer, spec)):
        what = "which cannot be a key of CoNLL-U: it is blank or holds '=', '|' or a line break"
    else:
        return
    raise PolyheadError(
        f"tasks.{task}.layer = {layer!r}, {what}.",
        remedy=f"Give the layer another name in the dataset, as layers = {{ {task} = {json.dumps(layer)} }}.",
    )


def _key(layer: str, spec: DataSpec) -> str:
    return spec.misc.get(layer) or spec.comments.get(layer) or layer


def _check_confidences(tasks: Mapping[str, Task], data: Mapping[str, DataSpec]) -> None:
    """How sure a task is stands beside its answers under a name that no other task's answers may have."""
    fields = set_apart({name: task.layer for name, task in tasks.items()})
    for names in (fields, {name: _key(task.layer, data[task.data]) for name, task in tasks.items()}):
        if clash := taken_for_confidence(names):
            sure, other = clash
            raise PolyheadError(
                f"tasks.{other}.layer = {tasks[other].layer!r}, but {names[other]!r} is what answers call "
                f"the confidence of tasks.{sure}.",
                remedy="Give one of the two layers another name in its dataset, or one of the tasks.",
            )


def named_stages(recipe: Recipe) -> Recipe:
    """Every stage gets a name of its own and an explicit list of tasks."""
    stages = [
        stage.model_copy(update={"name": stage.name or f"stage-{i}", "tasks": stage.tasks or list(recipe.tasks)})
        for i, stage in enumerate(recipe.stages, 1)
    ]
    names = [stage.name for stage in stages]
    for i, name in enumerate(names):
        if name in names[:i]:
            remedy = "Give each stage a name of its own."
            raise PolyheadError(f"stages[{i + 1}].name = {name!r} is the name of an earlier stage, too.", remedy=remedy)
    return recipe.model_copy(update={"stages": stages})


def replayed_tasks(recipe: Recipe, number: int, known: Collection[str]) -> list[str]:
    """The tasks of earlier stages that a stage, counted from 0, goes on with as it replays their data.

    Args:
        recipe: With named stages.
        number: The stage's.
        known: The tasks that the run which the recipe starts from has learnt.
    """
    stage = recipe.stages[number]
    if not stage.replay:
        return []
    earlier = {*known, *(name for before in recipe.stages[:number] for name in before.tasks)}
    return [name for name in recipe.tasks if name in earlier and name not in stage.tasks]


def _check_stages(recipe: Recipe) -> None:
    """See that what stages ask for goes together."""
    for number, stage in enumerate(recipe.stages, 1):
        place = f"stages[{number}]"
        if recipe.start is None:  # else it is to be seen what the run has learnt
            check_replay(recipe, number - 1)
        named: list[tuple[str, Collection[str]]] = [("fresh", stage.fresh)]
        if stage.distil is not None:
            named += [("distil.heads", stage.distil.heads), ("distil.tasks", stage.distil.tasks)]
        for key, names in named:
            for name in names:
                if name not in stage.tasks:
                    raise PolyheadError(
                        f"{place}.{key} names {name!r}, which is no task of the stage.",
                        remedy=nearest(name, stage.tasks),
                    )
        if stage.distil is not None and stage.distil.tasks:
            for name in stage.distil.heads:
                if name not in stage.distil.tasks:
                    raise PolyheadError(
                        f"{place}.distil.heads names {name!r}, which distil.tasks leaves out.",
                        remedy="Add it to distil.tasks, or leave it out of distil.heads.",
                    )
        _check_owners(f"{place}.fresh", stage.fresh, recipe.tasks)
        if stage.adapter is not None and (stage.freeze != "nothing" or stage.thaw is not None):
            key = "thaw" if stage.thaw is not None else "freeze"
            raise PolyheadError(
                f"{place}.{key} = {getattr(stage, key)!r} does not go with an adapter, which freezes the encoder.",
                remedy=f"Leave {key} out, or the adapter.",
            )


def check_replay(recipe: Recipe, number: int, known: Collection[str] = ()) -> None:
    """See that a stage which replays has something to replay; arguments as for :func:`replayed_tasks`.

    Raises:
        PolyheadError: It has not.
    """
    share = recipe.stages[number].replay
    if share and not replayed_tasks(recipe, number, known):
        before = "no earlier stage trains" if recipe.start is None else "neither an earlier stage nor the run trained"
        raise PolyheadError(
            f"stages[{number + 1}].replay = {share} has nothing to replay: {before} another task.",
            remedy="Leave it out, or put a stage with other tasks before.",
        )


def _absolute(spec: DataSpec, base: Path) -> dict[str, Any]:
    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(item) for item in value]
        return str((base / Path(value).expanduser()).resolve()) if isinstance(value, str) else value

    dumped = spec.model_dump(exclude_none=True)
    return {k: resolve(v) if k in ("train", "dev", "test") else v for k, v in dumped.items()}


def _absolute_teachers(stage: Stage, base: Path) -> Stage:
    if stage.distil is None:
        return stage
    teachers = [str((base / Path(one).expanduser()).resolve()) for one in stage.distil.teachers]
    return stage.model_copy(update={"distil": stage.distil.model_copy(update={"teachers": teachers})})
