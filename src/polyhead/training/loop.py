"""The training loop: a generator of records. Between two of them its state is whole and can be saved."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn.vocabulary import narrow, widen
from polyhead.recipe import Recipe, Stage
from polyhead.scoring import Scores, main_score, mean_score, score
from polyhead.tasks import LossSum
from polyhead.training.checkpoint import Best, Progress, load_best, prune_best, save_best
from polyhead.training.optim import Optimizer
from polyhead.training.prepare import Material, TrainingSet
from polyhead.training.records import EpochEnded, Record, StageEnded, StageStarted, Stepped
from polyhead.training.sampling import epoch_batches
from polyhead.training.weighting import combine

LOST_STEPS = 10
"""So many steps in a row without a finite gradient end a run."""

LARGEST_WEIGHT = 1e6
"""A weight beyond this after an epoch ends a run."""

_SLOWER = "Lower learning_rate and head_learning_rate, or raise warmup, in the recipe's stage."


class Training:
    """A run in memory: the model, what it learns from, and how far it is.

    Args:
        recipe: With named stages.
        model: With the recipe's tasks, and its precision set.
        material: The datasets.
        folder: The run's folder, for best weights.
        progress: Where to start.
        optimizer_state: The optimizer's state at that point, if it is in the middle of a stage.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        material: Material,
        folder: Path,
        progress: Progress | None = None,
        optimizer_state: dict[str, Tensor] | None = None,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.material = material
        self.folder = folder
        self.progress = progress or Progress()
        self.optimizer_state = optimizer_state
        self.optimizer: Optimizer | None = None
        self.checkpointed = self.progress.files()  # best weights that the last checkpoint speaks of
        self.usual: dict[str, float] = {}
        self.lost = 0

    def weights(self) -> dict[str, Tensor]:
        """The model's weights in full precision."""
        return self.optimizer.full_weights(self.model) if self.optimizer else self.model.state_dict()

    def records(self) -> Iterator[Record]:
        """Train, stage by stage. The state is whole whenever a record comes out."""
        for number in range(self.progress.stage, len(self.recipe.stages)):
            yield from self._stage(self.recipe.stages[number])

    def _stage(self, stage: Stage) -> Iterator[Record]:
        tasks = [self.model.tasks[name] for name in stage.tasks]
        examples = self.material.training_set(tasks)
        steps, self.usual = self._count(stage, examples)
        self.model.encoder.set_dropout(stage.dropout)
        self.model.encoder.at_once = stage.batch_pieces
        narrow(self.model.encoder.transformer, self._pieces_used(examples))
        self.optimizer = Optimizer(self.model, stage, steps)
        if self.optimizer_state:
            self.optimizer.restore(self.optimizer_state)
        self.optimizer_state = None
        progress = self.progress
        yield StageStarted(
            stage.name, stage.tasks, len(examples.items), examples.left_out, stage.epochs, steps, progress.step
        )
        while progress.epoch < stage.epochs and not self._out_of_patience(stage):
            yield from self._epoch(stage, examples, self._plan(stage, examples, progress.epoch), steps)
            yield self._end_epoch(stage)
        yield self._end_stage(stage)

    def _count(self, stage: Stage, examples: TrainingSet) -> tuple[int, dict[str, float]]:
        """The stage's steps, and each task's mean units in a batch. Plans are not kept: there may be many epochs."""
        steps = batches = 0
        units = dict.fromkeys(examples.units, 0)
        for epoch in range(stage.epochs):
            plan = self._plan(stage, examples, epoch)
            steps += -(-len(plan) // stage.accumulate)
            batches += len(plan)
            drawn = np.concatenate(plan)
            for name, counts in examples.units.items():
                units[name] += int(counts[drawn].sum())
        return steps, {name: total / batches for name, total in units.items()}

    def _plan(self, stage: Stage, examples: TrainingSet, epoch: int) -> list[NDArray[np.int64]]:
        return epoch_batches(
            examples.sizes,
            examples.lengths,
            examples.rows,
            budget=stage.batch_pieces,
            sampling=stage.sampling,
            seed=(self.recipe.seed, self.progress.stage, epoch),
        )

    def _pieces_used(self, examples: TrainingSet) -> Tensor:
        """The ids of all pieces in the training examples, special ones included, sorted."""
        tokenizer = self.model.encoder.tokenizer
        special = [*tokenizer.single.pieces, *tokenizer.double.pieces, tokenizer.padding, tokenizer.unknown]
        parts = [np.asarray(special, dtype=np.int64), *(part for i in examples.items for part in (i.ids, i.pair))]
        return torch.from_numpy(np.unique(np.concatenate(parts)))

    def _epoch(
        self, stage: Stage, examples: TrainingSet, plan: Sequence[NDArray[np.int64]], steps: int
    ) -> Iterator[Stepped]:
        progress, optimizer = self.progress, self.optimizer
        assert optimizer is not None
        self.model.train()
        weights = {name: stage.weights.get(name, self.model.tasks[name].weight) for name in stage.tasks}
        while progress.batch < len(plan):
            start = time.perf_counter()
            batches = plan[progress.batch : progress.batch + stage.accumulate]
            words = pieces = 0
            losses: dict[str, list[float]] = {}
            for rows in batches:
                found = self._backward(examples, rows, weights, len(batches))
                for name, loss in found.items():
                    losses.setdefault(name, []).append(float(loss.total.detach()) / max(1, loss.units))
                items = [examples.items[row] for row in rows]
                words += sum(len(item.words) or item.length for item in items)
                pieces += sum(item.length for item in items)
            norm = optimizer.step(progress.step)
            self._see_that_it_learns(norm)
            mean = {name: sum(values) / len(values) for name, values in losses.items()}
            for name, value in mean.items():
                total, count = progress.losses.get(name, [0.0, 0])
                progress.losses[name] = [total + value, count + 1]
            progress.batch += len(batches)
            progress.step += 1
            progress.words += words
            seconds = time.perf_counter() - start
            progress.seconds += seconds
            yield Stepped(stage.name, progress.epoch + 1, progress.step, steps, mean, norm, words, pieces, seconds)

    def _see_that_it_learns(self, norm: float) -> None:
        """A step whose gradient is no number is left out; many in a row mean that nothing will come of the run."""
        self.lost = 0 if math.isfinite(norm) else self.lost + 1
        if self.lost >= LOST_STEPS:
            raise PolyheadError(f"The gradient has been no number for {self.lost} steps in a row.", remedy=_SLOWER)

    def _see_that_it_stays(self, weights: dict[str, Tensor]) -> None:
        """No weight of a model that answers is anywhere near this large; one that is no number is larger still."""
        for name, value in weights.items():
            largest = float(value.abs().max()) if value.is_floating_point() and value.numel() else 0.0
            if not largest < LARGEST_WEIGHT:
                raise PolyheadError(f"The weights have run away: one of {name} is {largest:.3g}.", remedy=_SLOWER)

    def _backward(
        self, examples: TrainingSet, rows: NDArray[np.int64], weights: dict[str, float], parts: int
    ) -> dict[str, LossSum]:
        encoder = self.model.encoder
        batch = encoder.collate([examples.items[row] for row in rows]).to(encoder.device)
        targets = {}
        for name in weights:
            gold = [examples.targets[name][row] for row in rows]
            here = [i for i, target in enumerate(gold) if target is not None]
            targets[name] = Targets(here, [gold[i] for i in here])
        losses = self.model.loss(batch, targets)
        (combine(losses, weights, self.usual) / parts).backward()  # type: ignore[no-untyped-call]
        return losses

    def _end_epoch(self, stage: Stage) -> EpochEnded:
        progress = self.progress
        assert self.optimizer is not None
        epoch = progress.epoch + 1
        with self.optimizer.averaged(self.model) as weights:
            self._see_that_it_stays(weights)
            start = time.perf_counter()
            scores = self._score(stage)
            seconds = time.perf_counter() - start
            mean = mean_score(scores, self.model.tasks)
            better = self._note_best(stage, epoch, scores, mean, weights)
        record = EpochEnded(
            stage=stage.name,
            epoch=epoch,
            losses={name: total / count for name, (total, count) in progress.losses.items()},
            scores=scores,
            main={name: self.model.tasks[name].metric for name in scores},
            mean=mean,
            best=better,
            words_per_second=progress.words / max(progress.seconds, 1e-9),
            seconds=progress.seconds,
            evaluation_seconds=seconds,
        )
        progress.epoch, progress.batch = epoch, 0
        progress.losses, progress.words, progress.seconds = {}, 0, 0.0
        progress.waited = 0 if better else progress.waited + 1
        return record

    def _score(self, stage: Stage) -> Scores:
        self.model.eval()
        gold = self.material.gold("dev", [self.model.tasks[name] for name in stage.tasks])
        return score(self.model, gold, stage.tasks)

    def _note_best(
        self, stage: Stage, epoch: int, scores: Scores, mean: float | None, weights: dict[str, Tensor]
    ) -> bool:
        """Write the weights down if they are the best by any measure; whether they are by the mean."""
        progress = self.progress
        file = f"{stage.name}-{epoch:05d}.safetensors"
        better = mean is not None and (progress.mean is None or mean > progress.mean.score)
        improved = []
        for name in scores:
            value = main_score(scores, self.model.tasks[name])
            if name not in progress.tasks or value > progress.tasks[name].score:
                improved.append((name, Best(value, stage.name, epoch, file)))
        if better or improved:
            save_best(self.folder, file, weights)
        progress.tasks.update(improved)
        if better and mean is not None:
            progress.mean = Best(mean, stage.name, epoch, file)
        prune_best(self.folder, progress.files() | self.checkpointed)
        return better

    def _out_of_patience(self, stage: Stage) -> bool:
        return stage.patience is not None and self.progress.waited >= stage.patience

    def _end_stage(self, stage: Stage) -> StageEnded:
        progress = self.progress
        best = progress.mean if stage.keep == "best" else None
        if best:
            kept = load_best(self.folder, best.file)
        else:
            assert self.optimizer is not None
            with self.optimizer.averaged(self.model) as weights:
                kept = {name: value.clone() for name, value in weights.items()}
        widen(self.model.encoder.transformer)
        self.model.float().load_state_dict(kept)
        self.model.eval()
        self.optimizer = None
        record = StageEnded(
            stage.name, progress.epoch, best.epoch if best else progress.epoch, progress.epoch < stage.epochs
        )
        progress.stage += 1
        progress.epoch = progress.batch = progress.step = progress.waited = 0
        progress.mean = None
        return record
