"""Exported models answer as torch does, open like any model, and say what is wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from families import build_writing

import polyhead
import runs
from polyhead import Annotator, PolyheadError
from polyhead.data.example import Labels, Spans, Text, Tree, WordLabels
from polyhead.runtime.folder import is_exported
from polyhead.training import Run

pytestmark = pytest.mark.usefixtures("light")

MORE = """\
[data.table]
train = "texts.tsv"

[data.pairs]
train = "pairs.{en,fr}"
dev = "pairs.{en,fr}"

[tasks.label]
type = "classification"
data = "table"
layer = "label"

[tasks.stars]
type = "regression"
data = "table"
layer = "stars"

[tasks.topics]
type = "classification"
several = true
data = "table"
layer = "topics"
encoder_layers = "mix"

[tasks.lemmas]
type = "lemmatization"
data = "ud"
word = "mean"

[tasks.names]
type = "ner"
data = "names"
layer = "entities"
crf = true
word = "last"

[tasks.fr]
type = "seq2seq"
data = "pairs"
vocabulary = 300
layers = 1
longest = 20
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(polyhead.__file__).parents[1])}
TEXTS = (
    "Ann saw Bob. The cats sat in Rome, and it was bad!",
    "See",
    "",
    "x" * 300,
    "the cat sat " * 60,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Run:
    """A run with a head of every kind."""
    folder = runs.write_data(tmp_path_factory.mktemp("export"))
    rows = ["text\tlabel\tstars\ttopics", "a good cat\tgood\t4.5\tcats", "a bad day .\tbad\t1\t", "see\tgood\t3\ta|b"]
    (folder / "texts.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "pairs.en").write_text("a cat\nthe dog sat\nsee Rome\n" * 4, encoding="utf-8")
    (folder / "pairs.fr").write_text("un chat\nle chien\nvoir Rome\n" * 4, encoding="utf-8")
    stages = "[[stages]]\nepochs = 15\nlearning_rate = 3e-3\n"
    recipe = runs.write_recipe(folder, tiny_encoder, stages, data=runs.DATA + MORE, tasks=runs.TASKS)
    return polyhead.train(recipe, folder / "run")


@pytest.fixture(scope="module")
def plain(run: Run) -> Path:
    return polyhead.export(run.folder)


@pytest.fixture(scope="module")
def small(run: Run) -> Path:
    return polyhead.export(run.folder, quantise="int8", at_most=100)


@pytest.fixture(scope="module")
def ours(run: Run) -> Annotator:
    return polyhead.load(run.folder)


def answers(annotate: Annotator, texts: Sequence[str] = TEXTS) -> list[dict[str, Any]]:
    return [doc.to_dict() for doc in annotate.texts(texts)]


def assert_alike(one: Any, other: Any) -> None:
    """The same answers; numbers but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_alike(a, b)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-4)
    else:
        assert one == other


def test_every_head_answers_as_torch_does(plain: Path, ours: Annotator) -> None:
    theirs = polyhead.load(plain)
    assert_alike(answers(ours), answers(theirs))
    words = [("Ann", "saw", "Bob"), ("New",), ("cats", "\u200b", "☃", "x" * 300) * 30]
    assert_alike(*([doc.to_dict() for doc in one.words(words)] for one in (ours, theirs)))
    pairs = [("a cat", "a dog"), ("the cat sat " * 50, "see " * 80)]
    assert_alike(*([doc.to_dict() for doc in one.pairs(pairs)] for one in (ours, theirs)))


def test_answers_have_the_kinds_of_gold(plain: Path) -> None:
    doc = polyhead.load(plain)("The cats sat in Rome.")
    kinds = {"upos": WordLabels, "lemma": WordLabels, "tree": Tree, "sentiment": str, "label": str, "stars": float}
    for layer, kind in (kinds | {"topics": Labels, "names": Spans, "entities": Spans, "target": Text}).items():
        assert isinstance(doc[layer], kind), layer


@pytest.mark.parametrize("search", [{"beams": 3, "best": 3}, {"beams": 4, "best": 1}, {"beams": 1}])
def test_texts_are_looked_for_as_torch_does(plain: Path, run: Run, search: dict[str, int]) -> None:
    ours, theirs = (polyhead.load(folder).only("fr").searching(**search) for folder in (run.folder, plain))
    texts = ["a cat", "the dog sat in Rome and was bad", "", "see", "q"]
    for one, other in zip(ours.texts(texts), theirs.texts(texts), strict=True):
        a, b = (doc.answers["target"] for doc in (one, other))
        assert a.value == b.value
        assert a.confidence == pytest.approx(b.confidence, abs=1e-4)
        assert [text for text, _ in a.others] == [text for text, _ in b.others]


@pytest.mark.parametrize("kind", ["warm", "t5", "mbart", "marian"])
def test_decoders_that_knew_something_write_as_torch_does(kind: str, tmp_path: Path, tiny_encoder: Path) -> None:
    """One that began as the encoder, and those of pretrained encoder-decoders, which may write a code first."""
    (tmp_path / "pairs.en").write_text("a cat\nthe dog sat\nsee rome\n" * 4, encoding="utf-8")
    (tmp_path / "pairs.fr").write_text("un chat\nle chien\nvoir rome\n" * 4, encoding="utf-8")
    encoder = tiny_encoder if kind == "warm" else build_writing(kind, tmp_path / "encoder")
    how = 'decoder = "warm"\nvocabulary = 300\n' if kind == "warm" else 'decoder = "pretrained"\n'
    how += 'language = "fr_XX"\n' if kind == "mbart" else ""
    data = '[data.pairs]\ntrain = "pairs.{en,fr}"\ndev = "pairs.{en,fr}"\n'
    tasks = f'[tasks.fr]\ntype = "seq2seq"\ndata = "pairs"\nlongest = 12\n{how}'
    stages = "[[stages]]\nepochs = 25\nlearning_rate = 1e-2\n"
    run = polyhead.train(runs.write_recipe(tmp_path, encoder, stages, data=data, tasks=tasks), tmp_path / "run")
    exported = polyhead.export(run.folder)
    texts = ["a cat", "the dog sat in rome " * 3, "", "see"]
    for search in ({"beams": 1}, {"beams": 3, "best": 2}):
        ours, theirs = (polyhead.load(folder).searching(**search) for folder in (run.folder, exported))
        assert any(doc["target"] for doc in ours.texts(texts))
        assert_alike(answers(ours, texts), answers(theirs, texts))


def test_texts_are_drawn(plain: Path) -> None:
    annotate = polyhead.load(plain).only("fr").searching(best=4, temperature=20.0)
    found = [annotate("a cat").answers["target"] for _ in range(3)]
    assert len({one.value for one in found}) > 1
    assert all(len(one.others) == 3 for one in found)
    with pytest.raises(PolyheadError, match="temperature = 0"):
        annotate.searching(temperature=0)


def test_parity_is_kept_with_the_folder(plain: Path, small: Path) -> None:
    for folder, precisions in ((plain, {"fp32"}), (small, {"fp32", "int8"})):
        parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
        assert set(parity) == precisions
        assert set(parity["fp32"]) == set(polyhead.load(folder).names)
        for one in parity["fp32"].values():
            assert one["texts"] == one["same"] > 0
            assert one["difference"] < 1e-3


def test_int8_says_what_it_costs(plain: Path, small: Path) -> None:
    config = json.loads((small / "config.json").read_text(encoding="utf-8"))
    assert config["precision"] == "int8"
    assert config["int8"]["products"] == 12, "six in each of two layers"
    assert config["int8"]["fp32_products"] == []
    assert {"pos", "syntax", "entities", "mood", "fr"} <= set(config["int8"]["dev"])
    assert "What int8 costs" in (small / "README.md").read_text(encoding="utf-8")
    assert (small / "model.onnx").stat().st_size < (plain / "model.onnx").stat().st_size
    found = answers(polyhead.load(small))
    assert [one["text"] for one in found] == list(TEXTS)


def test_int8_products_add_their_biases_themselves(small: Path) -> None:
    graph = onnx.load(str(small / "model.onnx")).graph
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 12
    assert all(len(node.input) == 7 for node in products)


def test_int8_that_costs_too_much_is_put_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polyhead.exporting import quantise

    monkeypatch.setattr(quantise.Cost, "loss", lambda cost: 12 - len(cost.kept))
    folder = polyhead.export(run.folder, tmp_path / "out", quantise="int8", at_most=8)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert len(config["int8"]["fp32_products"]) == 4


def test_an_exported_model_needs_no_torch(plain: Path, run: Run) -> None:
    code = f"""
import sys
for name in ("torch", "transformers", "spacy_loggers"):
    sys.modules[name] = None
import polyhead
doc = polyhead.load({str(plain)!r}).words([("Ann", "saw", "Bob")])[0]
print(doc["upos"], len(doc["tree"].heads), doc["fr"] if "fr" in doc.answers else doc["target"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_evaluate_scores_an_exported_model(plain: Path, run: Run) -> None:
    file = run.folder.parent / "ud-dev.conllu"
    ours, theirs = (polyhead.evaluate(folder, file=file, data="ud") for folder in (run.folder, plain))
    assert ours == theirs
    with pytest.raises(PolyheadError, match="without a run"):
        polyhead.evaluate(plain)


def test_a_folder_is_not_overwritten(plain: Path, run: Run, tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="not empty"):
        polyhead.export(run.folder)
    with pytest.raises(PolyheadError, match="no format"):
        polyhead.export(run.folder, tmp_path / "new", to="onx")
    with pytest.raises(PolyheadError, match="not known"):
        polyhead.export(run.folder, tmp_path / "new", quantise="int4")
    with pytest.raises(PolyheadError, match="without a run"):
        polyhead.export(run.folder / "model", tmp_path / "new", quantise="int8")
    assert not (tmp_path / "new").exists()


def test_a_model_folder_is_exported_without_its_run(run: Run, ours: Annotator, tmp_path: Path) -> None:
    folder = polyhead.export(run.folder / "model", tmp_path / "out")
    assert is_exported(folder)
    assert_alike(answers(ours, TEXTS[:2]), answers(polyhead.load(folder), TEXTS[:2]))


def test_broken_folders_are_told(plain: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(plain, tmp_path / name))

    lost = copy("lost")
    (lost / "model.onnx").unlink()
    with pytest.raises(PolyheadError, match="missing"):
        polyhead.load(lost)
    short = copy("short")
    (short / "model.onnx").write_bytes((short / "model.onnx").read_bytes()[:1000])
    with pytest.raises(PolyheadError, match="not whole"):
        polyhead.load(short)
    broken = copy("broken")
    content = (broken / "model.onnx").read_bytes()
    (broken / "model.onnx").write_bytes(b"\0" * len(content))
    with pytest.raises(PolyheadError, match="cannot read this graph"):
        polyhead.load(broken)
    newer = copy("newer")
    path = newer / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"polyhead_export": 1', '"polyhead_export": 9'))
    with pytest.raises(PolyheadError, match="newer polyhead"):
        polyhead.load(newer)
    damaged = copy("damaged")
    path = damaged / "config.json"
    path.write_text(path.read_text(encoding="utf-8")[:200])
    with pytest.raises(PolyheadError, match="damaged"):
        polyhead.load(damaged)


def test_what_an_exported_model_does_not_have_is_told(plain: Path) -> None:
    with pytest.raises(PolyheadError, match="one set of weights"):
        polyhead.load(plain, best="pos")
    with pytest.raises(PolyheadError, match="on the CPU"):
        polyhead.load(plain, device="cuda")
    with pytest.raises(PolyheadError, match="exported model already"):
        polyhead.export(plain)


def test_a_head_with_its_own_predict_is_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = runs.write_data(tmp_path)
    tasks = '[tasks.loud]\ntype = "own_task.Loudness"\ndata = "ud"\nlayer = "sentiment"\n'
    sys.path.insert(0, str(Path(__file__).parents[1] / "tasks"))
    try:
        data = runs.DATA.split("[data.names]")[0]
        recipe = runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 1\n", data=data, tasks=tasks)
        trained = polyhead.train(recipe, folder / "run")
        with pytest.raises(PolyheadError, match=r"tasks\.loud cannot be exported: its head, LoudnessHead") as caught:
            polyhead.export(trained.folder)
        assert "docs/task-types.md" in caught.value.remedy
    finally:
        sys.path.pop(0)


def test_the_script_that_knows_onnxruntime_alone_answers_the_same(plain: Path, ours: Annotator) -> None:
    """In a process in which nothing else can be imported."""
    script = Path(__file__).parents[2] / "examples" / "onnx_alone.py"
    code = f"""
import runpy, sys
for name in ("torch", "transformers", "polyhead", "spacy", "onnx"):
    sys.modules[name] = None
sys.argv = ["onnx_alone.py", {str(plain)!r}, *sys.argv[1:]]
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    for words in (
        ("Ann", "saw", "Bob"),
        ("The", "cats", "sat", "in", "Rome", "and", "it", "was", "bad", "!"),
        ("See",),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout)
        (doc,) = ours.words([words])
        mine = {**doc.answers, **doc.sentences[0].answers}
        for task, layer in ours.names.items():
            value = mine[layer].value
            if isinstance(value, Tree):
                assert found[task] == [list(arc) for arc in zip(value.heads, value.relations, strict=True)]
            elif isinstance(value, float):
                assert found[task] == pytest.approx(value, abs=1e-4)
            elif isinstance(value, Labels):
                assert found[task] == sorted(value)
            elif isinstance(value, Spans):
                assert found[task] == [list(span) for span in value]
            elif isinstance(value, WordLabels):
                assert found[task] == list(value)
            else:
                assert found[task] == value


def test_the_command_needs_no_torch_for_an_exported_model(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Ann saw Bob, didn't she? The cats sat.\n", encoding="utf-8")
    code = f"""
import sys
for name in ("torch", "transformers", "spacy", "scipy", "sacrebleu", "huggingface_hub"):
    sys.modules[name] = None
sys.argv = ["polyhead", "predict", {str(plain)!r}, {str(tmp_path / "text.txt")!r}, "--to", "jsonl"]
from polyhead.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout)
    assert [sentence["words"][:2] for sentence in record["sentences"]] == [["Ann", "saw"], ["The", "cats"]]


def test_the_export_command(run: Run, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from polyhead.cli import app

    place = tmp_path / "out"
    done = CliRunner().invoke(app, ["export", str(run.folder), "--to", "onnx", "-o", str(place)])
    assert done.exit_code == 0, done.output
    assert f"Exported to {place}" in done.output
    assert is_exported(place)
    assert not list(tmp_path.glob("*.unfinished*")), "nothing half-written is left"


def test_an_exported_model_from_the_hub_chooses_no_module_to_import(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyhead import hub

    (tmp_path / "trap.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = shutil.copytree(plain, tmp_path / "first")
    config = json.loads((first / "config.json").read_text(encoding="utf-8"))
    config["answers"]["pos"]["chooser"]["kind"] = "trap.Kind"
    (first / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr(hub, "fetch", lambda _: first)
    with pytest.raises(PolyheadError, match=r"answered by trap\.Kind, which is not loaded"):
        polyhead.load("someone/model")
    second = shutil.copytree(plain, tmp_path / "second")
    tasks = (second / "tasks.json").read_text(encoding="utf-8").replace('"tagging"', '"t.Kind_"', 1)
    (second / "tasks.json").write_text(tasks, encoding="utf-8")
    monkeypatch.setattr(hub, "fetch", lambda _: second)
    with pytest.raises(PolyheadError, match=r"a type of its own, t\.Kind_, which is not loaded"):
        polyhead.evaluate("someone/model", file=tmp_path / "x.conllu", data="ud")
    third = shutil.copytree(plain, tmp_path / "third")
    config = json.loads((plain / "config.json").read_text(encoding="utf-8"))
    config["graphs"]["model"]["file"] = "../first/model.onnx"
    (third / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(PolyheadError, match="no file of this folder"):
        polyhead.load(third)


def test_an_exported_model_loads_from_the_hub_and_can_be_pushed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polyhead import hub

    monkeypatch.setattr(hub, "fetch", lambda _: plain)
    assert polyhead.load("someone/model")("See Rome")["label"]
    wanted = hub.hub_id("someone/model")
    assert wanted is not None
    pushed = hub._files_of(hub._finished(plain), wanted)
    lost = {path.name for path in plain.iterdir()} - set(pushed)
    assert not lost
    assert b"someone/model" in pushed["README.md"]  # type: ignore[operator]
