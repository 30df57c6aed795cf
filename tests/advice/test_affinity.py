"""Groups of tasks: the best partition, found as by hand; a real short run; and what is called sure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import runs
from polyhead.advice.affinity import _group_worth, best_groups, grouped, mean_of, together
from polyhead.advice.measures import Floats
from polyhead.errors import PolyheadError
from polyhead.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

STAGE = "[[stages]]\nepochs = 1\nbatch_pieces = 48\n"


def partitions(tasks: list[int]) -> list[list[list[int]]]:
    """All of them, one task after the other put into each group or one of its own."""
    if not tasks:
        return [[]]
    out = []
    for rest in partitions(tasks[1:]):
        out.append([[tasks[0]], *rest])
        out += [[*rest[:i], [tasks[0], *group], *rest[i + 1 :]] for i, group in enumerate(rest)]
    return out


@pytest.mark.parametrize("seed", range(5))
def test_the_best_groups_are_those_that_a_search_of_all_finds(seed: int) -> None:
    means = np.random.default_rng(seed).normal(size=(5, 5))

    def worth(groups: list[list[int]]) -> float:
        return sum(float(_group_worth(means[None], group)[0]) for group in groups)

    found = best_groups(means)
    assert sorted(task for group in found for task in group) == list(range(5))
    assert worth(found) == pytest.approx(max(map(worth, partitions(list(range(5))))))


def test_tasks_that_nobody_helps_stay_alone() -> None:
    assert best_groups(np.full((4, 4), -0.1)) == [[0], [1], [2], [3]]
    assert best_groups(np.zeros((3, 3))) == [[0], [1], [2]]


def noisy(means: Floats, count: int, spread: float) -> Floats:
    return means + spread * np.random.default_rng(0).normal(size=(count, *means.shape))


def test_groups_that_help_are_found_and_are_sure() -> None:
    means = np.array([[0.3, 0.1, -0.1], [0.1, 0.3, -0.1], [-0.1, -0.1, 0.3]])
    found = grouped(["a", "b", "c"], noisy(means, 20, 0.02), 120)
    assert found.groups == [["a", "b"], ["c"]]
    assert found.over_alone.low > 0 and found.over_joint.low > 0
    shares = {(one.source, one.onto): one.share for one in found.affinities}
    assert shares["a", "b"].low > 0 > shares["a", "c"].high and ("a", "a") not in shares


def test_noise_is_not_taken_for_groups() -> None:
    """The groups are chosen on other measurements than those that they are judged by."""
    sure = 0
    for seed in range(60):
        found = grouped(["a", "b", "c", "d"], np.random.default_rng(seed).normal(size=(20, 4, 4)), 120)
        sure += found.over_alone.p < 0.05 and found.over_alone.value > 0
    assert sure <= 6


def test_measurements_that_lack_a_pair_are_left_out() -> None:
    values = mean_of(np.array([np.nan, 0.1, 0.2, 0.3]))
    assert values.value == pytest.approx(0.2) and 0 < values.p < 0.2
    assert mean_of(np.array([np.nan, 0.1])).p == 1.0


def test_a_short_run_tells_which_task_helps_which(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = runs.write_data(tmp_path / "files")
    recipe = load_recipe(runs.write_recipe(folder, tiny_encoder, STAGE))
    said: list[str] = []
    before = torch.random.get_rng_state()
    found = together(recipe, tell=said.append)
    assert {task for group in found.groups for task in group} == set(recipe.tasks)
    assert len(found.affinities) == 4 * 3 and all(np.isfinite(one.share.value) for one in found.affinities)
    assert found.measured >= 2 and said[0].startswith("affinities after step 6 of")
    assert len(said) < found.measured, "it is told now and then alone"
    torch.random.set_rng_state(before)
    assert together(recipe) == found, "the same seed gives the same"


def test_one_task_makes_no_groups(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = runs.write_data(tmp_path / "files")
    alone = '[tasks.mood]\ntype = "classification"\ndata = "ud"\nlayer = "sentiment"\n'
    recipe = load_recipe(runs.write_recipe(folder, tiny_encoder, STAGE, tasks=alone))
    with pytest.raises(PolyheadError, match="1 tasks"):
        together(recipe)
