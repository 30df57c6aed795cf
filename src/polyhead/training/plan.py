"""The plan of a stage: which batches each epoch has. Pure functions of seed, stage and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from polyhead.stage import Stage
from polyhead.training.examples import TrainingSet
from polyhead.training.sampling import Replay, epoch_batches


@dataclass(frozen=True)
class Plan:
    """Which batches each epoch of a stage has. Nothing is kept: there may be many epochs.

    Attributes:
        stage: Its epochs, sampling and batches.
        examples: What there is to draw from.
        seed: What the order depends on beside the epoch.
    """

    stage: Stage
    examples: TrainingSet
    seed: Sequence[int]

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, counted from 0, as places of examples."""
        return epoch_batches(
            self.examples.sizes,
            self.examples.lengths,
            self.examples.rows,
            budget=self.stage.batch_pieces,
            sampling=self.stage.sampling,
            seed=(*self.seed, number),
            mixed=self.stage.batches == "mixed",
            replay=Replay(self.examples.replayed, self.stage.replay),
        )

    @property
    def steps(self) -> int:
        """The steps of all epochs."""
        return self._counted[0]

    @property
    def usual(self) -> dict[str, float]:
        """Each task's mean number of units in a batch."""
        return self._counted[1]

    @property
    def drawn(self) -> int:
        """The examples that an epoch goes through, those that come twice counted twice."""
        return self._counted[2]

    @property
    def soft_scales(self) -> dict[str, float]:
        """For each task that has teachers its units with gold in a batch, over those that the teachers label."""
        soft = self._counted[3]
        return {name: self.usual[name] / units for name, units in soft.items() if units}

    @cached_property
    def _counted(self) -> tuple[int, dict[str, float], int, dict[str, float]]:
        steps = batches = drawn = 0
        units, soft = dict.fromkeys(self.examples.units, 0), dict.fromkeys(self.examples.soft_units, 0)
        for number in range(self.stage.epochs):
            epoch = self.epoch(number)
            steps += -(-len(epoch) // self.stage.accumulate)
            batches += len(epoch)
            examples = np.concatenate(epoch)
            drawn = len(examples)
            for found, table in ((units, self.examples.units), (soft, self.examples.soft_units)):
                for name, counts in table.items():
                    found[name] += int(counts[examples].sum())
        usual, soft_usual = ({name: total / batches for name, total in found.items()} for found in (units, soft))
        return steps, usual, drawn, soft_usual
