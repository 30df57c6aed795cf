"""What the training loop says as it goes. The progress bar, the log and the checkpoints watch these."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from polyhead.scoring import Scores


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins, or goes on after a kill.

    Attributes:
        stage: The stage's name.
        tasks: The tasks that learn.
        examples: How many training examples an epoch goes through.
        left_out: How many training examples teach these tasks nothing: they lack the layers, or are too long for one.
        epochs: How many epochs are planned.
        steps: How many steps of the optimizer are planned in all.
        done: How many of them were done before.
        learning: How many weights of the ``encoder`` learn, and how many it has (``of``).
    """

    stage: str
    tasks: list[str]
    examples: int
    left_out: int
    epochs: int
    steps: int
    done: int
    learning: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stepped:
    """The optimizer made a step.

    Attributes:
        stage: The stage's name.
        epoch: Counted from 1.
        step: Counted from 1 over the whole stage.
        steps: How many are planned.
        losses: The mean loss per unit of each task that the step's batches carried.
        norm: The gradient's length before clipping.
        words: How many words the step read (pieces for raw text).
        pieces: How many pieces the step read, filling left out.
        seconds: How long it took.
        cosines: For each two tasks ("a b") the cosine between their gradients, if it was measured.
    """

    stage: str
    epoch: int
    step: int
    steps: int
    losses: dict[str, float]
    norm: float
    words: int
    pieces: int
    seconds: float
    cosines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch is over, and the dev splits are scored if that was due.

    Attributes:
        stage: The stage's name.
        epoch: Counted from 1.
        losses: Each task's mean loss over the epoch's steps.
        scores: On the dev splits; empty if there are none, or none was due.
        main: The name of each task's main figure.
        mean: The mean of the tasks' main figures.
        best: Whether the mean is the stage's best so far.
        words_per_second: In training, evaluation left out.
        seconds: Of training.
        evaluation_seconds: Of scoring.
    """

    stage: str
    epoch: int
    losses: dict[str, float]
    scores: Scores
    main: dict[str, str]
    mean: float | None
    best: bool
    words_per_second: float
    seconds: float
    evaluation_seconds: float


APART = 0.05
"""Gradients of tasks that have nothing to do with each other have cosines within about this of 0."""


@dataclass(frozen=True, slots=True)
class Cosine:
    """The cosine between two tasks' gradients, measured at several steps.

    Attributes:
        mean: From -1 to 1.
        error: The standard error of the mean.
        measured: At how many steps.
    """

    mean: float
    error: float
    measured: int

    @classmethod
    def of(cls, number: float, total: float, squares: float) -> Cosine:
        """From the number of measurements, their sum and the sum of their squares."""
        mean = total / number
        variance = max(0.0, squares / number - mean**2) * number / max(1.0, number - 1)
        return cls(mean, math.sqrt(variance / number), int(number))

    @property
    def against(self) -> bool:
        """Whether the two pull apart for long: below 0 by three standard errors, over ten measurements or more, and so
        far that it matters."""
        return self.measured >= 10 and self.mean + 3 * self.error < 0 and self.mean <= -APART


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage is over and its weights are chosen.

    Attributes:
        stage: The stage's name.
        epochs: How many were done.
        kept: The epoch whose weights are handed on.
        stopped_early: Whether patience ran out.
        scores: On the dev splits, with the weights kept, of every task learnt in this stage or before.
        cosines: For each two tasks ("a b") the cosine between their gradients of the encoder, over the stage.
        against: Those pairs that pulled apart.
        combine: How the stage made one step of the tasks' losses; cosines are those before it.
    """

    stage: str
    epochs: int
    kept: int
    stopped_early: bool
    scores: Scores
    cosines: dict[str, Cosine]
    against: list[str]
    combine: str = "weights"


Record = StageStarted | Stepped | EpochEnded | StageEnded
