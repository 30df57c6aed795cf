"""Where a run's model starts: a pretrained encoder, one from scratch, or a previous run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from polyhead.data import Dataset
from polyhead.data.text import listed
from polyhead.encoder_spec import StartSpec
from polyhead.errors import PolyheadError, nearest
from polyhead.files import fingerprint, read_json, whole, write_json
from polyhead.inherit import MisfitError, inherit
from polyhead.model import BEST, Model, load_model
from polyhead.nn.encoder import Encoder
from polyhead.nn.extending import Extension, Reach, extend, learn_extension
from polyhead.nn.layers import EMBEDDINGS
from polyhead.nn.loading import draw_saved_encoder, load_encoder, save_plan
from polyhead.nn.scratch import Shape, build_encoder, reinitialise
from polyhead.recipe import Recipe
from polyhead.tasks import Head, Task, describe_task, restore_task
from polyhead.training.checkpoint import has_checkpoint
from polyhead.training.learning import last_frozen
from polyhead.training.lineage import end_lineage

KEPT = "start"
"""The folder of an unfinished run that holds what resuming needs of where it started."""


@dataclass
class Origin:
    """Where a model starts, found before the data is read.

    Attributes:
        recipe: What says so.
        model: The previous run's model, if there is one and its weights are still wanted.
        earlier: For each task that goes on from a head of the previous run, the task of that head.
        fingerprint: The SHA-256 of the previous run's model, else empty.
        kept: The run's folder of what resuming needs, if a run that was ended before is gone on with.
        notes: The size of an encoder from scratch, and what became of each head; sentences for people.
    """

    recipe: Recipe
    model: Model | None = None
    earlier: dict[str, Task] = field(default_factory=dict)
    fingerprint: str = ""
    kept: Path | None = None
    notes: list[str] = field(default_factory=list)
    extension: Extension | None = None

    def encoder(self, datasets: Mapping[str, Dataset], tasks: Mapping[str, Task]) -> Encoder:
        """The encoder, as it is before the first step. If nothing else is said, it takes texts for such in the language
        of the first dataset that names one.

        Args:
            datasets: Their training splits are what a tokenizer, or its new pieces, is learnt from.
            tasks: The recipe's tasks; those that write with the encoder's pieces have their targets learnt from, too.

        Raises:
            PolyheadError: The encoder cannot be loaded, or does not fit what the recipe wants of it.
        """
        made = self._encoder(datasets, tasks)
        learnt_from = {task.data for task in tasks.values()}
        codes = {name: one.language_code for name, one in self.recipe.data.items() if name in learnt_from}
        with self.recipe.blamed():
            read_languages(made, {name: code for name, code in codes.items() if code is not None})
        return made

    def _encoder(self, datasets: Mapping[str, Dataset], tasks: Mapping[str, Task]) -> Encoder:
        if self.model is not None:
            return self.model.encoder
        seed = self.recipe.seed
        spec = self.recipe.encoder_spec
        if self.kept is not None and spec.extend is None:
            return draw_saved_encoder(self.kept / "encoder", _read_kept(self.kept)["encoder"], seed)
        if spec.name is None:
            shape = Shape(**spec.model_dump(include=set(Shape.__dataclass_fields__)))
            made = build_encoder(training_texts(datasets.values()), shape, seed)
            self.notes.append(_size_of(made, shape.vocabulary))
            return made
        draw = seed if spec.untrained else None
        with self.recipe.blamed("encoder.name"):
            encoder = load_encoder(spec.name, base=self.recipe.base, window=spec.window, draw=draw)
            reinitialise(encoder, spec.reinitialise or 0, seed)
        if spec.extend is not None:
            self._extend(encoder, spec.extend, datasets, tasks)
        return encoder

    def _extend(self, encoder: Encoder, most: int, datasets: Mapping[str, Dataset], tasks: Mapping[str, Task]) -> None:
        """Give an encoder more pieces: those that the run began with, or those that the training texts ask for."""
        if self.kept is not None:
            self.extension = _read_extension(self.kept)
        else:
            texts = chain(training_texts(datasets.values()), written_texts(datasets, tasks.values()))
            self.extension, before, after = learn_extension(encoder.tokenizer, texts, most)
            self.notes += _told_extension(len(self.extension.parts), most, before, after)
            depth = encoder.depth - 1
            if all(stage.adapter or last_frozen(stage, depth) >= EMBEDDINGS for stage in self.recipe.stages):
                self.notes.append(
                    "the new pieces keep the vectors that they begin with: no stage lets embeddings learn"
                )
        extend(encoder, self.extension)

    @property
    def untrained(self) -> bool:
        """Whether the encoder has learnt nothing yet."""
        return self.recipe.start is None and self.recipe.encoder_spec.untrained

    @property
    def learns_pieces(self) -> bool:
        """Whether the tokenizer, or pieces that it gets, are yet to be learnt from the training texts."""
        return self.kept is None and (self.from_scratch or self.recipe.encoder_spec.extend is not None)

    @property
    def from_scratch(self) -> bool:
        """Whether the tokenizer is learnt from the training texts."""
        return self.untrained and self.recipe.encoder_spec.name is None

    def facts(self) -> dict[str, Any]:
        """What a run notes of where it started; plain data for JSON."""
        start = self.recipe.start
        return {} if start is None else {"run": start.run, "best": start.best, "fingerprint": self.fingerprint}

    def hand_on(self, model: Model) -> None:
        """Let the heads of a new model go on from those of the previous run.

        Raises:
            PolyheadError: A head is of another shape.
        """
        if self.model is None:
            return
        for name, task in self.earlier.items():
            if model.tasks[name].head_of is not None:
                continue  # goes on with the head of that task
            with self.recipe.blamed():
                _inherit(name, model.head(name), task.name, self.model.head(task.name))
            ours, theirs = model.mix(name), self.model.mix(task.name)
            if ours is not None and theirs is not None:
                ours.load_state_dict(theirs.state_dict())
        self.notes += list(self._fates(model))
        self.model = None  # its heads are not needed any more

    def keep(self, folder: Path, encoder: Encoder) -> None:
        """Write what resuming needs, where it could not be had again otherwise, into a run's folder."""
        had_again = self.recipe.start is None and not self.untrained and self.extension is None
        if self.kept is not None or had_again:
            return
        with whole(folder / KEPT) as draft:
            save_plan(encoder, draft / "encoder")
            facts = {
                "encoder": encoder.describe(),
                "earlier": {name: describe_task(task) for name, task in self.earlier.items()},
                "fingerprint": self.fingerprint,
            }
            if self.extension is not None:
                facts["extension"] = {"first": self.extension.first, "parts": self.extension.parts}
            write_json(draft / "start.json", facts)

    def _fates(self, model: Model) -> Iterator[str]:
        """What became of each head, a line for each."""
        assert self.model is not None
        for name, task in model.tasks.items():
            before = self.earlier.get(name)
            if task.head_of is not None:
                yield f"tasks.{name}: the head of {task.head_of!r}"
                continue
            if before is None:
                again = name in self.model.tasks
                yield f"tasks.{name}: a new head" + (", not the run's" if again else "")
                continue
            ours, theirs = task.known_labels(), before.known_labels()
            parts = [f"tasks.{name}: the run's head" + (f" {before.name!r}" if before.name != name else "")]
            if theirs:
                parts.append(f"{len(set(ours) & set(theirs)):,} of its {len(theirs):,} labels kept")
            for what, labels in (("new", set(ours) - set(theirs)), ("dropped", set(theirs) - set(ours))):
                if labels:
                    parts.append(f"{what}: {listed(sorted(labels))}")
            yield "; ".join(parts)
        taken = {task.name for task in self.earlier.values()}
        for name in self.model.tasks:
            if name not in taken and name not in model.tasks and self.model.tasks[name].head_of is None:
                yield f"the run's head {name!r} is dropped"


