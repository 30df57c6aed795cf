"""The passes of one step: losses and gradients of its batches, in one process or shared by several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.model import TRANSFORMER, Model, Targets
from polyhead.nn.batch import Batch
from polyhead.nn.layers import EMBEDDINGS
from polyhead.nn.sharding import Sharding
from polyhead.tasks import LossSum
from polyhead.training.adding import Adding
from polyhead.training.ahead import Ahead
from polyhead.training.distil import Lessons
from polyhead.training.examples import TrainingSet
from polyhead.training.optim import Optimizer
from polyhead.training.plan import Plan
from polyhead.training.sampling import share_out
from polyhead.training.weighting import Cosines, Weighting

Rows = NDArray[np.int64]

CHANCE_UNITS = 200
"""Over so many words or texts of a task the loss of a head that knows nothing is taken."""


class Passed(NamedTuple):
    """What came out of the passes of a step.

    Attributes:
        losses: The mean loss per unit of each task that its batches carry.
        cosines: Between the tasks' gradients, if they were measured.
        gradients: By the weights' names, where several processes have added them up; else the weights have them.
        agreed: What the processes asked for: of each wish whether one of them has it.
    """

    losses: dict[str, float]
    cosines: Cosines
    gradients: dict[str, Tensor] | None
    agreed: list[bool]


def collated(
    model: Model, examples: TrainingSet, rows: Sequence[int], tasks: Sequence[str], seed: Sequence[int]
) -> tuple[Batch, dict[str, Targets]]:
    """Some examples of a stage as the encoder takes them, and the gold of these tasks in them.

    Args:
        model: Whose encoder and tasks.
        examples: Of the stage.
        rows: Which of them.
        tasks: The tasks.
        seed: What blocks of text are corrupted by, beside their own number.
    """
    batch, targets = laid_out(model, examples, rows, tasks, seed)
    return batch.to(model.encoder.device), targets


def laid_out(
    model: Model, examples: TrainingSet, rows: Sequence[int], tasks: Sequence[str], seed: Sequence[int]
) -> tuple[Batch, dict[str, Targets]]:
    """As :func:`collated`, still on the CPU."""
    encoder = model.encoder
    drawn = examples.draw(rows, encoder.tokenizer, seed)
    batch = encoder.collate(drawn.items)
    targets = {}
    for name in tasks:
        gold = drawn.targets[name]
        here = [i for i, target in enumerate(gold) if target is not None]
        targets[name] = Targets(here, [gold[i] for i in here])
    return batch, targets


@dataclass
class Passes:
    """Forward and backward passes of a stage.

    Attributes:
        model: What learns.
        examples: What from.
        weighting: How losses become one step.
        lessons: What teachers say, if there are any.
        shared: The encoder's weights that may learn.
        seed: What random numbers depend on beside the step: of the run, and of the stage.
        adding: Adds gradients up over several processes.
        sharding: How the encoder's weights are divided among them, if they are.
        ahead: Lays batches out ahead of time, where a GPU computes.
    """

    model: Model
    examples: TrainingSet
    weighting: Weighting
    lessons: Lessons | None
    shared: Sequence[Tensor]
    seed: tuple[int, int]
    adding: Adding | None = None
    sharding: Sharding | None = None
    ahead: Ahead[tuple[Batch, dict[str, Targets]]] | None = None

    def expect(self, batches: Sequence[Rows], accumulate: int, number: int) -> None:
        """Lay out ahead of time what the next steps will ask for, on a GPU; elsewhere nothing would be won.

        Args:
            batches: The examples of each batch to come.
            accumulate: How many batches make a step.
            number: The first step's, from 0.
        """
        if self.ahead is None and self.model.encoder.device.type == "cuda":
            self.ahead = Ahead(self._laid_out, self.model.encoder.device)
        if self.ahead is not None:
            steps = ((rows, number + place // accumulate) for place, rows in enumerate(batches))
            shares = ((self._share(rows, step), step) for rows, step in steps)
            self.ahead.begin((rows, step) for rows, step in shares if len(rows))

    def look_no_further(self) -> None:
        """Lay nothing out ahead of time any more, whatever has happened."""
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None

    def step(
        self, batches: Sequence[Rows], number: int, done: float, *, measure: bool, wishes: Sequence[bool] = ()
    ) -> Passed:
        """Take the gradients of a step's batches.

        Args:
            batches: The examples of each.
            number: The step's, from 0.
            done: The share of the stage that is done.
            measure: Whether to take cosines.
            wishes: What this process asks for, which all processes are to know.
        """
        if self.adding is not None:
            self._draw_anew(number)
        found: list[dict[str, LossSum]] = []
        cosines: Cosines = {}
        for place, rows in enumerate(batches):
            last = place == len(batches) - 1
            losses = self._losses(rows, number, done)
            if self.adding is not None:
                losses = self._everywhere(losses, rows)
                if last and not self._several_passes(losses, measure=measure):
                    self.adding.begin()
            shared = [p for p in self.shared if p.requires_grad]
            cosines |= self.weighting.backward(losses, shared, scale=1 / len(batches), measure=measure)
            found.append(losses)
        if self.adding is None:
            return Passed(_means(_numbers(found)), cosines, None, list(wishes))
        return self._added(self.adding, found, cosines, wishes)

    def join(self, optimizer: Optimizer) -> None:
        """Add gradients up over all processes from now on, if there are several; divided weights add up their own."""
        if ranks.several():
            self.sharding = optimizer.sharding
            whole = {name: weight for name, weight in optimizer.names.items() if name not in optimizer.parts}
            self.adding = Adding(whole, _from_the_top(self.model, whole))

    def close(self) -> None:
        """Leave the weights alone from now on."""
        if self.adding is not None:
            self.adding.close()

    def _several_passes(self, losses: Mapping[str, LossSum], *, measure: bool) -> bool:
        """Whether a batch takes a backward pass for each task, so that no gradient is whole before the last one."""
        return len(losses) > 1 and (measure or self.weighting.joins)

    def _losses(self, rows: Rows, number: int, done: float) -> dict[str, LossSum]:
        """The losses of a batch, or of this process's share of it."""
        mine = self._share(rows, number)
        if len(mine):
            return self._own_losses(mine, number, done)
        # Where weights are divided, running the encoder is an exchange, in which all must take part.
        return {} if self.sharding is None else self._no_part(rows[:1], number, done)

    def _share(self, rows: Rows, number: int) -> Rows:
        """This process's share of a batch."""
        if self.adding is None:
            return rows
        parts = share_out(rows, self.examples.lengths, self.examples.rows, ranks.world())
        return parts[(ranks.rank() + number) % len(parts)]  # so that none has the shortest texts always

    def _laid_out(self, rows: Rows, number: int) -> tuple[Batch, dict[str, Targets]]:
        """A batch of some examples, still on the CPU."""
        tasks, seed = list(self.weighting.weights), (*self.seed, number)
        batch, targets = laid_out(self.model, self.examples, rows.tolist(), tasks, seed)
        return batch.pinned() if self.model.encoder.device.type == "cuda" else batch, targets

    def _own_losses(self, rows: Rows, number: int, done: float) -> dict[str, LossSum]:
        """The losses of some examples."""
        lessons = self.lessons.of(rows, done) if self.lessons else {}
        batch, targets = self._laid_out(rows, number) if self.ahead is None else self.ahead.take(rows, number)
        return self.model.loss(batch.to(self.model.encoder.device), targets, lessons)

    def _no_part(self, rows: Rows, number: int, done: float) -> dict[str, LossSum]:
        """Run the encoder on an example of the batch, backwards, too, for a loss of 0."""
        losses = self._own_losses(rows, number, done)
        return {name: LossSum(0 * loss.total, 0) for name, loss in losses.items()}

    def _everywhere(self, losses: Mapping[str, LossSum], rows: Rows) -> dict[str, LossSum]:
        """The losses of all tasks that the whole batch carries, in the order that all processes know."""
        carried = self.examples.carried(rows)
        if self.lessons is not None:
            carried |= self.lessons.carried(rows)
        nothing = LossSum(torch.zeros((), device=self.model.encoder.device), 0)
        return {name: losses.get(name, nothing) for name in self.weighting.weights if name in carried}

    def _draw_anew(self, number: int) -> None:
        """Begin a step's random numbers where seed, stage, step and rank say: no process need keep any for resuming."""
        state = np.random.SeedSequence([*self.seed, number, ranks.rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))

    def _added(
        self, adding: Adding, found: Sequence[Mapping[str, LossSum]], cosines: Cosines, wishes: Sequence[bool]
    ) -> Passed:
        """Gradients, losses and wishes, added up over all processes."""
        device = adding.device
        totals = [loss.total.detach().to(device, torch.float32) for losses in found for loss in losses.values()]
        rest = [float(loss.units) for losses in found for loss in losses.values()] + [float(wish) for wish in wishes]
        sums, gradients = adding.end(torch.cat([torch.stack(totals), torch.tensor(rest, device=device)]))
        if self.sharding is not None:
            gradients |= {TRANSFORMER + name: grad for name, grad in self.sharding.gradients().items()}
        each = iter(zip(sums[: len(totals)], sums[len(totals) :], strict=False))
        numbers = [{name: next(each) for name in losses} for losses in found]
        agreed = [count > 0 for count in sums[2 * len(totals) :]]
        return Passed(_means(numbers), cosines, gradients, agreed)


