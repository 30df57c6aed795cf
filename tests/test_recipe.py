"""Recipes: strict, with errors that name the key, its line and the remedy; and resolved without loss."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from polyhead.errors import PolyheadError
from polyhead.recipe import Recipe, load_recipe, make_recipe

GOOD = """\
encoder = "minilm"
seed = 3

[data.ewt]
train = "train.conllu"
dev = "dev.conllu"

[data."my-csv"]
format = "csv"
train = ["a.csv", "b.csv"]
layers = { label = "gold label" }

[tasks.pos]
type = "tagging"
data = "ewt"
layer = "upos"

[tasks.syntax]
type = "parsing"
data = "ewt"

[tasks.mood]
type = "classification"
data = "my-csv"
layer = "label"

[[stages]]
name = "joint"
epochs = 2
sampling = 2.0

[stages.weights]
pos = 0.5

[[stages]]
tasks = ["mood"]
dropout = 0.3
patience = 2
"""


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def fault(tmp_path: Path, text: str) -> PolyheadError:
    with pytest.raises(PolyheadError) as caught:
        load(tmp_path, text)
    assert caught.value.file == str(tmp_path / "recipe.toml")
    return caught.value


def line_of(text: str, start: str, occurrence: int = 1) -> int:
    found = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith(start)]
    return found[occurrence - 1]


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert [stage.name for stage in recipe.stages] == ["joint", "stage-2"]
    assert recipe.stages[0].tasks == ["pos", "syntax", "mood"], "a stage without tasks takes all"
    assert recipe.stages[1].tasks == ["mood"]
    assert recipe.base == tmp_path.resolve()
    assert recipe.make_tasks()["syntax"].layer == "tree"


def test_without_stages_there_is_one_joint_stage(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD[: GOOD.index("[[stages]]")])
    assert [(stage.name, stage.tasks) for stage in recipe.stages] == [("stage-1", ["pos", "syntax", "mood"])]


@pytest.mark.parametrize(
    ("old", "new", "key", "near"),
    [
        ("seed = 3", "sed = 3", "sed", "seed"),
        ('dev = "dev.conllu"', 'dve = "dev.conllu"', "data.ewt.dve", "dev"),
        ('format = "csv"', 'fromat = "csv"', "data.my-csv.fromat", "format"),
        ('layer = "upos"', 'layr = "upos"', "layr", "layer"),
        ('type = "parsing"', 'type = "parsing"\narc_sise = 3', "arc_sise", "arc_size"),
        ("epochs = 2", "epoch = 2", "stages[1].epoch", "epochs"),
        ("patience = 2", "patiens = 2", "stages[2].patiens", "patience"),
        ('encoder = "minilm"', 'encoder = { name = "minilm", windw = 9 }', "encoder.windw", "window"),
        ("[[stages]]\ntasks", "[[stages]]\nlearning_rat = 1\ntasks", "stages[2].learning_rat", "learning_rate"),
    ],
)
def test_an_unknown_key_names_the_nearest_key_and_the_line(
    tmp_path: Path, old: str, new: str, key: str, near: str
) -> None:
    text = GOOD.replace(old, new, 1)
    error = fault(tmp_path, text)
    assert f"unknown key {key!r}" in error.what
    assert error.remedy == f"Did you mean {near!r}?"
    last = re.findall(r"\w+", key)[-1]
    assert last in text.split("\n")[(error.line or 0) - 1], f"line {error.line}"


def test_an_unknown_key_in_an_encoder_table(tmp_path: Path) -> None:
    text = GOOD.replace('encoder = "minilm"\n', "").replace("[data.ewt]", '[encoder]\nnam = "minilm"\n\n[data.ewt]', 1)
    error = fault(tmp_path, text)
    assert "unknown key 'encoder.nam'" in error.what
    assert error.remedy == "Did you mean 'name'?"
    assert error.line == line_of(text, "nam =")


def test_a_key_in_the_place_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    """The line is that of the key in its own table, though others have a key of this name, too."""
    text = GOOD.replace('type = "parsing"', 'type = "parsing"\nseed = 1')
    assert fault(tmp_path, text).line == line_of(text, "seed", 2)


def test_base_is_no_key_for_users(tmp_path: Path) -> None:
    error = fault(tmp_path, f'base = "{tmp_path}"\n' + GOOD)
    assert "unknown key 'base'" in error.what
    assert error.line == 1


@pytest.mark.parametrize(
    ("old", "new", "what", "start"),
    [
        ("seed = 3", 'seed = "3"', "seed = '3'", "seed"),
        ("seed = 3", "seed = -1", "seed = -1", "seed"),
        ("seed = 3", "seed = true", "seed = True", "seed"),
        ("seed = 3", 'precision = "fp8"', "precision = 'fp8'", "precision"),
        ('encoder = "minilm"', "encoder = 3", "encoder = 3", "encoder"),
        ('train = "train.conllu"', "train = 3", "data.ewt.train = 3", "train"),
        ('"b.csv"]', "3]", "data.my-csv.train[2] = 3", "train = ["),
        ('dev = "dev.conllu"', "dev = 1.5", "data.ewt.dev = 1.5", "dev"),
        ('{ label = "gold label" }', "{ label = 3 }", "data.my-csv.layers.label = 3", "layers"),
        ("epochs = 2", "epochs = 0", "stages[1].epochs = 0", "epochs"),
        ("epochs = 2", "epochs = 2.5", "stages[1].epochs = 2.5", "epochs"),
        ("sampling = 2.0", 'sampling = "unifrm"', "stages[1].sampling = 'unifrm'", "sampling"),
        ("sampling = 2.0", "sampling = 0", "stages[1].sampling = 0", "sampling"),
        ("sampling = 2.0", "sampling = nan", "stages[1].sampling = nan", "sampling"),
        ("pos = 0.5", "pos = -0.5", "stages[1].weights.pos = -0.5", "pos"),
        ("pos = 0.5", 'pos = "much"', "stages[1].weights.pos = 'much'", "pos"),
        ("dropout = 0.3", "dropout = 1.0", "stages[2].dropout = 1.0", "dropout"),
        ("patience = 2", 'keep = "first"', "stages[2].keep = 'first'", "keep"),
        ('layer = "upos"', "layer = 3", "tasks.pos.layer = 3", "layer = 3"),
        ('layer = "upos"', 'layer = "upos"\nweight = "a"', "tasks.pos.weight = 'a'", "weight"),
        ('layer = "upos"', 'layer = "upos"\nweight = -1', "tasks.pos.weight = -1", "weight"),
        ('layer = "upos"', 'layer = "upos"\nweight = nan', "tasks.pos.weight = nan", "weight"),
        ('type = "parsing"', 'type = "parsing"\narc_size = 0', "tasks.syntax.arc_size = 0", "arc_size"),
        ('type = "parsing"', 'type = "parsing"\nrelation_size = 1000000000', "relation_size = 1000000000", "relation"),
        ("seed = 3", "seed = 18446744073709551616", "seed = 18446744073709551616", "seed"),
        ("epochs = 2", "epochs = 2\nlearning_rate = inf", "stages[1].learning_rate = inf", "learning_rate"),
        ("epochs = 2", f"epochs = 2\nbatch_pieces = {10**21}", f"stages[1].batch_pieces = {10**21}", "batch_pieces"),
        ("pos = 0.5", "pos = inf", "stages[1].weights.pos = inf", "pos"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, old: str, new: str, what: str, start: str) -> None:
    text = GOOD.replace(old, new, 1)
    error = fault(tmp_path, text)
    assert what in error.what
    assert error.line is not None
    assert text.split("\n")[error.line - 1].startswith(start)


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/a"])
@pytest.mark.parametrize(
    ("old", "start"),
    [
        ('encoder = "minilm"', "encoder ="),
        ('encoder = { name = "minilm" }', "encoder ="),
        ('train = "train.conllu"', "train ="),
        ('dev = "dev.conllu"', "dev ="),
        ('"b.csv"]', "train = ["),
        ('distil = { teachers = ["runs/pos"] }', "distil ="),
    ],
)
def test_what_cannot_be_a_path(tmp_path: Path, path: str, old: str, start: str) -> None:
    good = GOOD.replace('encoder = "minilm"', old) if old.startswith("encoder") else GOOD
    good = good if old in good else f"{good}{old}\n"
    text = good.replace(old, re.sub('"[^"]*"', lambda _: json.dumps(path), old), 1)
    error = fault(tmp_path, text)
    assert repr(path) in error.what
    assert ("a NUL character" if "\0" in path else "there is no user for '~nobody-of-this-name'") in error.what
    assert text.split("\n")[(error.line or 0) - 1].startswith(start)


def test_a_value_of_several_kinds_names_them_all(tmp_path: Path) -> None:
    error = fault(tmp_path, GOOD.replace("sampling = 2.0", 'sampling = "unifrm"'))
    assert "'proportional' or 'uniform', or a valid number" in error.what
    assert "share of an epoch" in error.remedy, "the remedy says what the key means"


def test_brackets_without_end(tmp_path: Path) -> None:
    assert "nested too deeply" in fault(tmp_path, "a = " + "[" * 3000).what


@pytest.mark.parametrize(
    ("old", "new", "what", "remedy", "start"),
    [
        ('type = "tagging"', 'type = "taging"', "no task type 'taging'", "'tagging'", "type"),
        ('type = "tagging"', "type = 3", "no task type '3'", "tagging", "type"),
        ('type = "tagging"', 'type = "no.such.Type"', "no.such.Type", "importable", "type"),
        ('type = "tagging"', 'type = "pathlib.Path"', "no subclass", "", "type"),
        ('data = "ewt"\nlayer', 'data = "ewtt"\nlayer', "'ewtt'", "'ewt'", "data = "),
        ('data = "ewt"\nlayer', 'data = ["ewt"]\nlayer', "['ewt']", "", "data = "),
        ('tasks = ["mood"]', 'tasks = ["moood"]', "'moood'", "'mood'", "tasks"),
        ("pos = 0.5", "poss = 0.5", "'poss'", "'pos'", "[stages.weights]"),
        ('tasks = ["mood"]', 'name = "joint"', "'joint'", "of its own", "name"),
        ('name = "joint"', 'name = "a/b"', "'a/b'", "", "name"),
        ("[tasks.pos]", '[tasks."p.s"]', "'p.s'", "", "[tasks"),
        ('type = "tagging"\n', "", "tasks.pos has no type", "type =", "[tasks.pos]"),
        ('data = "ewt"\nlayer', "layer", "tasks.pos does not say which data", "data =", "[tasks.pos]"),
        ('layer = "upos"', "", "tasks.pos has no layer", "layer =", "[tasks.pos]"),
    ],
)
def test_an_unknown_name_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, what: str, remedy: str, start: str
) -> None:
    text = GOOD.replace(old, new, 1)
    error = fault(tmp_path, text)
    assert what in error.what
    assert remedy in error.remedy
    assert error.line is not None
    assert text.split("\n")[error.line - 1].startswith(start)


def test_names_of_tasks_that_modules_have_too(tmp_path: Path) -> None:
    """A task may be called ``type`` or ``train``: see ``polyhead.model.Model``."""
    load(tmp_path, GOOD.replace("[tasks.pos]", "[tasks.type]").replace("pos = 0.5", "type = 0.5"))


@pytest.mark.parametrize("table", ["data", "tasks"])
def test_a_recipe_without_data_or_tasks(tmp_path: Path, table: str) -> None:
    tables = re.split(r"(?m)^(?=\[)", GOOD)
    text = "".join(part for part in tables if not part.startswith(f"[{table}."))
    assert f"The recipe has no '{table}'" in fault(tmp_path, text).what


def test_no_toml_names_the_line(tmp_path: Path) -> None:
    text = GOOD.replace("seed = 3", "seed = = 3")
    assert fault(tmp_path, text).line == 2


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(GOOD.encode() + b"# na\xefve\n")
    with pytest.raises(PolyheadError, match="not UTF-8") as caught:
        load_recipe(path)
    assert caught.value.line == GOOD.count("\n") + 1


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_recipe(path).seed == 3


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(PolyheadError, match="cannot be read"):
        load_recipe(tmp_path)


def test_a_folder_whose_name_no_recipe_could_hold(tmp_path: Path) -> None:
    """The resolved recipe of a run names its files by their whole paths, and TOML is UTF-8."""
    folder = tmp_path / "b\udcffd"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(PolyheadError, match="not UTF-8") as caught:
        load(folder, GOOD)
    assert caught.value.remedy == "Rename the folder."


@pytest.mark.parametrize("layer", ["text", "pair", "words", "sentences", "a=b|c", " ", "a\tb"])
def test_a_layer_whose_name_answers_cannot_have(layer: str) -> None:
    task = {"type": "classification", "data": "a", "layer": layer}
    with pytest.raises(PolyheadError) as caught:
        make_recipe({"data": {"a": {"train": "x.csv"}}, "tasks": {"t": task}})
    assert caught.value.what.startswith(f"tasks.t.layer = {layer!r}, ")
    assert f"layers = {{ t = {json.dumps(layer)} }}" in caught.value.remedy
    if layer == "a=b|c":  # with a key of its own it can be written
        make_recipe({"data": {"a": {"train": "x.conllu", "comments": {layer: "abc"}}}, "tasks": {"t": task}})


@pytest.mark.parametrize(
    ("layers", "keys"),
    [
        ({"sure": "x", "it": "x_confidence"}, {}),
        ({"sure": "x", "y": "x", "it": "sure_confidence"}, {}),  # two tasks of one layer answer under their own names
        ({"sure": "x", "it": "y"}, {"x": "A", "y": "A_confidence"}),
    ],
)
def test_no_answer_is_called_as_the_confidence_of_another(
    tmp_path: Path, layers: dict[str, str], keys: dict[str, str]
) -> None:
    tasks = "".join(f'[tasks.{t}]\ntype = "classification"\ndata = "a"\nlayer = "{x}"\n' for t, x in layers.items())
    text = f'[data.a]\ntrain = "x.conllu"\n{f"comments = {json.dumps(keys)}".replace(":", "=")}\n{tasks}'
    error = fault(tmp_path, text)
    assert error.what.startswith(f"tasks.it.layer = {layers['it']!r}, ")
    assert "the confidence of tasks.sure" in error.what
    assert error.line == text.count("\n"), "that of the last layer"
    assert "another name" in error.remedy
    load(tmp_path, text.replace("_confidence", "_sure"))


def test_a_table_without_a_file() -> None:
    tables = {"data": {"a": {"train": "x.conllu"}}, "tasks": {"t": {"type": "parsing", "data": "a"}}}
    assert make_recipe(tables).stages[0].tasks == ["t"]
    with pytest.raises(PolyheadError, match="base"):
        make_recipe({**tables, "base": "."})


def test_the_resolved_recipe_loads_again_and_is_equal(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    recipe = load(tmp_path / "here", GOOD)
    (tmp_path / "elsewhere").mkdir()
    again = load(tmp_path / "elsewhere", recipe.to_toml())
    assert again.to_toml() == recipe.to_toml()
    assert again.stages == recipe.stages
    assert again.make_tasks() == recipe.make_tasks()
    assert again.encoder_spec == recipe.encoder_spec
    assert again.data["ewt"].train == str((tmp_path / "here" / "train.conllu").resolve())
    assert again.data["my-csv"].train == [str((tmp_path / "here" / name).resolve()) for name in ("a.csv", "b.csv")]


def test_the_resolved_recipe_names_the_same_encoder(tmp_path: Path) -> None:
    """A folder wins only where no bundled encoder has its name; a path is made absolute."""
    (tmp_path / "minilm").mkdir()
    (tmp_path / "own").mkdir()
    assert 'name = "minilm"' in load(tmp_path, GOOD).to_toml()
    own = load(tmp_path, GOOD.replace('"minilm"', '"own"')).to_toml()
    assert f'name = "{(tmp_path / "own").resolve()}"' in own


def test_what_is_said_for_the_card(tmp_path: Path) -> None:
    card = 'licence = "CC-BY-4.0"\ndescription = "News."\nurl = "https://example.org/a?b"\nlanguage = ["en", "pt-BR"]\n'
    said = 'licence = "mit"\n' + GOOD.replace('dev = "dev.conllu"\n', f'dev = "dev.conllu"\n{card}')
    recipe = load(tmp_path, said)
    assert recipe.licence == "mit"
    assert recipe.data["ewt"].languages == ["en", "pt-BR"]
    assert recipe.data["my-csv"].languages == []
    (tmp_path / "again").mkdir()
    again = load(tmp_path / "again", recipe.to_toml())
    assert (again.licence, again.data["ewt"].licence, again.data["ewt"].url) == (
        *("mit", "CC-BY-4.0", "https://example.org/a?b"),
    )
    assert "licence" not in load(tmp_path, GOOD).to_toml()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("language", '"English"', "'English' is no code of a language"),
        ("language", '["en", "de_DE"]', "'de_DE' is no code of a language"),
        ("url", '"example.org"', "it should begin with https:// or http://"),
        ("url", '"https://x> <b>"', "it should begin with https:// or http://"),
        ("licence", "4", "licence: The licence of the data"),
    ],
)
def test_what_is_wrong_of_it(tmp_path: Path, key: str, value: str, message: str) -> None:
    text = GOOD.replace('dev = "dev.conllu"\n', f'dev = "dev.conllu"\n{key} = {value}\n')
    error = fault(tmp_path, text)
    assert message in str(error)
    assert error.line == line_of(text, key)
