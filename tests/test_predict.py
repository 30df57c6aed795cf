"""Answers from Python: typed values, whole texts and sentences, and streams in bounded memory."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import polyhead
import polyhead.predict
import runs
from polyhead import Annotator, PolyheadError
from polyhead.answering.annotator import CHUNK_CHARACTERS, CHUNK_TEXTS, LONGEST, _keys, output_names
from polyhead.data import DataSpec, Example, read
from polyhead.data.example import Labels, Spans, Tree, WordLabels

pytestmark = pytest.mark.usefixtures("light")

TABLE = """\
[data.table]
train = "texts.tsv"

[tasks.label]
type = "classification"
data = "table"
layer = "label"
"""
MORE = """\
[tasks.stars]
type = "regression"
data = "table"
layer = "stars"

[tasks.topics]
type = "classification"
several = true
data = "table"
layer = "topics"
"""
ONE_EPOCH = "[[stages]]\nepochs = 1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data files: those of ``runs``, and a table of texts."""
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    rows = ["text\tlabel\tstars\ttopics", "a good cat\tgood\t4.5\tcats", "a bad day .\tbad\t1\t", "see\tgood\t3\ta|b"]
    (folder / "texts.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def everything(folder: Path, tiny_encoder: Path) -> Annotator:
    """Heads about words and sentences, and one about whole texts."""
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=runs.DATA + TABLE, tasks=runs.TASKS)
    return polyhead.load(polyhead.train(recipe, folder / "everything").folder)


@pytest.fixture(scope="module")
def texts(folder: Path, tiny_encoder: Path) -> Annotator:
    """Heads about whole texts alone."""
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=TABLE, tasks=MORE)
    return polyhead.load(polyhead.train(recipe, folder / "texts").folder)


def test_answers_have_the_kinds_of_gold(everything: Annotator) -> None:
    doc = everything("The cats sat in Rome.")
    (sentence,) = doc.sentences
    assert sentence.words == ("The", "cats", "sat", "in", "Rome", ".")
    assert isinstance(doc["upos"], WordLabels)
    assert len(doc["upos"]) == 6
    assert isinstance(doc["tree"], Tree)
    assert sorted(doc["tree"].heads).count(0) == 1
    assert isinstance(doc["entities"], Spans)
    assert doc["sentiment"] in ("good", "bad")
    assert doc["label"] in ("good", "bad")
    assert doc.text == "The cats sat in Rome."


def test_answers_about_texts_have_the_kinds_of_gold(texts: Annotator) -> None:
    doc = texts("The cats sat. In Rome!")
    assert doc.sentences == ()
    assert isinstance(doc["stars"], float)
    assert isinstance(doc["topics"], Labels)
    assert doc["topics"] <= {"a", "b", "cats"}
    assert doc["label"] in ("good", "bad")
    assert doc.to_dict(confidence=False) == {
        "text": "The cats sat. In Rome!",
        "label": doc["label"],
        "stars": doc["stars"],
        "topics": sorted(doc["topics"]),
    }


def test_confidences_are_probabilities(everything: Annotator) -> None:
    doc = everything("The cats sat in Rome.")
    for layer in ("upos", "tree", "entities", "sentiment", "label"):
        sure = doc.confidence(layer)
        values = sure if isinstance(sure, tuple) else (sure,)
        assert all(0 <= value <= 1 for value in values)
        value = doc[layer]
        count = len(value.heads) if isinstance(value, Tree) else 1 if isinstance(value, str) else len(value)  # type: ignore[arg-type]
        assert len(values) == count


