"""Notes on texts that an encoder cannot read: in ``data check``, and as training begins."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import polyhead
from nn.families import build
from polyhead.recipe import load_recipe
from polyhead.training.look import look

STILL = "[[stages]]\nepochs = 1\nlearning_rate = 0.0\nhead_learning_rate = 0.0\n"
MOOD = '[tasks.mood]\ntype = "classification"\ndata = "d"\nlayer = "label"\n'
PAIRS = '[tasks.mt]\ntype = "seq2seq"\ndata = "d"\nlayers = 1\nwidth = 16\nvocabulary = {}\n'


@pytest.fixture(scope="module")
def uncased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that takes accents away."""
    return build("electra", tmp_path_factory.mktemp("uncased"))


def write(folder: Path, encoder: str, rest: str, rows: list[str], layers: str = "") -> Path:
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    path = folder / "recipe.toml"
    top = 'precision = "fp32"\ndevice = "cpu"\n'
    path.write_text(f'{top}{encoder}\n[data.d]\ntrain = "train.tsv"\n{layers}{rest}{STILL}', encoding="utf-8")
    return path


FRENCH = ["text\tlabel", *["c'est un été à voir\tgood", "la mer est là\tbad"] * 3]


def test_data_check_tells_of_a_language_that_cannot_be_read(tmp_path: Path, uncased: Path) -> None:
    (report,) = look(load_recipe(write(tmp_path, f'encoder = "{uncased}"', MOOD, FRENCH)))
    assert report.readings["text"].stripped.count == 9
    assert json.loads(json.dumps(report.to_dict()))["readings"]["text"]["stripped"]["named"][0].startswith('"été"')
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(report)
    shown = " ".join(console.export_text().split())
    assert "lose accents or other marks" in shown and "train.tsv:2" in shown


def test_training_begins_with_a_note(tmp_path: Path, uncased: Path) -> None:
    told: list[str] = []
    run = polyhead.train(write(tmp_path, f'encoder = "{uncased}"', MOOD, FRENCH), tmp_path / "run", tell=told.append)
    (note,) = (note for note in told if "lose accents" in note)
    assert note.startswith("data.d, text: 30.0% of the words lose accents")
    assert note in json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["notes"]


def test_pieces_from_scratch_are_of_the_language(tmp_path: Path) -> None:
    scratch = "[encoder]\nlayers = 1\nwidth = 16\nheads = 1\nvocabulary = 261\n"
    (report,) = look(load_recipe(write(tmp_path, scratch, MOOD, FRENCH)))
    assert report.readings == {}


@pytest.mark.parametrize(("vocabulary", "sides"), [("300", ["text"]), ('"encoder"', ["text", "target"])])
def test_targets_count_if_they_are_written_with_the_encoder_s_pieces(
    tmp_path: Path, uncased: Path, vocabulary: str, sides: list[str]
) -> None:
    rows = ["text\ttarget", *["a cat\tun été là", "a dog\tun chien"] * 3]
    recipe = write(tmp_path, f'encoder = "{uncased}"', PAIRS.format(vocabulary), rows)
    (report,) = look(load_recipe(recipe))
    assert list(report.readings) == sides
    assert all(report.readings[side].written == (side == "target") for side in sides)


def test_both_texts_of_a_pair_are_looked_at(tmp_path: Path, uncased: Path) -> None:
    rows = ["one\ttwo\tlabel", *["a cat\tun été là\tyes", "a dog\tun chien\tno"] * 3]
    layers = 'layers = { text = "one", pair = "two" }\n'
    task = MOOD
    (report,) = look(load_recipe(write(tmp_path, f'encoder = "{uncased}"', task, rows, layers)))
    assert (report.readings["text"].stripped.count, report.readings["pair"].stripped.count) == (0, 6)