def _numbers(found: Sequence[Mapping[str, LossSum]]) -> list[dict[str, tuple[float, float]]]:
    """The sums of losses and their units, batch by batch."""
    return [{name: (float(loss.total.detach()), loss.units) for name, loss in losses.items()} for losses in found]


def _means(found: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
    """Each task's loss per unit, of the batches that carry it."""
    means: dict[str, list[float]] = {}
    for losses in found:
        for name, (total, units) in losses.items():
            means.setdefault(name, []).append(total / max(1, units))
    return {name: sum(values) / len(values) for name, values in means.items()}


def chance_losses(model: Model, plan: Plan, tasks: Sequence[str], seed: Sequence[int]) -> dict[str, float]:
    """For each task the loss per unit of a head that knows nothing, over the first batches that carry it."""
    model.eval()
    total: dict[str, float] = {}
    units: dict[str, float] = {}
    for rows in plan.epoch(0):
        wanted = [name for name in tasks if units.get(name, 0) < CHANCE_UNITS]
        if not wanted:
            break
        batch, targets = collated(model, plan.examples, rows.tolist(), wanted, seed)
        for name, loss in model.chance(batch, targets).items():
            total[name] = total.get(name, 0.0) + float(loss.total)
            units[name] = units.get(name, 0) + loss.units
    return {name: total[name] / units[name] for name in total if units[name] and total[name] > 0}


def _from_the_top(model: Model, names: Iterable[str]) -> list[str]:
    """The weights of the encoder's layers in the order in which a backward pass comes by them; none if it has none."""
    try:
        levels = {TRANSFORMER + name: level for name, level in model.encoder.levels().items() if level > EMBEDDINGS}
    except PolyheadError:  # layers share their weights, whose gradients are whole at the end alone
        return []
    layered = {name: place for place, name in enumerate(names) if name in levels}
    return sorted(layered, key=lambda name: (-levels[name], -layered[name]))
