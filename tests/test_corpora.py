"""The whole way on real corpora: train minilm jointly, predict to files, and let the field's own scorers judge."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import polyhead
from polyhead.data import DataSpec, read

pytestmark = pytest.mark.corpora

RECIPE = """
precision = "fp32"  # in bf16 a sentence's neighbours in its batch may tip an answer, and scorers could not be compared

[data.ewt]
train = "{corpora}/bench/ewt2k.conllu"
dev = "{corpora}/bench/ewt_dev.conllu"
limit = 400

[data.wnut]
layers = ["words", "entities"]
train = "{corpora}/bench/wnut1500.conll"
dev = "{corpora}/bench/wnut_dev.conll"
limit = 400

[data.sst]
layers = ["text", "sentiment"]
train = "{corpora}/bench/sst2_2k.tsv"
dev = "{corpora}/bench/sst2_dev.tsv"
limit = 400

[tasks]
upos = {{ type = "tagging", data = "ewt", layer = "upos" }}
syntax = {{ type = "parsing", data = "ewt" }}
entities = {{ type = "ner", data = "wnut", layer = "entities" }}
sentiment = {{ type = "classification", data = "sst", layer = "sentiment" }}

[[stages]]
epochs = 2
"""


@pytest.fixture(scope="module")
def run(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> polyhead.Run:
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "recipe.toml").write_text(RECIPE.format(corpora=corpora))
    return polyhead.train(folder / "recipe.toml", folder / "run")


def test_learns(run: polyhead.Run) -> None:
    """Far above chance on every task after two epochs of 400 sentences each; a broken head or mask fails this."""
    scores = run.scores["dev"]
    assert scores["upos"]["accuracy"] > 0.80
    assert scores["syntax"]["las"] > 0.40
    assert scores["sentiment"]["accuracy"] > 0.70
    assert scores["entities"]["f1"] > 0.10


def test_official_scorer_agrees(run: polyhead.Run, corpora: Path, tmp_path: Path) -> None:
    from udtools.udeval import evaluate, load_conllu

    gold = corpora / "bench" / "ewt_dev.conllu"
    out = tmp_path / "dev.conllu"
    annotate = polyhead.load(run.folder, precision="fp32")
    docs = annotate.stream(read(gold, DataSpec(format="conllu"), {}))
    out.write_text("".join(doc.to_conllu() for doc in docs), encoding="utf-8")
    texts = [io.StringIO(path.read_text(encoding="utf-8")) for path in (gold, out)]
    official = evaluate(*(load_conllu(text, "dev", {}) for text in texts))
    ours = run.scores["dev"]
    assert official["Words"].f1 == 1.0
    assert official["UPOS"].f1 == pytest.approx(ours["upos"]["accuracy"], abs=1e-9)
    assert official["UAS"].f1 == pytest.approx(ours["syntax"]["uas"], abs=1e-9)
    assert official["LAS"].f1 == pytest.approx(ours["syntax"]["las_universal"], abs=1e-9)
    assert official["CLAS"].f1 == pytest.approx(ours["syntax"]["clas"], abs=1e-9)


def test_seqeval_agrees(run: polyhead.Run, corpora: Path) -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    from polyhead.data.bio import to_tags

    spec = DataSpec(format="columns", layers=["words", "entities"])
    examples = list(read(corpora / "bench" / "wnut_dev.conll", spec, {}))
    gold = [[str(tag) for tag in example.layers["entities"]] for example in examples]  # type: ignore[union-attr]
    docs = polyhead.load(run.folder, precision="fp32").stream(examples)
    predicted = [list(to_tags(doc["entities"], len(doc.example.words))) for doc in docs]  # type: ignore[arg-type]
    official = f1_score(gold, predicted, mode="strict", scheme=IOB2)
    assert official == pytest.approx(run.scores["dev"]["entities"]["f1"], abs=1e-9)


def test_evaluate_gives_the_scores_of_the_run(run: polyhead.Run) -> None:
    again = polyhead.evaluate(run.folder, split="dev")
    for task, figures in run.scores["dev"].items():
        assert again[task] == pytest.approx(figures, abs=1e-4), json.dumps(again[task])
