"""A dataset: the splits of one source of examples, with a fingerprint and notes."""

from __future__ import annotations

import gc
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from polyhead.data.example import KIND_NAMES, Example, Spans
from polyhead.data.readers import read_raw
from polyhead.data.spec import DataSpec
from polyhead.data.stream import Stream, drawn, folded, held_out, without
from polyhead.data.tags import Tagging, recognise, tagged, with_spans
from polyhead.data.text import Notes, counted, is_stream
from polyhead.errors import PolyheadError, nearest

__all__ = ["DataSpec", "Dataset", "load_dataset", "stream_dataset"]

TRAIN, DEV, TEST = SPLITS = ("train", "dev", "test")
_FINGERPRINTED = ("format", "layers", "text", "pair", "header", "separator", "delimiter", "scheme", "misc", "comments")


@dataclass(frozen=True, slots=True)
class Dataset:
    """The splits of one source of examples.

    Attributes:
        name: Its name in the recipe.
        spec: What the user said about it.
        splits: The examples of each split: "train", "dev", "test", as far as they were given and asked for. Held in
            lists, or read anew whenever they are gone through (:class:`polyhead.data.stream.Stream`).
        fingerprint: The SHA-256 of the bytes of the files behind these splits and of how they were read;
            the same wherever the files lie.
        notes: What was left out or done by choice, counted; sentences for people.
    """

    name: str
    spec: DataSpec
    splits: dict[str, Sequence[Example]]
    fingerprint: str
    notes: list[str] = field(default_factory=list)

    @property
    def streamed(self) -> bool:
        """Whether the splits are read anew whenever they are gone through."""
        return any(isinstance(examples, Stream) for examples in self.splits.values())


def load_dataset(
    name: str,
    spec: DataSpec,
    base: Path,
    kinds: Mapping[str, type] | None = None,
    splits: Sequence[str] = SPLITS,
) -> Dataset:
    """Reads the files of a dataset.

    Args:
        name: The name of the dataset, for errors.
        spec: Its files, and what they hold.
        base: The folder from which its paths are taken.
        kinds: What the tasks want of its layers (see ``readers.read``).
        splits: Which splits to read. One that the spec does not give is left out.

    Raises:
        PolyheadError: No split is given, a split is empty, no training example has a layer that is wished
            for, or a file is at fault.
    """
    loading = _Loading(name, spec, base, dict(kinds or {}))
    with _collector_paused():
        read = {split: loading.split(split) for split in loading.given(splits)}
        read = loading.with_spans(read)
    found = {split: examples for split, examples in loading.divide(read).items() if split in splits}
    loading.check_layers(found)
    return Dataset(name, spec, dict(found), loading.fingerprint(read), [*loading.notes, *loading.remarks])


def stream_dataset(name: str, spec: DataSpec, base: Path, splits: Sequence[str] = SPLITS) -> Dataset:
    """As :func:`load_dataset`, but no example is held in memory: the files are gone through once, to see that nothing
    is at fault and to count, and read again whenever a split is gone through. No layer is read.

    Raises:
        PolyheadError: No split is given, a split is empty, or a file is at fault.
    """
    loading = _Loading(name, spec, base, {})
    given = loading.given(splits)
    for path in chain.from_iterable(map(loading.parts, given)):
        if is_stream(path):
            remedy = "Write its texts into a file: they are gone through several times."
            raise PolyheadError("this can be read only once", remedy=remedy, file=path)
    counts = {split: sum(1 for _ in loading.stream(split, loading.notes)) for split in given}
    found = {split: stream for split, stream in loading.divide_streams(counts).items() if split in splits}
    return Dataset(name, spec, dict(found), loading.fingerprint(given), [*loading.notes, *loading.remarks])


