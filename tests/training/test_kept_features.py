"""Stages with frozen layers: what is kept on disk changes neither what is learnt nor how a run goes on after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import killing
import polyhead
import runs
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.nn.loading import load_encoder

pytestmark = pytest.mark.usefixtures("light")

STAGE = """\
[[stages]]
epochs = 2
learning_rate = 0.01
head_learning_rate = 0.01
batch_pieces = 96
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def train(tmp_path: Path, tiny_encoder: Path) -> Callable[..., tuple[polyhead.Run, list[str]]]:
    """Trains the stage with some further lines; gives the run and the notes about features."""
    folder = runs.write_data(tmp_path / "data")

    def go(settings: str) -> tuple[polyhead.Run, list[str]]:
        number = len(list(tmp_path.glob("run*")))
        recipe = runs.write_recipe(folder, tiny_encoder, STAGE + settings)
        notes: list[str] = []
        run = polyhead.train(recipe, tmp_path / f"run{number}", tell=notes.append)
        return run, [note for note in notes if "frozen layers" in note]

    return go


Train = Callable[..., tuple[polyhead.Run, list[str]]]


@pytest.mark.parametrize("settings", ['freeze = "encoder"', "freeze = 1", 'thaw = "epoch"'])
def test_the_weights_are_those_of_a_stage_without(settings: str, train: Train, cache: Path) -> None:
    without, notes = train(f"{settings}\ncache = false")
    assert notes == [] and not cache.exists()
    run, notes = train(settings)
    assert len(notes) == 3, "dev of two datasets, and train, whose texts are the same in both"
    expected, found = without.model().state_dict(), run.model().state_dict()
    for name, weight in found.items():
        if not name.endswith("key.bias"):  # its gradient is 0 but for rounding, which Adam makes as long as any other
            torch.testing.assert_close(weight, expected[name], rtol=1e-3, atol=1e-4, msg=name)
    assert run.scores == without.scores


def test_nothing_is_kept_where_nothing_stays_frozen(train: Train, cache: Path) -> None:
    for settings in ("", 'freeze = "embeddings"', "thaw = 0.1"):
        assert train(settings)[1] == []
    assert not cache.exists()


def test_pretraining_above_frozen_layers_has_nothing_to_keep(tmp_path: Path, tiny_encoder: Path, cache: Path) -> None:
    """Blocks of text are corrupted anew at each step."""
    folder = runs.write_data(tmp_path / "data")
    task = '[tasks.text]\ntype = "masked-lm"\ndata = "ud"\n'
    run = polyhead.train(runs.write_recipe(folder, tiny_encoder, f"{STAGE}freeze = 1", tasks=task), tmp_path / "run")
    assert not cache.exists()
    before = load_encoder(str(tiny_encoder)).state_dict()
    moved = {name for name, weight in run.model().encoder.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved and all(".layer.1." in name for name in moved), "the second layer learns, and nothing else"


def test_a_second_run_reads_what_the_first_one_kept(train: Train) -> None:
    first, notes = train('freeze = "encoder"')
    again, others = train('freeze = "encoder"')
    assert len(notes) == 3 and others == []
    assert runs.differences(runs.outcome(first.folder), runs.outcome(again.folder)) == []
    assert train("freeze = 1")[1] == [], "lower layers are the same, whatever is above"


def test_a_later_stage_has_features_of_its_own_weights(train: Train) -> None:
    """The first stage changes the encoder, so what the second one freezes is another one."""
    second = '\n[[stages]]\nname = "second"\ntasks = ["mood"]\nfreeze = "encoder"\nepochs = 1'
    run, notes = train(second)
    assert len(notes) == 2
    without, _ = train(f"{second}\ncache = false")
    for name, weight in run.model().state_dict().items():
        torch.testing.assert_close(weight, without.model().state_dict()[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_cache_that_may_hold_nothing_is_told(train: Train, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYHEAD_CACHE_GIB", "0")
    run, notes = train('freeze = "encoder"')
    assert run.scores["dev"] and len(notes) == 4 and all("are not kept" in note for note in notes)
    assert not list(cache.iterdir())


def test_a_wrong_bound_is_told_before_anything_is_trained(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYHEAD_CACHE_GIB", "lots")
    with pytest.raises(PolyheadError, match="POLYHEAD_CACHE_GIB"):
        train('freeze = "encoder"')
    assert not (tmp_path / "run0" / "log.jsonl").exists()


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("settings", ['freeze = "encoder"', "freeze = 1"])
def test_a_killed_run_goes_on_bit_for_bit(settings: str, forget: bool, tmp_path: Path, tiny_encoder: Path) -> None:
    """Also where the cache was emptied since."""
    context = killing.spawner()
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, STAGE + settings)
    whole, own = ({"POLYHEAD_CACHE": str(tmp_path / name)} for name in ("one", "other"))
    ended = killing.run(context, recipe, tmp_path / "whole", environment=whole)
    assert ended.status == 0, ended.error
    ended = killing.run(context, recipe, tmp_path / "run", Moment("Stepped", 3), own)
    assert ended.status == KILLED and len(list((tmp_path / "other").iterdir())) == 3 * (3 if "enc" in settings else 2)
    if forget:
        shutil.rmtree(tmp_path / "other")
    ended = killing.run(context, None, tmp_path / "run", environment=own)
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "whole")) == []


def test_a_stage_that_began_without_goes_on_without(tmp_path: Path, tiny_encoder: Path) -> None:
    """Else the rest of the run would have other last bits than if it had not been killed."""
    context = killing.spawner()
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, f'{STAGE}freeze = "encoder"')
    nothing = {"POLYHEAD_CACHE": str(tmp_path / "cache"), "POLYHEAD_CACHE_GIB": "0"}
    ended = killing.run(context, recipe, tmp_path / "run", Moment("Stepped", 3), nothing)
    assert ended.status == KILLED and any("are not kept" in note for note in ended.told)
    ended = killing.run(context, None, tmp_path / "run", environment=nothing | {"POLYHEAD_CACHE_GIB": "1"})
    assert ended.status == 0, ended.error
    assert not list((tmp_path / "cache").iterdir())


def test_a_kill_while_vectors_are_written_costs_only_these(tmp_path: Path, tiny_encoder: Path) -> None:
    context = killing.spawner()
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, f'{STAGE}freeze = "encoder"')
    cache = tmp_path / "run" / "cache"
    own = {"POLYHEAD_CACHE": str(cache)}
    ended = killing.run(context, recipe, tmp_path / "run", Moment(r"os.rename cache/", 2), own)
    assert ended.status == KILLED
    assert sorted(path.suffix for path in cache.iterdir()) == [".safetensors", ".unfinished", ".unfinished"]
    ended = killing.run(context, None, tmp_path / "run", environment=own)
    assert ended.status == 0, ended.error
    assert len(list(cache.glob("*.safetensors"))) == 3 * 3
