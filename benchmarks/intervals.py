"""Whether a study's intervals are right: experiments with a known gain, drawn again and again.

    python benchmarks/intervals.py                  # some minutes of one processor
    python benchmarks/intervals.py --draws 400

Two ways answer the same test examples with several seeds. An example is easy or hard for both ways, some examples suit
one of them better, a seed is lucky or unlucky, and the rest is chance: each answer is drawn by a probability, a probit
of the sum. The figure is accuracy, or F1 over spans whose number differs from sentence to sentence and that come with
false alarms. What the second way has more in the long run is known, from the probabilities. Each line of the table says
how often the 95 % interval of the difference held it, and how often the two ways were called different.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from polyhead.studies.effects import Contributions, difference

Floats = NDArray[np.float64]

HARD, SUITS = 1.0, 0.5
"""How far examples differ for both ways, and for one of them, on the probit's scale."""

SPANS, ALARMS = 0.9, 0.35
"""The mean number of gold spans in a sentence, and of false alarms."""

FINE = 200_000
"""How many seeds a figure in the long run is averaged over."""


@dataclass(frozen=True)
class Experiment:
    """What is drawn.

    Attributes:
        figure: ``accuracy`` or ``F1``.
        seeds, examples: How many.
        luck: How far seeds differ, on the probit's scale.
        gain: How much better the second way is, on the probit's scale.
    """

    figure: str
    seeds: int
    examples: int
    luck: float
    gain: float


def chances(base: float, gain: float, hard: Floats, suits: Floats, luck: Floats) -> Floats:
    """The probability of each right answer. Shape (seeds, examples)."""
    found: Floats = ndtr(base + gain + hard + suits + luck[:, None])
    return found


def accuracy(rng: np.random.Generator, chance: Floats, _: NDArray[np.int64]) -> list[Contributions]:
    """A run for each row of probabilities."""
    right = (rng.random(chance.shape) < chance).astype(np.float64)
    return [Contributions(float(row.mean()), row - row.mean()) for row in right]


def f1(rng: np.random.Generator, chance: Floats, gold: NDArray[np.int64]) -> list[Contributions]:
    """A run for each row of probabilities that a gold span is found."""
    found = rng.binomial(gold[None], chance)
    given = found + rng.poisson(ALARMS, chance.shape)
    runs = []
    for hits, answers in zip(found, given, strict=True):
        both, all_ = hits.sum(), answers.sum() + gold.sum()
        figure = 2 * both / all_
        own = (len(gold) - 1) * (figure - 2 * (both - hits) / (all_ - answers - gold))
        runs.append(Contributions(float(figure), own - own.mean()))
    return runs


FIGURES: dict[str, Callable[[np.random.Generator, Floats, NDArray[np.int64]], list[Contributions]]] = {
    "accuracy": accuracy,
    "F1": f1,
}


def in_the_long_run(figure: str, base: float, gain: float, luck: float) -> float:
    """A way's figure over all examples and seeds that there could be."""
    lucks = luck * np.random.default_rng(0).standard_normal(FINE) if luck else np.zeros(1)
    right = ndtr((base + gain + lucks) / np.sqrt(1 + HARD**2 + SUITS**2))  # the mean of a probit over normal examples
    if figure == "accuracy":
        return float(right.mean())
    return float((2 * SPANS * right / (SPANS * right + ALARMS + SPANS)).mean())


def drawn(experiment: Experiment, draws: int, seed: int) -> tuple[float, float, float]:
    """The true gain, how often the interval held it, and how often a difference was called."""
    rng = np.random.default_rng(seed)
    make = FIGURES[experiment.figure]
    base = 0.6
    truth = in_the_long_run(experiment.figure, base, experiment.gain, experiment.luck) - in_the_long_run(
        experiment.figure, base, 0.0, experiment.luck
    )
    held = called = 0
    for _ in range(draws):
        hard = HARD * rng.standard_normal(experiment.examples)
        gold = rng.poisson(SPANS, experiment.examples)
        ways = []
        for gain in (0.0, experiment.gain):
            suits = SUITS * rng.standard_normal(experiment.examples)
            luck = experiment.luck * rng.standard_normal(experiment.seeds)
            runs = make(rng, chances(base, gain, hard, suits, luck), gold)
            ways.append(dict(enumerate(runs)))
        found = difference(ways[0], ways[1])
        assert found is not None
        held += found.low <= truth <= found.high
        called += found.p <= 0.05
    return truth, held / draws, called / draws


def experiments() -> Iterator[Experiment]:
    """All that the table shows."""
    for figure, seeds, examples, luck, gain in product(FIGURES, (3, 5), (200, 1000), (0.0, 0.05, 0.15), (0.0, 0.2)):
        yield Experiment(figure, seeds, examples, luck, gain)


def main() -> None:
    """Draw, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    print("| figure | seeds | test examples | luck of seeds | true gain | interval holds it | called different |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    held, false = [], []
    for one in experiments():
        truth, holds, called = drawn(one, told.draws, told.seed)
        held.append(holds)
        false += [] if one.gain else [called]
        cells = [one.figure, one.seeds, one.examples, one.luck, f"{100 * truth:.1f}", f"{100 * holds:.1f}"]
        print("|", " | ".join(map(str, cells)), f"| {100 * called:.1f} |", flush=True)
    print(f"\nheld: {100 * np.mean(held):.1f} in 100 on average, {100 * min(held):.1f} to {100 * max(held):.1f};")
    print(f"called without a gain: {100 * np.mean(false):.1f} in 100 on average, at most {100 * max(false):.1f}")


if __name__ == "__main__":
    main()
