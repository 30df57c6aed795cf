"""What a recipe may say of where its model starts; each contradiction names a key, its value and a remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from polyhead.encoder_spec import LEAST_PIECES, EncoderSpec
from polyhead.errors import PolyheadError
from polyhead.nn.scratch import SPECIALS, Shape
from polyhead.recipe import load_recipe

REST = '[data.d]\ntrain = "d.conllu"\n\n[tasks.pos]\ntype = "tagging"\ndata = "d"\nlayer = "upos"\n'


def fault(folder: Path, origin: str) -> PolyheadError:
    path = folder / "recipe.toml"
    path.write_text(f"{origin}\n{REST}", encoding="utf-8")
    with pytest.raises(PolyheadError) as caught:
        load_recipe(path)
    assert caught.value.file == str(path)
    return caught.value


@pytest.mark.parametrize(
    ("keys", "what", "remedy"),
    [
        ('name = "minilm"\nlayers = 3', "encoder.layers = 3 is for an encoder from scratch", "Leave layers out"),
        ('name = "minilm"\nlowercase = true', "encoder.lowercase = true is for", "Leave lowercase out"),
        ("reinitialise = 2", "encoder.reinitialise = 2 needs a pretrained", 'name = "minilm"'),
        ('weights = "pretrained"', "encoder.weights = 'pretrained' needs a pretrained", 'name = "minilm"'),
        (
            'name = "minilm"\nweights = "random"\nreinitialise = 1',
            "encoder.reinitialise = 1 stands beside",
            "Leave one",
        ),
        ('name = "minilm"\nreinitialise = -1', "encoder.reinitialise = -1", "How many"),
        ('name = "minilm"\nweights = "new"', "encoder.weights = 'new'", "pretrained weights"),
        ("width = 100\nheads = 7", "encoder.heads = 7 does not divide encoder.width = 100", "Take 4, 5 or 10 heads"),
        ("vocabulary = 260", "encoder.vocabulary = 260 is not right: it should be greater", f"at least {LEAST_PIECES}"),
        ("layers = 0", "encoder.layers = 0", "number of layers"),
        ("layers = 2.5", "encoder.layers = 2.5", "number of layers"),
        ("extend = 100", "encoder.extend = 100 needs a named encoder", "say in vocabulary"),
        ('name = "minilm"\nextend = 0', "encoder.extend = 0 is not right: it should be greater", "The most pieces"),
        (
            'name = "minilm"\nextend = 60000',
            "encoder.extend = 60000 is not right: it should be less",
            "The most pieces",
        ),
        ("window = 4", "encoder.window = 4 is out of bounds", "8 to 8192"),
    ],
)
def test_keys_of_an_encoder_that_do_not_go_together(tmp_path: Path, keys: str, what: str, remedy: str) -> None:
    error = fault(tmp_path, f"[encoder]\n{keys}\n")
    assert what in error.what and remedy in error.remedy
    lines = (tmp_path / "recipe.toml").read_text(encoding="utf-8").split("\n")
    assert lines[(error.line or 0) - 1].startswith(what.removeprefix("encoder.").split()[0])


def test_defaults_of_an_encoder_from_scratch() -> None:
    made = EncoderSpec().resolved()
    assert made.model_dump(exclude_none=True) == {
        "window": 512,
        "layers": 6,
        "width": 384,
        "heads": 6,
        "feed_forward": 1536,
        "vocabulary": 16000,
        "lowercase": False,
    }
    assert made.resolved() == made and made.untrained
    assert {field.name for field in dataclasses.fields(Shape)} <= set(made.model_dump())
    assert 256 + len(SPECIALS) == LEAST_PIECES


@pytest.mark.parametrize(("width", "heads"), [(64, 1), (32, 1), (768, 12), (200, 2), (1000, 10), (97, 1)])
def test_heads_fit_the_width(width: int, heads: int) -> None:
    assert EncoderSpec(width=width).resolved().heads == heads


def test_defaults_of_a_named_encoder() -> None:
    assert EncoderSpec(name="a").resolved().model_dump(exclude_none=True) == {
        "name": "a",
        "weights": "pretrained",
        "reinitialise": 0,
    }
    assert not EncoderSpec(name="a").untrained and EncoderSpec(name="a", weights="random").untrained


@pytest.mark.parametrize(
    ("origin", "what", "remedy"),
    [
        (
            'encoder = "minilm"\n[start]\nrun = "r"',
            "start.run = 'r' stands beside encoder",
            "Leave out encoder, or start",
        ),
        ("[start]\nbest = 'pos'", "The recipe has no 'start.run'", "folder of the run"),
        ('[start]\nrun = "r"\nfrsh = []', "unknown key 'start.frsh'", "'fresh'"),
        ('[start]\nrun = "r"\nfresh = ["poss"]', "start.fresh names 'poss', which is no task of the recipe", "'pos'"),
        ('[start]\nrun = "r"\nheads = { poss = "x" }', "start.heads names 'poss', which is no task", "'pos'"),
        (
            '[start]\nrun = "r"\nfresh = ["pos"]\nheads = { pos = "x" }',
            "start.fresh names 'pos', which start.heads",
            "one",
        ),
        ('[start]\nrun = "r"\nlabels = "old"', "start.labels = 'old'", "union"),
        ("[start]\nrun = 3", "start.run = 3", "folder of the run"),
    ],
)
def test_a_start_that_does_not_fit(tmp_path: Path, origin: str, what: str, remedy: str) -> None:
    error = fault(tmp_path, origin)
    assert what in error.what and remedy in error.remedy
    assert error.line is not None or "has no" in error.what


def test_a_resolved_start_is_the_same_start(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    path = tmp_path / "here" / "recipe.toml"
    path.write_text(f'[start]\nrun = "../runs/first"\nfresh = ["pos"]\n{REST}', encoding="utf-8")
    recipe = load_recipe(path)
    other = tmp_path / "there" / "recipe.toml"
    other.write_text(recipe.to_toml(), encoding="utf-8")
    again = load_recipe(other)
    assert again.to_toml() == recipe.to_toml()
    assert again.start is not None and again.start.run == str((tmp_path / "runs" / "first").resolve())
    assert again.start.fresh == ["pos"] and again.start.labels == "union"
