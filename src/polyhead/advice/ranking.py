"""Advice before any training: which encoder and which source task to start a target from, and how sure that is.

An encoder is judged by what a linear head could make of its features (LogME; beside it the H-score). A source cannot be
judged by features before it is learnt, so the recipe's encoder learns it briefly, and is judged as any encoder is: what
it has gained is what the source promises. A source that was trained before is taken as it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polyhead.advice.affinity import Together, together
from polyhead.advice.candidates import Candidate, Tell, named, own, source, sources_of
from polyhead.advice.measures import Floats, Measured, Sure, h_score, logme, measured, sure
from polyhead.advice.units import Sample, features, sample
from polyhead.errors import PolyheadError, nearest
from polyhead.nn.cache import find_cache
from polyhead.nn.precision import Precision
from polyhead.nn.ready import make_ready
from polyhead.recipe import Recipe, load_recipe
from polyhead.studies.effects import holm
from polyhead.studies.ways import TUNED, WITH
from polyhead.tasks import Task
from polyhead.training.prepare import device_of, load_datasets, precision_of, prepare_tasks

EXAMPLES = 500
"""On so many of the target's training examples encoders are judged."""

ALPHA = 0.05
"""Differences that chance alone makes so often, or more often, are not told."""

MOST_WAYS = 2
"""So many encoders and so many sources go on to a study."""


@dataclass(frozen=True)
class Ranked:
    """An encoder, or a source, in its place.

    Attributes:
        name: As it was given.
        way: The way of a study that begins from it.
        logme: The measure that ranks, in nats per word or text, with its interval over examples.
        h_score: The other measure; ``None`` where gold has no classes.
        gain: Of a source: what the encoder's ``logme`` has gained by learning it.
        behind: How far it is behind the first, with p raised for the number of such tests; ``None`` for the first.
        seconds: What opening it took, with what it learnt, and measuring it.
    """

    name: str
    way: str
    logme: Sure
    h_score: float | None
    gain: Sure | None
    behind: Sure | None
    seconds: float

    @property
    def tied(self) -> bool:
        """Whether it is the first, or cannot be told from it."""
        return self.behind is None or self.behind.p >= ALPHA


@dataclass(frozen=True)
class Advice:
    """What can be said before training.

    Attributes:
        target: The task.
        examples, units: How many of its training examples were looked at, and how many words or texts in them.
        unit: What these are, ``word`` or ``text``.
        encoders: The best first.
        sources: The best first; what each promises stands in ``gain``.
        base: The encoder that learns the sources.
        failures: What could not be judged, and why.
        together: Which tasks to train together, if it was asked for.
    """

    target: str
    examples: int = 0
    units: int = 0
    unit: str = "text"
    encoders: list[Ranked] = field(default_factory=list)
    sources: list[Ranked] = field(default_factory=list)
    base: str = ""
    failures: dict[str, str] = field(default_factory=dict)
    together: Together | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def ways(self, most: int = MOST_WAYS) -> list[str]:
        """The ways of a study on the best few.

        These are: fine-tuned from the recipe's own encoder, from at most so many others, and with at most so many of
        the sources learnt first that do not surely harm.
        """
        hopeful = [one for one in self.sources if one.gain and (one.gain.value > 0 or one.gain.p >= ALPHA)]
        found = [one.way for one in (*self.encoders[:most], *hopeful[:most])]
        return list(dict.fromkeys([TUNED, *(TUNED if way == WITH + self.base else way for way in found)]))


@dataclass(frozen=True)
class _Judged:
    name: str
    way: str
    logme: Measured
    h_score: float | None
    seconds: float