class _Loading:
    """The steps of loading one dataset, and what they note."""

    def __init__(self, name: str, spec: DataSpec, base: Path, kinds: dict[str, type]) -> None:
        self.name, self.spec, self.base, self.kinds = name, spec, base, kinds
        self.notes = Notes()
        self.remarks: list[str] = []

    def given(self, splits: Sequence[str]) -> list[str]:
        """The splits to read from files: those asked for that have files; training too if dev is a share of it."""
        for split in splits:
            if split not in SPLITS:
                raise PolyheadError(f"there is no split {split!r}", remedy=nearest(split, SPLITS))
        wanted = set(splits) | ({TRAIN} if DEV in splits and isinstance(self.spec.dev, float) else set())
        given = [split for split in SPLITS if split in wanted and self.paths(split)]
        if isinstance(self.spec.dev, float) and not self.paths(TRAIN):
            raise PolyheadError(
                f"data.{self.name}: dev is a share of the training split ({self.spec.dev}), but there is none",
                remedy="Name a file for `train`.",
            )
        if not given:
            raise PolyheadError(
                f"data.{self.name} names no file for {' or '.join(splits)}", remedy=f"Set {splits[0]} = a file."
            )
        return given

    def paths(self, split: str) -> list[Path]:
        """The files of a split; none if it is not given, or is held out from another."""
        return [self.base / Path(one).expanduser() for one in self.spec.files(split)]

    def parts(self, split: str) -> list[Path]:
        """The files behind these paths: of parallel ones each part.

        Raises:
            PolyheadError: The braces of a path are wrong.
        """
        try:
            return [part for path in self.paths(split) for part in self.spec.parts(path)]
        except ValueError as error:
            raise PolyheadError(f"data.{self.name}.{split}: {error}.") from None

    def split(self, split: str, notes: Notes | None = None) -> list[Example]:
        """The examples of a split's files, with span tags not yet turned into spans."""
        found = self.stream(split, self.notes if notes is None else notes)
        if split == TRAIN and not self._needs_whole_train():
            return list(islice(found, self.spec.limit))
        return list(found)

    def stream(self, split: str, notes: Notes) -> Iterator[Example]:
        """The same one by one, whatever the limit."""
        paths = self.paths(split)
        seen: set[Path] = set()
        for path in paths:
            if (real := path.resolve()) in seen:
                what = f"the {split} split of data.{self.name} names this file twice"
                raise PolyheadError(what, remedy="Name it once.", file=path)
            seen.add(real)
        return chain.from_iterable(self._file(split, path, notes) for path in paths)

    def _file(self, split: str, path: Path, notes: Notes) -> Iterator[Example]:
        """The examples of one file of a split, at least one."""
        example, before = None, set(notes)
        for example in read_raw(path, self.spec, self.kinds, notes):
            yield example
        if example is None:
            alone = len(self.paths(split)) == 1
            what = "is empty" if alone else "has several files, and this one is empty"
            what += "".join(f": {note}" for note in notes if note not in before)
            remedy = "Give it a file with examples, or take it out."
            raise PolyheadError(f"the {split} split of data.{self.name} {what}", remedy=remedy, file=path)

    def _needs_whole_train(self) -> bool:
        """Whether a limit waits until all of the training split is read: for its scheme, to draw or to hold out."""
        if self.spec.limit is None or self.spec.draw is not None:
            return True
        return isinstance(self.spec.dev, float) or Spans in self.kinds.values()

    def with_spans(self, read: dict[str, list[Example]]) -> dict[str, list[Example]]:
        """The splits with spans in place of tags, by the scheme of the training split."""
        layers = tagged(chain.from_iterable(read.values()), self.kinds)
        if not layers:
            return read
        source = read.get(TRAIN)
        if (
            source is None
            and self.spec.scheme is None
            and self.paths(TRAIN)
            and all(path.is_file() for path in self.parts(TRAIN))
        ):
            source = self.split(TRAIN, Notes())  # Only the scheme is taken from it.
        if source is None:
            source = list(chain.from_iterable(read.values()))
        taggings: dict[str, Tagging] = {}
        for layer in layers:
            taggings[layer] = tagging = recognise(source, layer, self.spec.scheme)
            self.remarks.append(f"{layer} is read as {tagging.scheme} tags")
        return {split: [with_spans(example, taggings) for example in examples] for split, examples in read.items()}

    def divide(self, read: dict[str, list[Example]]) -> dict[str, list[Example]]:
        """Holds out the development split if it is a share of the training split, and applies the limit.

        What is held out does not depend on the limit, so that runs on more and more data share a development split.
        """
        divided = dict(read)
        if isinstance(self.spec.dev, float) and TRAIN in read:
            train = read[TRAIN]
            places = self._held_out(self.spec.dev, len(train))
            held = set(places)
            divided[TRAIN] = [example for index, example in enumerate(train) if index not in held]
            divided[DEV] = [train[index] for index in places]
        if self.spec.limit is not None and TRAIN in divided:
            train, before = divided[TRAIN], len(divided[TRAIN])
            divided[TRAIN] = train[: self.spec.limit]
            if self.spec.draw is not None:
                divided[TRAIN] = [train[place] for place in drawn(self.spec.limit, before, self.spec.draw)]
            self._note_limit(self.spec.limit, before if self._needs_whole_train() else 0, len(divided[TRAIN]))
        if self.spec.folds is not None and TRAIN in divided:
            left = set(self._left_out(*self.spec.folds, len(divided[TRAIN])))
            divided[TRAIN] = [example for place, example in enumerate(divided[TRAIN]) if place not in left]
        return divided

    def _left_out(self, part: int, parts: int, count: int) -> Sequence[int]:
        """The places of the part of so many training examples that is left out."""
        if parts > count:
            raise PolyheadError(
                f"data.{self.name}.fold: {counted(count, 'training example')} cannot be cut into {parts} parts",
                remedy="Take fewer parts.",
            )
        places = folded(part, parts, count)
        self.remarks.append(f"train lacks {len(places):,} of its {count:,} examples, part {part + 1} of {parts} (fold)")
        return places

    def divide_streams(self, counts: Mapping[str, int]) -> dict[str, Stream]:
        """The same for splits of so many examples each, which are read as streams."""

        def reader(split: str) -> Callable[[], Iterator[Example]]:
            return lambda: self.stream(split, Notes())

        divided = {split: Stream(reader(split), count) for split, count in counts.items()}
        if self.spec.fold is not None:
            what = f"data.{self.name}.fold: nothing is left out of texts that are learnt from without labels."
            raise PolyheadError(what, remedy="Leave fold out.")
        if isinstance(self.spec.dev, float) and TRAIN in counts:
            whole = divided[TRAIN]
            places = self._held_out(self.spec.dev, whole.size)
            divided[TRAIN] = replace(whole, size=whole.size - len(places), held=places)
            divided[DEV] = replace(whole, size=len(places), held=places, only_held=True)
        if self.spec.limit is not None and TRAIN in divided:
            whole, before = divided[TRAIN], divided[TRAIN].size
            divided[TRAIN] = replace(whole, size=min(before, self.spec.limit))
            if self.spec.draw is not None:
                left = without(whole.held, counts[TRAIN])
                chosen = array("q", (left[place] for place in drawn(self.spec.limit, before, self.spec.draw)))
                divided[TRAIN] = replace(whole, size=len(chosen), held=chosen, only_held=True)
            self._note_limit(self.spec.limit, before, divided[TRAIN].size)
        return divided

    def _held_out(self, share: float, count: int) -> Sequence[int]:
        """The places of what is held out from so many training examples, sorted."""
        if max(1, round(share * count)) >= count:
            raise PolyheadError(
                f"dev = {share} of {count} training examples leaves none to train on",
                remedy="Give a smaller share, or a file.",
                file=self.paths(TRAIN)[0],
            )
        places = held_out(share, count)
        self.remarks.append(f"dev is {len(places):,} of the {count:,} training examples, drawn with a fixed seed")
        return places

    def _note_limit(self, limit: int, before: int, left: int) -> None:
        """Say what the limit left; ``before`` is 0 where nobody knows how many there were."""
        if before > limit and self.spec.draw is not None:
            self.remarks.append(f"train is {limit:,} of {before:,} examples, drawn with seed {self.spec.draw}")
        elif before > limit:
            self.remarks.append(f"train is the first {limit:,} of {before:,} examples (limit)")
        else:
            self.remarks.append(f"train is the first {counted(left, 'example')} (limit)")

    def check_layers(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Every wished layer is there in training, and of the kind that was wished; gaps are noted."""
        for split, examples in splits.items():
            for layer, kind in self.kinds.items():
                missing = 0
                for example in examples:
                    value = example.layers.get(layer)
                    if value is None:
                        missing += 1
                    elif not isinstance(value, kind):
                        got = KIND_NAMES.get(type(value), type(value).__name__)
                        wanted = KIND_NAMES.get(kind, kind.__name__)
                        raise PolyheadError(
                            f"layer {layer!r} holds {got}; a task wants {wanted}", file=example.file, line=example.line
                        )
                if missing == len(examples) and split == TRAIN:
                    known = sorted({key for example in examples for key in example.layers})
                    raise PolyheadError(
                        f"no training example of data.{self.name} has the layer {layer!r}",
                        remedy=nearest(layer, known),
                        file=examples[0].file,
                    )
                if missing:
                    self.remarks.append(f"{missing:,} of {len(examples):,} examples of {split} have no {layer!r}")

    def fingerprint(self, splits: Iterable[str]) -> str:
        """The SHA-256 of the files behind splits and of how they are read, whatever their names and places."""
        digest = hashlib.sha256(self.spec.model_dump_json(include=set(_FINGERPRINTED)).encode())
        if self.spec.draw is not None:
            digest.update(f"{self.spec.draw} ".encode())
        digest.update(f"{self.spec.limit} {self.spec.dev if isinstance(self.spec.dev, float) else None}".encode())
        if self.spec.fold is not None:
            digest.update(f" fold {self.spec.fold}".encode())
        for split in splits:
            for path in self.parts(split):
                with path.open("rb") as stream:
                    digest.update(f"\n{split} ".encode() + hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keeps the cyclic collector away from what is read: many small objects and no cycles, a fifth of the time.

    Freezing and unfreezing files the new objects as old ones; else the next young collection would visit them all.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield  # The caller manages the collector: leave it alone.
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        gc.enable()