def test_several_sentences_and_the_whole_text(everything: Annotator) -> None:
    doc = everything("The cats sat. It was bad! See")
    assert [sentence.words for sentence in doc.sentences] == [
        ("The", "cats", "sat", "."),
        ("It", "was", "bad", "!"),
        ("See",),
    ]
    assert doc["label"] in ("good", "bad"), "learnt from whole texts, so it is about the whole"
    with pytest.raises(KeyError, match=r"each of the 3 sentences has its own 'sentiment'"):
        doc["sentiment"]
    with pytest.raises(KeyError, match="nothing"):
        doc["nothing"]
    assert all("label" not in sentence.answers for sentence in doc.sentences)
    assert {sentence["sentiment"] for sentence in doc.sentences} <= {"good", "bad"}
    for sentence in doc.sentences:
        assert len(sentence["upos"]) == len(sentence.words)  # type: ignore[arg-type]


def test_a_sentence_is_answered_alike_alone_and_among_others(everything: Annotator) -> None:
    together = everything("The cats sat. It was bad!")
    for sentence, alone in zip(together.sentences, map(everything, ("The cats sat.", "It was bad!")), strict=True):
        for layer in ("upos", "tree", "entities", "sentiment"):
            assert sentence[layer] == alone[layer]
            assert sentence.confidence(layer) == pytest.approx(alone.confidence(layer), abs=1e-4)


def test_words_stay_as_they_are_given(everything: Annotator) -> None:
    words = ["don't", "e - mail", "☃", "\u200b", "x" * 300]
    (doc,) = everything.words([words])
    assert doc.sentences[0].words == tuple(words)
    assert len(doc["upos"]) == 5  # type: ignore[arg-type]
    assert doc["label"] in ("good", "bad")


def test_pairs(texts: Annotator) -> None:
    one, two = texts.pairs([("a cat", "a dog"), ("a dog", "a cat")])
    assert (one.example.text, one.example.pair) == ("a cat", "a dog")
    assert one.confidence("label") != two.confidence("label"), "the order of a pair matters"


def test_plain_data_and_text(everything: Annotator) -> None:
    doc = everything("The cats sat. See Rome!")
    record = json.loads(json.dumps(doc.to_dict()))
    assert record["text"] == doc.text
    assert record["label"] == doc["label"]
    assert 0 <= record["label_confidence"] <= 1
    assert [sentence["words"] for sentence in record["sentences"]] == [list(s.words) for s in doc.sentences]
    assert record["sentences"][1]["tree"]["heads"] == list(doc.sentences[1]["tree"].heads)  # type: ignore[union-attr]
    shown = repr(doc)
    assert str(doc) == shown
    for word in ("cats", "Rome", "upos", "head", "label:"):
        assert word in shown
    assert repr(doc.sentences[0]) in shown


def test_conllu_reads_back(everything: Annotator) -> None:
    doc = everything("The cats sat. See Rome!")
    spec = DataSpec(format="conllu", comments={"label": "label"}, misc={"entities": "entities"})
    back = list(read(io.BytesIO(doc.to_conllu().encode()), spec))
    assert [example.words for example in back] == [sentence.words for sentence in doc.sentences]
    assert [example.text for example in back] == ["The cats sat.", "See Rome!"]
    for example, sentence in zip(back, doc.sentences, strict=True):
        assert example.layers["upos"] == sentence["upos"]
        assert example.layers["tree"] == sentence["tree"]
    assert [example.layers.get("label") for example in back] == [doc["label"], None]


def test_columns_read_back(everything: Annotator) -> None:
    doc = everything("The cats sat. See Rome!")
    spec = DataSpec(format="columns", layers=["words", "upos"])
    lines = [line.split("\t") for line in doc.to_columns(["words", "upos"]).split("\n")]
    text = "\n".join("\t".join(cells[:2]) for cells in lines if not cells[0].startswith("#"))
    back = list(read(io.BytesIO(text.encode()), spec))
    assert [(e.words, e.layers["upos"]) for e in back] == [(s.words, s["upos"]) for s in doc.sentences]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t \u2003"])
def test_no_words_at_all(everything: Annotator, texts: Annotator, text: str) -> None:
    doc = everything(text)
    assert doc.sentences == ()
    assert doc["label"] in ("good", "bad"), "there is an answer for every text"
    assert doc.to_conllu() == ""
    assert doc.to_columns() == ""
    assert json.dumps(doc.to_dict())
    assert texts(text)["stars"] == pytest.approx(texts("")["stars"])