def advise(
    recipe: Recipe | str | Path,
    target: str,
    *,
    encoders: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    groups: bool = False,
    examples: int = EXAMPLES,
    seed: int = 1,
    tell: Tell = lambda _: None,
) -> Advice:
    """Rank encoders and source tasks for a target before any training.

    Args:
        recipe: A recipe or its file: the target, its data, and the source tasks.
        target: The task that is to be good.
        encoders: Names as a recipe takes them, folders, ids on the Hub, or finished runs. By default the recipe's own,
            if no sources are asked about either.
        sources: Tasks of the recipe, or finished runs. By default all tasks beside the target, if no encoders are asked
            about either.
        groups: Whether to find out, too, which of the recipe's tasks to train together; takes a short joint run.
        examples: How many of the target's training examples to look at.
        seed: Of their draw, and of brief lessons.
        tell: Called with each note.

    Raises:
        PolyheadError: The recipe or its data is wrong, there is no such task, encoder or source, the target's type has
            no measure, or nothing could be judged.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if target not in recipe.tasks:
        raise PolyheadError(f"The recipe has no task {target!r}.", remedy=nearest(target, recipe.tasks))
    if examples < 2:
        raise PolyheadError(f"{examples} examples are too few to tell encoders apart.", remedy="Take 2 or more.")
    if encoders is None and sources is None:
        sources = sources_of(recipe, target)
    base = own(recipe)
    chosen = [named(name) for name in dict.fromkeys(encoders or ())] or [base]
    learnt = [source(recipe, target, name, seed) for name in dict.fromkeys(sources or ())]
    if learnt:
        _see_that_it_has_learnt(recipe)
    of = _sample(recipe, target, examples, seed)
    judge = _Judge(of, recipe, tell)
    judged = judge.all(chosen)
    before = None
    if learnt:
        before = next((one for one in judged if one.name == base.name), None) or judge.one(base)
    from_sources = judge.all(learnt)
    return Advice(
        target=target,
        examples=len(of.examples),
        units=len(of.gold),
        unit="word" if of.task.words else "text",
        encoders=_ranked(judged, None),
        sources=_ranked(from_sources, before),
        base=base.name,
        failures=judge.failures,
        together=together(recipe, seed=seed, tell=tell) if groups else None,
    )


def _see_that_it_has_learnt(recipe: Recipe) -> None:
    if recipe.start is None and recipe.encoder_spec.untrained:
        raise PolyheadError(
            "The recipe's encoder has random weights: a brief lesson tells nothing of a source.",
            remedy="Name a pretrained encoder in the recipe, or ask without --sources.",
        )


def _sample(recipe: Recipe, target: str, most: int, seed: int) -> Sample:
    """Examples of the target's training split, with gold as numbers."""
    tasks = recipe.make_tasks()
    head = tasks[target].head_of or target
    used: Mapping[str, Task] = {name: task for name, task in tasks.items() if head in (name, task.head_of)}
    with recipe.blamed():
        if not tasks[target].annotates:
            raise PolyheadError(
                f"tasks.{target} learns from text alone, so there are no labels to set features beside.",
                remedy="Name a task with a layer as the target; this one can be a source.",
            )
        datasets = load_datasets(recipe, used, ("train",))
        prepare_tasks(used, datasets)
        data = datasets[tasks[target].data]
        return sample(tasks[target], data.splits["train"], most, seed, data.spec.language_code)


class _Judge:
    """Judges encoders one after another, each of which is let go before the next.

    Args:
        of: What they are judged on.
        recipe: Says on which device, and what to compute in.
        tell: Called with each note.
    """

    def __init__(self, of: Sample, recipe: Recipe, tell: Tell) -> None:
        self.of = of
        self.device = device_of(recipe)
        self.precision = precision_of(recipe, self.device)
        self.tell = tell
        self.cache = find_cache()
        self.failures: dict[str, str] = {}

    def all(self, candidates: Sequence[Candidate]) -> list[_Judged]:
        """What could be judged of them; one that fails does not end the others.

        Raises:
            PolyheadError: All of them failed.
        """
        found = []
        last: PolyheadError | None = None
        for candidate in candidates:
            try:
                found.append(self.one(candidate))
            except PolyheadError as error:
                last = error
                self.failures[candidate.name] = str(error)
                self.tell(f"{candidate.name} could not be judged: {error}")
        if last is not None and not found:
            raise last
        return found

    def one(self, candidate: Candidate) -> _Judged:
        """What a candidate is worth."""
        start = time.perf_counter()
        made = self._features(candidate)
        worth = measured(logme, made, self.of.gold, self.of.groups)
        other = h_score(made, self.of.gold) if self.of.classes else None
        seconds = time.perf_counter() - start
        self.tell(f"{candidate.name}: LogME {worth.value:.3f} ({seconds:.0f} s)")
        return _Judged(candidate.name, candidate.way, worth, other, seconds)

    def _features(self, candidate: Candidate) -> Floats:
        """What a candidate makes of the sample, in fp32 where it cannot compute in bf16; it is let go at once.

        Raises:
            PolyheadError: It cannot read the texts.
        """
        said = ""
        tried: tuple[Precision, Precision] = (self.precision, "fp32")
        for precision in dict.fromkeys(tried):
            try:
                encoder = candidate.open().to(self.device)
                make_ready(encoder, precision)
                return features(encoder, self.of, self.cache, precision)
            except RuntimeError as error:  # of torch: memory is short, or a model wants what no other does
                said = "".join(str(error).strip().splitlines()[:1])
        raise PolyheadError(f"The encoder {candidate.name!r} cannot read the texts: {said}")


def _ranked(judged: Sequence[_Judged], before: _Judged | None) -> list[Ranked]:
    """The best first, each set against the first, and against what there was before."""
    if not judged:
        return []
    order = sorted(judged, key=lambda one: -one.logme.value)  # which keeps the order given, of those that are even
    behind = [sure([(1.0, order[0].logme), (-1.0, one.logme)]) for one in order[1:]]
    raised = holm([one.p for one in behind])
    tests = [None, *(Sure(one.value, one.low, one.high, p) for one, p in zip(behind, raised, strict=True))]
    return [
        Ranked(
            name=one.name,
            way=one.way,
            logme=sure([(1.0, one.logme)]),
            h_score=one.h_score,
            gain=None if before is None else sure([(1.0, one.logme), (-1.0, before.logme)]),
            behind=test,
            seconds=round(one.seconds, 2),
        )
        for one, test in zip(order, tests, strict=True)
    ]