def find_origin(recipe: Recipe, tasks: Mapping[str, Task], folder: Path | None = None) -> Origin:
    """Find out where a model starts, and tell the tasks which labels of a previous run stay known.

    Args:
        recipe: What says so.
        tasks: The recipe's tasks, not yet prepared; those that go on from a task learn of it.
        folder: The run's folder, where it may have kept what resuming needs.

    Raises:
        PolyheadError: There is no such run, it has no such task, or it is not what the run started from.
    """
    kept = None if folder is None or not (folder / KEPT).is_dir() else folder / KEPT
    origin = Origin(recipe, kept=kept)
    start = recipe.start
    if start is None:
        return origin
    known = {} if kept is None else _read_kept(kept)
    if folder is not None and known and has_checkpoint(folder):
        origin.earlier = {name: restore_task(saved) for name, saved in known["earlier"].items()}
        origin.fingerprint = known["fingerprint"]
    else:
        with recipe.blamed():
            origin.model, origin.fingerprint = _open(start, recipe.base)
            if known and known["fingerprint"] != origin.fingerprint:
                raise PolyheadError(
                    f"start.run = {start.run!r}: this is not the model that the run started from.",
                    remedy="Put it back, or start a new run.",
                )
            origin.earlier = _earlier(start, tasks, origin.model.tasks)
    for name, task in origin.earlier.items():
        if start.labels == "union" and name not in start.heads:
            tasks[name].earlier = task  # type: ignore[misc]
    return origin


def read_languages(encoder: Encoder, codes: Mapping[str, str]) -> None:
    """Let an encoder take texts for such in the first of some languages, and see that it knows them all.

    Args:
        encoder: Its tokenizer is changed.
        codes: By dataset, in the encoder's own codes.

    Raises:
        PolyheadError: It does not know one.
    """
    for name, code in codes.items():
        try:
            encoder.tokenizer.code_of(code)
        except PolyheadError as error:
            raise PolyheadError(f"data.{name}.language_code = {error.what}", remedy=error.remedy) from error
    if codes:
        encoder.tokenizer = encoder.tokenizer.reading(next(iter(codes.values())))


