"""The training loop: a generator of records. Between two of them its state is whole and can be saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn.adapt import attach, detach, plain_weights
from polyhead.nn.attention import exchange_attention
from polyhead.nn.batch import Batch
from polyhead.nn.layers import EMBEDDINGS
from polyhead.nn.vocabulary import narrow, narrowable, widen
from polyhead.recipe import Recipe, check_replay, replayed_tasks
from polyhead.scoring import Scores, main_score, mean_score, score
from polyhead.stage import Stage
from polyhead.training.checkpoint import Best, Checkpoint, Progress, load_best, prune_best, save_best
from polyhead.training.distil import Lessons, find_teachers, soft_folder, taught_tasks, write_soft_labels
from polyhead.training.dividing import Division, divides
from polyhead.training.examples import Taught, TrainingSet
from polyhead.training.features import features_of
from polyhead.training.learning import NOTHING, frozen_at, last_frozen
from polyhead.training.optim import SLOWER, Optimizer, see_small
from polyhead.training.passes import Passes, chance_losses, collated
from polyhead.training.plan import Plan
from polyhead.training.prepare import Material
from polyhead.training.records import Cosine, EpochEnded, Record, StageEnded, StageStarted, Stepped
from polyhead.training.weighting import make_weighting

LOST_STEPS = 10
"""So many steps in a row without a finite gradient end a run."""

MEASUREMENTS, BACKWARD_PASSES = 40, 20
"""Cosines are measured about 40 times in a stage, but not more often than every 20 steps for each task: each task costs
a backward pass more, about two thirds of a step, so that this is about 3 % of the time."""


class Training:
    """A run in memory: the model, what it learns from, and how far it is.

    Args:
        recipe: With named stages.
        model: With the recipe's tasks, and its precision set.
        material: The datasets.
        folder: The run's folder, for best weights.
        known: The tasks that the run which the recipe starts from has learnt.

    Raises:
        PolyheadError: A stage has nothing to replay, or a task of it nothing to learn.
    """

    def __init__(
        self, recipe: Recipe, model: Model, material: Material, folder: Path, known: Collection[str] = ()
    ) -> None:
        for number in range(len(recipe.stages)):
            with recipe.blamed():
                check_replay(recipe, number, known)
                if recipe.stages[number].distil is None:  # else a task may learn from its teachers alone
                    material.see_targets([model.tasks[name] for name in recipe.stages[number].tasks])
        self.recipe = recipe
        self.model = model
        self.material = material
        self.folder = folder
        self.known = known
        self.progress = Progress()
        self.saved: Checkpoint | None = None
        self.optimizer: Optimizer | None = None
        self.checkpointed: set[str] = set()
        """The files of best weights that the last checkpoint speaks of."""
        self.lost = 0
        self.tell: Callable[[str], object] = lambda _: None
        """Called with each note on what a stage does beside training."""
        self.lessons: Lessons | None = None
        self.division = Division(model, torch.device(recipe.device), active=divides(recipe))
        self.wishes: Callable[[], Sequence[bool]] = lambda: ()
        """Asked at each step for what this process wants all to do after it, such as to stop."""
        self.agreed: Sequence[bool] = ()
        """What of it some process wanted at the last step."""

    def go_on(self, saved: Checkpoint) -> None:
        """Stand where a checkpoint stands."""
        self.saved = saved
        self.progress = saved.progress
        self.checkpointed = saved.progress.files()
        if not saved.progress.step:  # between two stages; inside one, see _prepare
            self.model.load_state_dict(saved.weights)

    def weights(self) -> dict[str, Tensor]:
        """The model's weights in full precision, as they stand in the middle of a stage."""
        return self.optimizer.full_weights(self.model) if self.optimizer else self.model.state_dict()

    def records(self) -> Iterator[Record]:
        """Train, stage by stage. The state is whole whenever a record comes out."""
        for number in range(self.progress.stage, len(self.recipe.stages)):
            self._ask_teachers(number)  # of all stages first: what they lack is told before anything is learnt
        if self.known and self.saved is None:
            with self.division.during():
                self.progress.start = self._score([name for name in self.model.tasks if name in self.known])
        for number in range(self.progress.stage, len(self.recipe.stages)):
            yield from self._stage(self.recipe.stages[number])

    def _stage(self, stage: Stage) -> Iterator[Record]:
        progress = self.progress
        tasks = [*stage.tasks, *replayed_tasks(self.recipe, progress.stage, self.known)]
        labels = soft_folder(self.folder, progress.stage)
        examples = self._examples(progress.stage, taught_tasks(labels) if stage.distil else ())
        for remark in examples.remarks:
            self.tell(remark)
        plan = Plan(stage, examples, (self.recipe.seed, progress.stage))
        self.lessons = Lessons(labels, stage.distil, plan.soft_scales) if stage.distil else None
        self._prepare(stage, plan, tasks)
        yield StageStarted(
            stage.name, tasks, plan.drawn, examples.left_out, stage.epochs, plan.steps, progress.step, self.learning
        )
        try:
            while progress.epoch < stage.epochs and not self._out_of_patience(stage):
                yield from self._epoch(stage, plan)
                yield self._end_epoch(stage, tasks)
        finally:
            self.passes.look_no_further()
        yield self._end_stage(stage)

    def _examples(self, number: int, taught: Sequence[str]) -> TrainingSet:
        """What a stage, counted from 0, learns from, if teachers label texts for these tasks."""
        stage = self.recipe.stages[number]
        replayed = replayed_tasks(self.recipe, number, self.known)
        own, again = ([self.model.tasks[name] for name in names] for names in (stage.tasks, replayed))
        everywhere = stage.distil is not None and stage.distil.texts == "all"
        return self.material.training_set(own, again, Taught(taught, everywhere))

    def _ask_teachers(self, number: int) -> None:
        """Write the soft labels of a stage, counted from 0, if it has teachers and they are not there yet."""
        spec, labels = self.recipe.stages[number].distil, soft_folder(self.folder, number)
        if spec is None or ranks.told(labels.is_dir()):
            return
        teachers = find_teachers(self.recipe, number, self.model)
        taught = [name for name in self.model.tasks if any(name in teacher.tasks for teacher in teachers)]
        examples = self._examples(number, taught)
        ranks.once(lambda: write_soft_labels(labels, teachers, examples, spec, self.model))

    def _prepare(self, stage: Stage, plan: Plan, tasks: list[str]) -> None:
        """Set up what the stage learns, and how; in the middle of a stage, as it was when it was saved."""
        progress, model, encoder = self.progress, self.model, self.model.encoder
        encoder.set_dropout(stage.dropout)
        encoder.at_once = stage.batch_pieces
        own = [torch.cuda.current_device()] if self.division.device.type == "cuda" else []
        with torch.random.fork_rng(devices=own):
            torch.manual_seed(self.recipe.seed + progress.stage)
            if stage.adapter is not None:
                attach(encoder.transformer, **stage.adapter.model_dump())
                model.to(encoder.device)
            for name in stage.fresh:
                model.renew(name)
        exchange_attention(model)
        if self.saved and progress.step:
            model.load_state_dict(self.saved.weights)
        layers = encoder.depth - 1
        encoder.freeze(last_frozen(stage, layers))  # what may learn sooner or later
        weights_of, added = dict(encoder.named_parameters()), encoder.added
        self.learning = {
            "encoder": sum(p.numel() for p in weights_of.values() if p.requires_grad),
            "of": sum(p.numel() for name, p in weights_of.items() if name not in added),
        }
        only_layers = all(model.tasks[name].annotates for name in tasks)  # else any piece may be asked for
        few = stage.adapter is None and last_frozen(stage, layers) < EMBEDDINGS and only_layers
        used = self._pieces_used(plan) if few else None
        if used is not None and not self.division.active:
            narrow(encoder.transformer, used)
        weights = {name: stage.weights.get(name, model.tasks[name].weight) for name in tasks}
        if stage.normalise == "chance":
            progress.chance = progress.chance or chance_losses(
                model, plan, tasks, (self.recipe.seed, progress.stage, progress.step)
            )
            weights = {name: weight / progress.chance.get(name, 1.0) for name, weight in weights.items()}
        self.weighting = make_weighting(stage.combine, weights, plan.usual)
        self.weighting.begin_epoch(progress.history)
        self.weighting.to(self.division.device)
        ranks.spread([*model.parameters(), *model.buffers(), *self.weighting.others.values()])
        self.division.begin(narrowable(encoder.transformer) if few else None)
        self.shared = [p for p in encoder.parameters() if p.requires_grad]
        self.optimizer = Optimizer(model, stage, plan.steps, self.weighting.others, self.division.sharding)
        if self.saved and progress.step:
            self.optimizer.restore(self.saved.optimizer, used)
        self.saved = None
        self._keep_features(stage, tasks)
        seed = (self.recipe.seed, progress.stage)
        self.passes = Passes(model, plan.examples, self.weighting, self.lessons, self.shared, seed)
        self.passes.join(self.optimizer)
        self.measure_every = 0 if self.division.active else stage.cosines
        if self.measure_every is None:
            self.measure_every = max(plan.steps // MEASUREMENTS, BACKWARD_PASSES * len(tasks))

    def _keep_features(self, stage: Stage, tasks: list[str]) -> None:
        """Compute what frozen layers make of texts, or read it; a stage that began without goes on without."""
        if self.progress.kept is not False and not self.division.active:
            self.model.encoder.features = ranks.in_turn(
                lambda: features_of(self.model, self.material, stage, tasks, self.tell)
            )
            self.progress.kept = self.model.encoder.features is not None

    def _pieces_used(self, plan: Plan) -> Tensor:
        """The ids of all pieces in the training examples, special ones included, sorted."""
        tokenizer = self.model.encoder.tokenizer
        special = [*tokenizer.single.pieces, *tokenizer.double.pieces, tokenizer.padding, tokenizer.unknown]
        special += tokenizer.codes.values()
        return torch.from_numpy(np.union1d(np.asarray(special, dtype=np.int64), plan.examples.pieces))

    def _freeze(self, stage: Stage, steps: int) -> None:
        """Freeze what does not learn right now."""
        encoder, progress = self.model.encoder, self.progress
        level = frozen_at(stage, encoder.depth - 1, epoch=progress.epoch, share=progress.step / max(1, steps))
        if level != encoder.frozen:
            self.division.settle()
            encoder.freeze(level)

    def _epoch(self, stage: Stage, plan: Plan) -> Iterator[Stepped]:
        progress, optimizer = self.progress, self.optimizer
        assert optimizer is not None
        self.model.train()
        epoch = plan.epoch(progress.epoch)
        self.passes.expect(epoch[progress.batch :], stage.accumulate, progress.step)
        while progress.batch < len(epoch):
            start = time.perf_counter()
            self._freeze(stage, plan.steps)
            batches = epoch[progress.batch : progress.batch + stage.accumulate]
            measure = bool(self.measure_every) and (progress.step + 1) % int(self.measure_every or 1) == 0
            done = progress.step / max(1, optimizer.steps)
            passed = self.passes.step(batches, progress.step, done, measure=measure, wishes=self.wishes())
            norm = optimizer.step(progress.step, passed.gradients)
            self._see_that_it_learns(norm)
            self.agreed = passed.agreed
            items = [plan.examples.items[row] for rows in batches for row in rows]
            words = sum(len(item.words) or item.length for item in items)
            pieces = sum(item.length for item in items)
            progress.note_step(passed.losses, passed.cosines, batches=len(batches), words=words)
            seconds = time.perf_counter() - start
            progress.seconds += seconds
            yield Stepped(
                stage.name, progress.epoch + 1, progress.step, plan.steps, passed.losses, norm, words, pieces, seconds,
                passed.cosines,
            )  # fmt: skip

    def _see_that_it_learns(self, norm: float) -> None:
        """A step whose gradient is no number is left out; many in a row mean that nothing will come of the run."""
        self.lost = 0 if math.isfinite(norm) else self.lost + 1
        if self.lost >= LOST_STEPS:
            raise PolyheadError(f"The gradient has been no number for {self.lost} steps in a row.", remedy=SLOWER)

    def batch(
        self, examples: TrainingSet, rows: NDArray[np.int64], tasks: Sequence[str]
    ) -> tuple[Batch, dict[str, Targets]]:
        """Some examples of a stage as the encoder takes them, and the gold of these tasks in them."""
        seed = (self.recipe.seed, self.progress.stage, self.progress.step)
        return collated(self.model, examples, rows.tolist(), tasks, seed)

    def _end_epoch(self, stage: Stage, tasks: list[str]) -> EpochEnded:
        progress = self.progress
        assert self.optimizer is not None
        epoch = progress.epoch + 1
        due = epoch % stage.score_every == 0 or epoch == stage.epochs
        with self.optimizer.averaged(self.model) as weights:
            see_small(weights)
            start = time.perf_counter()
            scores = self._score(tasks) if due else {}
            seconds = time.perf_counter() - start
            mean = mean_score(scores, self.model.tasks)
            better = self._note_best(stage, epoch, scores, mean, plain_weights(self.model, weights))
        losses = {name: total / count for name, (total, count) in progress.losses.items()}
        record = EpochEnded(
            stage=stage.name,
            epoch=epoch,
            losses=losses,
            scores=scores,
            main={name: self.model.tasks[name].metric for name in scores},
            mean=mean,
            best=better,
            words_per_second=progress.words / max(progress.seconds, 1e-9),
            seconds=progress.seconds,
            evaluation_seconds=seconds,
        )
        if better or stage.keep == "last":
            progress.scored = scores
        progress.end_epoch(losses, scored=due, better=better)
        self.weighting.begin_epoch(progress.history)
        return record

    def _score(self, tasks: Sequence[str]) -> Scores:
        self.model.eval()
        gold = self.material.gold("dev", [self.model.tasks[name] for name in tasks])
        return score(self.model, gold, tasks)

    def _note_best(
        self, stage: Stage, epoch: int, scores: Scores, mean: float | None, weights: dict[str, Tensor]
    ) -> bool:
        """Write the weights down if they are the best by any measure; whether they are by the mean."""
        progress = self.progress
        file = f"{stage.name}-{epoch:05d}.safetensors"
        better = mean is not None and (progress.mean is None or progress.mean.beaten_by(mean))
        improved = []
        for name in scores:
            value = main_score(scores, self.model.tasks[name])
            if name not in progress.tasks or progress.tasks[name].beaten_by(value):
                improved.append((name, Best(value, stage.name, epoch, file)))
        if (better or improved) and ranks.first():
            save_best(self.folder, file, weights)
        progress.tasks.update(improved)
        if better and mean is not None:
            progress.mean = Best(mean, stage.name, epoch, file)
        if ranks.first():
            prune_best(self.folder, progress.files() | self.checkpointed)
        return better

    def _out_of_patience(self, stage: Stage) -> bool:
        return stage.patience is not None and self.progress.waited >= stage.patience

    def _end_stage(self, stage: Stage) -> StageEnded:
        progress = self.progress
        best = progress.mean if stage.keep == "best" else None
        if best:  # the first process has them for all
            kept = load_best(self.folder, best.file) if ranks.first() else {}
        else:
            assert self.optimizer is not None
            with self.optimizer.averaged(self.model) as weights:
                found = plain_weights(self.model, weights)
                kept = {name: value.clone() for name, value in found.items()} if ranks.first() else {}
        self.passes.close()
        del self.passes, self.shared  # what is divided is held by them, too
        self.optimizer = None
        self.division.end()
        detach(self.model)
        self.model.encoder.features = None
        widen(self.model.encoder.transformer)
        self.model.encoder.freeze(NOTHING)
        self.model.float()
        if ranks.first():
            self.model.load_state_dict(kept)
        ranks.spread([*self.model.parameters(), *self.model.buffers()])
        self.model.eval()
        learnt = {*self.known, *(name for one in self.recipe.stages[: progress.stage + 1] for name in one.tasks)}
        scores = progress.scored  # those of the epoch kept
        data = self.material.datasets
        if any("dev" in data[self.model.tasks[name].data].splits for name in learnt - set(scores)):
            with self.division.during():
                scores = self._score([name for name in self.model.tasks if name in learnt])
        cosines = {pair: Cosine.of(*sums) for pair, sums in progress.cosines.items()}
        record = StageEnded(
            stage=stage.name,
            epochs=progress.epoch,
            kept=best.epoch if best else progress.epoch,
            stopped_early=progress.epoch < stage.epochs,
            scores=scores,
            cosines=cosines,
            against=[pair for pair, cosine in cosines.items() if cosine.against],
            combine=stage.combine,
        )
        progress.end_stage(scores)
        return record
