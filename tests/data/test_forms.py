"""Texts that want labels, as files that are read with the target's own data once they are annotated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polyhead.data import DataSpec, Example, load_dataset
from polyhead.data.example import Labels, Prediction, Span, Spans, Text, Tree, WordLabels
from polyhead.data.forms import Form, Written, write_forms

WORDS = ("Ann", "Lee", "saw", "Rome", "York")
SPANS = Spans([Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")])
NONE: dict[str, str] = {}
ODD = 'a "b", <i>c</i> & d'


def made(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return name


def written(
    folder: Path,
    spec: DataSpec,
    layer: str,
    given: list[tuple[Example, Prediction]],
    keys: dict[str, str] = NONE,
) -> Written:
    return write_forms(folder / "to-label", Form(spec, folder / spec.files("train")[0], layer, keys), given)


def together(folder: Path, spec: DataSpec, found: Written, kinds: dict[str, type]) -> list[Example]:
    """The dataset with the file beside its own."""
    both = spec.model_copy(update={"train": [*spec.files("train"), str(found.path)]})
    return list(load_dataset("d", both, folder, kinds).splits["train"])


TEXTS = [(Example(text=ODD), Prediction("x", 0.75)), (Example(text="plain"), Prediction("y", 0.5))]


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("a.csv", "text,mood\none,x\ntwo,y\n", {}),
        ("b.csv", "body;mood\none;x\ntwo;y\n", {"text": "body"}),
        ("c.csv", "Mood,Body\nx,one\ny,two\n", {"layers": {"mood": "Mood", "text": "Body"}}),
        ("a.tsv", "one\tx\ntwo\ty\n", {"layers": ["text", "mood"]}),
        ("b.tsv", "text\tid\tmood\none\t1\tx\ntwo\t2\ty\n", {"layers": ["text", "_", "mood"], "header": True}),
        ("a.jsonl", '{"text": "one", "mood": "x"}\n{"text": "two", "mood": "y"}\n', {}),
        ("b.jsonl", '{"t": "one", "m": "x"}\n{"t": "two", "m": "y"}\n', {"layers": {"mood": "m"}, "text": "t"}),
    ],
)
def test_open_labels_are_missing_until_they_are_filled_in(
    tmp_path: Path, name: str, content: str, fields: dict[str, Any]
) -> None:
    spec = DataSpec(train=made(tmp_path, name, content), **fields)
    found = written(tmp_path, spec, "mood", TEXTS)
    assert not found.filled and found.same and found.path.suffix == Path(name).suffix
    examples = together(tmp_path, spec, found, {"mood": str})
    assert [example.layers.get("mood") for example in examples] == ["x", "y", None, None]
    assert [example.text for example in examples[2:]] == [ODD, "plain"]
    text = found.path.read_text()
    assert ("_suggested" in text) == ("layers" not in fields or isinstance(fields["layers"], dict))


def test_pairs_and_several_labels(tmp_path: Path) -> None:
    spec = DataSpec(train=made(tmp_path, "a.csv", "text,other,topics\none,uno,a|b\n"), pair="other")
    given = [(Example(text="two", pair="due"), Prediction(Labels(["b"]), 0.5))]
    found = written(tmp_path, spec, "topics", given)
    assert found.filled, "an open cell would mean no label"
    last = together(tmp_path, spec, found, {"topics": Labels})[-1]
    assert (last.text, last.pair, last.layers["topics"]) == ("two", "due", Labels(["b"]))


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES", "IOB1"])
def test_spans_have_the_scheme_of_the_dataset(tmp_path: Path, scheme: str) -> None:
    tags = {
        "IOB2": ("B-PER", "I-PER", "O", "B-LOC", "B-LOC"),
        "BIOES": ("B-PER", "E-PER", "O", "S-LOC", "S-LOC"),
        "IOB1": ("I-PER", "I-PER", "O", "I-LOC", "B-LOC"),
    }[scheme]
    content = "".join(f"{word}\t{tag}\n" for word, tag in zip(WORDS, tags, strict=True)) + "\n"
    spec = DataSpec(train=made(tmp_path, "a.conll", content), layers=["words", "names"])
    found = written(tmp_path, spec, "names", [(Example(words=WORDS), Prediction(SPANS, (0.9, 0.8, 0.7)))])
    examples = together(tmp_path, spec, found, {"names": Spans})
    assert found.filled and [example.layers["names"] for example in examples] == [SPANS, SPANS]


def test_conllu_holds_columns_trees_comments_and_keys(tmp_path: Path) -> None:
    rows = "".join(f"{i}\t{word}\t_\tX\t_\t_\t{i - 1}\tdep\t_\tNER=O\n" for i, word in enumerate(WORDS, 1))
    rooted = rows.replace("0\tdep", "0\troot")
    content = f"# mood = x\n{rooted}\n"
    spec = DataSpec(train=made(tmp_path, "a.conllu", content), comments={"mood": "mood"}, misc={"names": "NER"})
    tree = Tree((3, 1, 0, 3, 4), ("nsubj", "flat", "root", "obj", "flat"))
    values = {"tree": tree, "upos": WordLabels("ABCDE"), "mood": "x", "names": SPANS}
    for layer, value in values.items():
        sure = 0.5 if isinstance(value, str) else (0.5,) * (3 if layer == "names" else 5)
        given = [(Example(words=WORDS, text=" ".join(WORDS)), Prediction(value, sure))]
        found = written(tmp_path, spec, layer, given, {"names": "NER"})
        kinds = {layer: type(value)}
        assert together(tmp_path, spec, found, kinds)[-1].layers[layer] == value


def test_words_in_tables_become_jsonl(tmp_path: Path) -> None:
    spec = DataSpec(train=made(tmp_path, "a.csv", "words,tags\na b,X Y\n"))
    found = written(
        tmp_path, spec, "tags", [(Example(words=("c", "d")), Prediction(WordLabels(["X", "Y"]), (0.5, 0.5)))]
    )
    assert not found.same and found.path.suffix == ".jsonl"
    read = load_dataset("d", DataSpec(train=str(found.path)), tmp_path, {"tags": WordLabels}).splits["train"]
    assert read[0].words == ("c", "d") and read[0].layers["tags"] == WordLabels(["X", "Y"])


def test_parallel_files_get_a_file_for_each_part(tmp_path: Path) -> None:
    made(tmp_path, "a.en", "one\n")
    made(tmp_path, "a.fr", "un\n")
    spec = DataSpec(train="a.{en,fr}")
    found = written(tmp_path, spec, "target", [(Example(text="two"), Prediction(Text("deux"), 0.5))])
    assert (tmp_path / "to-label.en").read_text() == "two\n" and (tmp_path / "to-label.fr").read_text() == "deux\n"
    last = together(tmp_path, spec, found, {"target": Text})[-1]
    assert found.filled and (last.text, last.layers["target"]) == ("two", "deux")