def training_texts(datasets: Iterable[Dataset]) -> Iterator[str]:
    """The texts of training splits, dataset by dataset; words are joined by spaces, as a tokenizer reads them."""
    for dataset in datasets:
        for example in dataset.splits.get("train", []):
            yield example.running
            if example.pair is not None:
                yield example.pair


def written_texts(datasets: Mapping[str, Dataset], tasks: Iterable[Task]) -> Iterator[str]:
    """The texts of training splits that tasks are to write with the encoder's own pieces."""
    layers = dict.fromkeys((task.data, task.layer) for task in tasks if task.writes_encoder_pieces)
    for name, layer in layers:
        for example in datasets[name].splits.get("train", []) if name in datasets else ():
            if layer in example.layers:
                yield str(example.layers[layer])


def _read_kept(folder: Path, *more: str) -> dict[str, Any]:
    """What ``Origin.keep`` wrote."""
    try:
        return read_json(folder / "start.json", "encoder", "earlier", "fingerprint", *more)
    except FileNotFoundError as error:
        remedy = "Put the file back from a copy, or train anew."
        raise PolyheadError("This file of the run is missing.", file=folder / "start.json", remedy=remedy) from error


def _read_extension(folder: Path) -> Extension:
    """The pieces that a run's encoder got."""
    from tokenizers import Tokenizer

    facts = _read_kept(folder, "extension")["extension"]
    file = folder / "encoder" / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)).to_str()
    except Exception as error:  # tokenizers raises bare Exceptions
        remedy = "Put the file back from a copy, or train anew."
        raise PolyheadError("The run's tokenizer cannot be read.", file=file, remedy=remedy) from error
    return Extension(tokenizer, facts["first"], facts["parts"])


def _open(start: StartSpec, base: Path) -> tuple[Model, str]:
    """The model of the previous run, and its fingerprint."""
    folder = base / Path(start.run).expanduser()
    try:
        model = load_model(folder, start.best)
    except PolyheadError as error:
        where = f"start.best = {start.best!r}" if "no best weights" in error.what else f"start.run = {start.run!r}"
        raise PolyheadError(f"{where}: {error.what}", remedy=error.remedy) from error
    place = folder / "model" if (folder / "model").is_dir() else folder
    files = [place / "config.json", place / "model.safetensors", *sorted((place / "encoder").iterdir())]
    if start.best is not None:
        best = read_json(folder / BEST / "tasks.json")[start.best]
        files.append(folder / BEST / best["file"])
        end_lineage(model.info, folder, best["stage"], best["epoch"])
    return model, fingerprint((path.name, path) for path in files)


def _inherit(name: str, head: Head, other: str, earlier: Head) -> None:
    try:
        inherit(head, earlier)
    except MisfitError as error:
        anew = f'draw its head anew: start.fresh = ["{name}"].' if other == name else "take it out of start.heads."
        raise PolyheadError(
            f"tasks.{name} cannot go on from the head {other!r} of the run: {error}.",
            remedy=f"Give the task the settings that it had in the run, or {anew}",
        ) from error


def _earlier(start: StartSpec, tasks: Mapping[str, Task], known: Mapping[str, Task]) -> dict[str, Task]:
    """For each task that goes on from a head of the previous run, the task of that head."""
    for name in start.fresh:
        if name not in known:
            raise PolyheadError(
                f"start.fresh names {name!r}, which the run does not have.",
                remedy="Leave it out; its head is new anyway.",
            )
    for name, other in start.heads.items():
        if other not in known:
            raise PolyheadError(f"start.heads.{name} = {other!r} is no task of the run.", remedy=nearest(other, known))
    found = {}
    for name, task in tasks.items():
        before = known.get(start.heads.get(name, name))
        alike = type(before) is type(task) or name in start.heads
        if before is not None and alike and name not in start.fresh and task.head_of not in start.fresh:
            found[name] = before
    return found


def _told_extension(added: int, most: int, before: Reach, after: Reach) -> Iterator[str]:
    if not added:
        yield "no piece was added to the encoder's: nothing in the training texts is unknown, and no pieces meet often"
        return
    few = f" (the training texts give no more; {most:,} were allowed)" if added < most else ""
    yield (
        f"{added:,} pieces were added to the encoder's{few}: a word of the training texts takes {after.pieces:.2f} "
        f"pieces, {before.pieces:.2f} without them"
    )
    if after.unknown:
        yield (
            f"{after.unknown:.1%} of the words of the training texts still have an unknown piece: extend = {most} has "
            "no room for all their letters"
        )
    elif before.unknown:
        yield f"no word of the training texts has an unknown piece any more, {before.unknown:.1%} had before"


def _size_of(encoder: Encoder, allowed: int) -> str:
    pieces = encoder.tokenizer.tokenizer.get_vocab_size()
    weights = sum(parameter.numel() for parameter in encoder.transformer.parameters())
    few = f" (the training texts give no more; {allowed:,} were allowed)" if pieces < allowed else ""
    return f"the encoder from scratch has {weights:,} weights and {pieces:,} pieces{few}"
