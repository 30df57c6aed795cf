"""What the training loop says as it goes. The progress bar, the log and the checkpoints watch these."""

from __future__ import annotations

from dataclasses import dataclass

from polyhead.scoring import Scores


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins, or goes on after a kill.

    Attributes:
        stage: The stage's name.
        tasks: The tasks that learn.
        examples: How many training examples an epoch goes through.
        left_out: How many training examples carry no layer of these tasks.
        epochs: How many epochs are planned.
        steps: How many steps of the optimizer are planned in all.
        done: How many of them were done before.
    """

    stage: str
    tasks: list[str]
    examples: int
    left_out: int
    epochs: int
    steps: int
    done: int


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


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch is over and the dev splits are scored.

    Attributes:
        stage: The stage's name.
        epoch: Counted from 1.
        losses: Each task's mean loss over the epoch's steps.
        scores: On the dev splits; empty if there are none.
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


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage is over and its weights are chosen.

    Attributes:
        stage: The stage's name.
        epochs: How many were done.
        kept: The epoch whose weights are handed on.
        stopped_early: Whether patience ran out.
    """

    stage: str
    epochs: int
    kept: int
    stopped_early: bool


Record = StageStarted | Stepped | EpochEnded | StageEnded