@pytest.mark.parametrize(
    "text",
    [
        "😀",
        "👩‍👩‍👧‍👦 in Rome",
        "\u200b",
        "a\u200db",
        "\ufeffThe cat",
        "e\u0301te",
        "\u202eabc",
        "cat\x07s",
        "\U0010ffff",
        "ﬁ ½ Ⅳ",
    ],
)
def test_unusual_characters(everything: Annotator, text: str) -> None:
    doc = everything(text)
    words = [word for sentence in doc.sentences for word in sentence.words]
    assert "".join(words) == "".join(text.split()), "every character that is no space is in a word"
    assert sum(len(sentence["upos"]) for sentence in doc.sentences) == len(words)  # type: ignore[arg-type]
    assert json.loads(json.dumps(doc.to_dict()))["text"] == text


def test_a_very_long_text(everything: Annotator) -> None:
    """Without an end of a sentence: it is cut, so that a parser's work does not grow with the square of it."""
    text = "cats " * 3000
    doc = everything(text)
    assert [word for sentence in doc.sentences for word in sentence.words] == ["cats"] * 3000
    assert max(len(sentence.words) for sentence in doc.sentences) <= LONGEST
    assert doc["label"] in ("good", "bad")


def test_a_very_long_word(everything: Annotator) -> None:
    doc = everything("x" * 20_000)
    assert "".join(word for sentence in doc.sentences for word in sentence.words) == "x" * 20_000


def test_answers_do_not_depend_on_neighbours(texts: Annotator) -> None:
    given = ["a cat", "a good cat sat in Rome and was bad", "", "see", "x" * 500, "a cat"]
    together = texts.texts(given)
    for text, doc in zip(given, together, strict=True):
        assert doc.text == text, "in the order of the questions"
        assert doc.confidence("label") == pytest.approx(texts(text).confidence("label"), abs=1e-5)
        assert doc["stars"] == pytest.approx(texts(text)["stars"], abs=1e-4)


def test_a_stream_is_read_no_more_than_a_chunk_ahead(texts: Annotator) -> None:
    taken = 0

    def source() -> Iterator[Example]:
        nonlocal taken
        for number in range(20_000):
            taken += 1
            yield Example(text=f"cat {number}")

    furthest = 0
    for number, doc in enumerate(texts.stream(source())):
        assert doc.text == f"cat {number}"
        furthest = max(furthest, taken - number)
    assert taken == 20_000
    assert furthest <= CHUNK_TEXTS


def test_long_texts_make_smaller_chunks(texts: Annotator) -> None:
    taken = 0
    size = CHUNK_CHARACTERS // 4

    def source() -> Iterator[Example]:
        nonlocal taken
        for _ in range(9):
            taken += 1
            yield Example(text="\u2603" * size)  # one unknown piece, so that it costs nothing

    next(texts.stream(source()))
    assert taken == 4


def test_what_was_read_before_a_fault_is_answered(texts: Annotator) -> None:
    def source() -> Iterator[Example]:
        yield from (Example(text=f"cat {number}") for number in range(3))
        raise PolyheadError("broken line")

    answered: list[str] = []
    with pytest.raises(PolyheadError, match="broken line"):
        answered.extend(doc.text for doc in texts.stream(source()))
    assert answered == ["cat 0", "cat 1", "cat 2"]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ({"A": "label", "B": "other"}, {"A": "label", "B": "other"}),
        ({"A": "label", "B": "label", "C": "A"}, {"A": "A", "B": "B", "C": "C"}),
        ({"A": "x", "B": "x", "C": "A", "D": "C"}, {"A": "A", "B": "B", "C": "C", "D": "D"}),
        ({"text": "x", "B": "x"}, {"text": "text_", "B": "B"}),
    ],
)
def test_no_two_answers_have_one_name(layers: dict[str, str], names: dict[str, str]) -> None:
    tasks = {name: SimpleNamespace(layer=layer, answers=True) for name, layer in layers.items()}
    assert output_names(tasks) == names  # type: ignore[arg-type]


