"""Which texts to label next: those that the model is least sure of, and unlike each other.

Every text of the pool is answered once, as a stream; of the least sure ones so many are kept that there is something
to choose from (Zhdanov 2019). Among them the first is the least sure, and each further one is drawn with a
probability that grows with the square of how unsure the model is of it times how far its vector, the encoder's mean,
is from the nearest one chosen: k-means++, as in BADGE (Ash et al. 2020), with doubt beside the distance and not
within the vectors, where texts that the model is sure of would count as far from all others. How unsure a model is of
a text about words is a mean over its words, so that long ones are not preferred (MNLP, Shen et al. 2018).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyhead.annotate import spec_for, unlabelled
from polyhead.answering.annotator import cut
from polyhead.calibration import asking, by_batches
from polyhead.data import Dataset, Example
from polyhead.data.example import Prediction, Spans
from polyhead.data.readers import suffix_format
from polyhead.data.text import Notes, is_stream, name_of
from polyhead.errors import PolyheadError, refused
from polyhead.model import Model
from polyhead.predict import annotator
from polyhead.scoring import Gold
from polyhead.studies.held import gives_chances

SIZE = 100
"""How many texts are chosen by default."""

TIMES, LEAST, MOST = 20, 1000, 50_000
"""Of the least sure texts so many times as are wanted are kept to choose from, within these bounds."""

CHUNK = 1024
"""Texts that are read before they are answered."""

TELL_SECONDS = 30.0
"""How often is told how far the pool is read."""

SEED = 1
"""Of the draws."""

LEAST_CHANCE = 1e-6
"""A confidence is taken for at least that, so that its logarithm is finite."""


@dataclass
class Count:
    """What became of the texts of a pool.

    Attributes:
        read: How many texts there are.
        blank: Empty ones.
        known: Texts that stand in the target's own data.
        twice: Texts that came before.
    """

    read: int = 0
    blank: int = 0
    known: int = 0
    twice: int = 0


@dataclass
class Candidates:
    """The least sure texts so far, in bounded memory.

    Attributes:
        room: How many are kept.
        examples, answers: The texts, and what the model says.
        doubts: How unsure it is of each, from 0 to 1.
        vectors: What the encoder makes of each, half precision.
    """

    room: int
    examples: list[Example] = field(default_factory=list)
    answers: list[Prediction] = field(default_factory=list)
    doubts: list[float] = field(default_factory=list)
    vectors: list[NDArray[np.float16]] = field(default_factory=list)

    def add(self, example: Example, answer: Prediction, doubt: float, vector: NDArray[Any]) -> None:
        """Take one text; when twice as many are there as are kept, the surer half goes."""
        self.examples.append(example)
        self.answers.append(answer)
        self.doubts.append(doubt)
        self.vectors.append(vector.astype(np.float16))
        if len(self.doubts) >= 2 * self.room:
            self.cut()

    def cut(self) -> None:
        """Keep no more than there is room for, the least sure first; of equal ones those that came first."""
        order = np.argsort(-np.asarray(self.doubts), kind="stable")[: self.room].tolist()
        self.examples = [self.examples[i] for i in order]
        self.answers = [self.answers[i] for i in order]
        self.doubts = [self.doubts[i] for i in order]
        self.vectors = [self.vectors[i] for i in order]


def check_pool(path: Path) -> None:
    """See that there is a pool that can be read, before anything is trained for it.

    Raises:
        PolyheadError: There is no such file, it is a folder, it is empty, or it can be read only once.
    """
    if path.is_dir():
        raise PolyheadError("The pool is a folder, not a file.", remedy="Name a file with texts.", file=path)
    if not path.exists():
        raise PolyheadError("There is no such file.", remedy="Check --pool.", file=path)
    if is_stream(path):
        raise PolyheadError("this can be read only once", remedy="Write its texts into a file.", file=path)
    try:
        with path.open("rb") as stream:
            some = any(part.strip() for part in iter(partial(stream.read, 1 << 20), b""))
    except OSError as error:
        raise refused(error, path, "Cannot read") from error
    if not some:
        raise PolyheadError("The pool is empty.", remedy="Give a file with texts without labels.", file=path)


def choose(
    model: Model,
    name: str,
    path: Path,
    size: int,
    labelled: Dataset,
    tell: Callable[[str], object] = lambda _: None,
) -> tuple[list[tuple[Example, Prediction]], Count]:
    """The texts of a pool to label next, in the order in which they were chosen, and what became of all.

    Args:
        model: In evaluation mode.
        name: The task.
        path: Texts without labels, one a line or in any format that ``polyhead predict`` reads.
        size: How many are wanted.
        labelled: The target's data; its texts, of whatever split, are left out.
        tell: Called with notes.

    Raises:
        PolyheadError: The pool has no text that is new, or is broken.
    """
    count = Count()
    kept = Candidates(min(max(TIMES * size, LEAST), max(MOST, size)))
    said = time.monotonic()
    for chunk in _chunks(_new(model, name, path, labelled, count)):
        for example, answer, doubt, vector in _answered(model, name, chunk, labelled.spec.language_code):
            kept.add(example, answer, doubt, vector)
        if time.monotonic() - said > TELL_SECONDS:
            said = time.monotonic()
            tell(f"{count.read:,} texts of {path} are read")
    kept.cut()
    if not kept.examples:
        left = [f"{n:,} {what}" for n, what in ((count.blank, "empty"), (count.known, "in the target's data")) if n]
        raise PolyheadError(
            f"The pool has no text to choose{': ' + ', '.join(left) if left else ''}.",
            remedy="Give a file with texts that have no labels yet.",
            file=path,
        )
    places = spread_out(np.stack(kept.vectors).astype(np.float32), np.asarray(kept.doubts), size)
    return [(kept.examples[place], kept.answers[place]) for place in places], count


def spread_out(vectors: NDArray[np.float32], doubts: NDArray[np.float64], size: int) -> list[int]:
    """The places of texts that are unsure and unlike each other, in the order in which they were chosen.

    Args:
        vectors: What the encoder makes of texts. Shape (texts, width).
        doubts: How unsure the model is of each, from 0 to 1. Shape (texts,).
        size: How many to choose; no more than there are.
    """
    rng = np.random.default_rng(SEED)
    centred = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    points = centred / np.maximum(lengths, 1e-9)
    squares = (points**2).sum(axis=1)
    chosen = [int(np.argmax(doubts))]
    far = np.full(len(points), np.inf)
    left = np.ones(len(points), dtype=bool)
    while len(chosen) < min(size, len(points)):
        last = chosen[-1]
        left[last] = False
        far = np.minimum(far, np.maximum(squares + squares[last] - 2 * points @ points[last], 0))
        weights = np.where(left, far * doubts**2, 0.0)
        if weights.sum() <= 0:  # all that is left is the same as something chosen
            weights = np.where(left, doubts + 1e-9, 0.0)
        chosen.append(int(rng.choice(len(points), p=weights / weights.sum())))
    return chosen


def doubt_of(answer: Prediction) -> float:
    """How unsure an answer is: 1 less the geometric mean of its confidences."""
    sure = answer.confidence if isinstance(answer.confidence, tuple) else (answer.confidence,)
    if not sure:
        return 0.0
    return 1 - float(np.exp(np.mean(np.log(np.maximum(sure, LEAST_CHANCE)))))


def _new(model: Model, name: str, path: Path, labelled: Dataset, count: Count) -> Iterator[Example]:
    """The texts of a pool that are neither empty nor labelled nor there before, cut as the task reads them."""
    given = annotator(model).only(name)
    task = model.tasks[name]
    by_sentence = task.words or model.info.get("units", {}).get(name) == "words"
    spec = spec_for(given, path, suffix_format(path) or "text", None, None)
    known = {_sum(example) for split in labelled.splits.values() for example in split}
    seen: set[int] = set()
    for example in unlabelled(path, spec, Notes(), keep_blank=False):
        if name in given.about_pairs and example.pair is None:
            raise PolyheadError(
                f"tasks.{name} learnt from pairs of texts, and the pool has texts alone.",
                remedy="Give a table with a column for each of the two, as the training data has.",
                file=name_of(path),
            )
        for one in cut(example) if by_sentence and not example.words and not example.blank else [example]:
            count.read += 1
            told = _sum(one)
            if one.blank:
                count.blank += 1
            elif told in known:
                count.known += 1
            elif told in seen:
                count.twice += 1
            else:
                seen.add(told)
                yield one


def _sum(example: Example) -> int:
    """A number that stands for a text, whatever its capitals and white space: eight bytes in place of all of it."""
    text = f"{''.join(example.running.casefold().split())}\n{''.join((example.pair or '').casefold().split())}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _chunks(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while chunk := list(islice(examples, CHUNK)):
        yield chunk


def _answered(
    model: Model, name: str, examples: Sequence[Example], language: str | None
) -> Iterator[tuple[Example, Prediction, float, NDArray[Any]]]:
    """Each text with its answer, how unsure that is, and the encoder's mean vector; in the order of the texts."""
    gold = Gold(examples, model.encoder.tokenise(examples, language))
    task, head = model.tasks[name], model.head(name)
    found: dict[int, tuple[Prediction, float, NDArray[Any]]] = {}
    for rows in by_batches(model, gold):
        batch = model.encoder.collate([gold.items[i] for i in rows])
        with asking(model):
            encoding = model.encoding(batch, name, range(len(rows)))
            given = task.answer(head, encoding)
            doubts = [doubt_of(one) for one in given]
            if isinstance(given[0].value, Spans) and gives_chances(type(head)):
                doubts = [
                    _doubt_of_words(each) for each in head.chances(encoding, [])
                ]  # a missed span has no confidence
            vectors = encoding.sentence.float().numpy(force=True)
        for row, *one in zip(rows, given, doubts, vectors, strict=True):
            found[row] = (one[0], one[1], one[2])
    for row, example in enumerate(examples):
        yield (example, *found[row])


def _doubt_of_words(chances: NDArray[np.float32]) -> float:
    """How unsure of the words of a text, given the probabilities of their choices, (words, choices)."""
    if not len(chances):
        return 0.0
    return 1 - float(np.exp(np.mean(np.log(np.maximum(chances.max(axis=1), LEAST_CHANCE)))))