def test_no_two_layers_have_one_key() -> None:
    data = {"one": {"misc": {"a": "NER", "d": "Chunk"}}, "two": {"misc": {"b": "NER"}, "comments": {"c": "d"}}}
    tasks = {
        name: SimpleNamespace(layer=name, data=place, annotates=True)
        for name, place in {"a": "one", "b": "two", "c": "two", "d": "one", "upos": "one"}.items()
    }
    assert _keys(SimpleNamespace(tasks=tasks, info={"data": data})) == {"c": "d", "d": "Chunk"}  # type: ignore[arg-type]


def test_a_stream_that_nobody_reads_is_not_read(texts: Annotator) -> None:
    def source() -> Iterator[Example]:
        raise AssertionError("nobody asked")
        yield

    texts.stream(source())
    assert list(texts.stream([])) == []


def test_a_model_folder_moves_without_its_run(folder: Path, everything: Annotator, tmp_path: Path) -> None:
    (folder / "everything" / "model").rename(tmp_path / "moved")
    try:
        moved = polyhead.load(tmp_path / "moved")
    finally:
        (tmp_path / "moved").rename(folder / "everything" / "model")
    assert moved("The cats sat.").to_dict() == everything("The cats sat.").to_dict()


def test_best_weights_of_a_task(folder: Path, everything: Annotator) -> None:
    best = polyhead.load(folder / "everything", best="pos")
    assert best("The cats sat.")["upos"]
    with pytest.raises(PolyheadError, match="no best weights for 'label'"):
        polyhead.load(folder / "everything", best="label")  # its dataset has no dev split


def test_no_run_and_no_model(tmp_path: Path, folder: Path, everything: Annotator) -> None:
    with pytest.raises(PolyheadError, match="There is no run"):
        polyhead.load(tmp_path / "none")
    with pytest.raises(PolyheadError, match="There is no model in"):
        polyhead.load(tmp_path)
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(PolyheadError, match="has not finished a stage") as caught:
        polyhead.load(tmp_path)
    assert "--resume" in caught.value.remedy
    with pytest.raises(PolyheadError, match="device = 'tpu'"):
        polyhead.load(folder / "everything", device="tpu")


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "encoder/model.safetensors", "encoder/tokenizer.json"]
)
def test_a_broken_model_is_told_by_its_file(folder: Path, everything: Annotator, tmp_path: Path, file: str) -> None:
    shutil.copytree(folder / "everything" / "model", tmp_path / "model")
    path = tmp_path / "model" / file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PolyheadError) as caught:
        polyhead.load(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_weights_of_another_model_are_told(folder: Path, everything: Annotator, tmp_path: Path) -> None:
    shutil.copytree(folder / "everything" / "model", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    next(task for task in config["tasks"] if task["name"] == "label")["labels"].append("a third one")
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"weights are not of the model in config\.json") as caught:
        polyhead.load(tmp_path / "model")
    assert caught.value.file == str(tmp_path / "model" / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"polyhead_format": None}, "not a polyhead model"),
        ({"polyhead_format": "1"}, "not a polyhead model"),
        ({"polyhead_format": 99, "tasks": None}, "A newer polyhead wrote this model"),
        ({"tasks": None}, "it has no 'tasks'"),
        ({"encoder": None}, "it has no 'encoder'"),
    ],
)
def test_a_config_that_is_none(
    folder: Path, everything: Annotator, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    config = json.loads((folder / "everything" / "model" / "config.json").read_text(encoding="utf-8"))
    left = {key: value for key, value in (config | change).items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(left), encoding="utf-8")
    with pytest.raises(PolyheadError, match=said) as caught:
        polyhead.load(tmp_path)
    assert caught.value.remedy
