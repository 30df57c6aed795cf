import gc
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from polyhead.data import Dataset, DataSpec, Spans, Tree, load_dataset
from polyhead.errors import PolyheadError

CORPORA = pytest.mark.skipif(
    "POLYHEAD_DATA" not in os.environ, reason="POLYHEAD_DATA does not name the corpora's folder"
)


def made(folder: Path, content: str, name: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return name


def table(n: int, first: int = 0) -> str:
    return "text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(first, first + n))


def texts(dataset: Dataset, split: str) -> list[str | None]:
    return [example.text for example in dataset.splits[split]]


def test_splits_of_one_or_several_files(tmp_path: Path) -> None:
    made(tmp_path, table(2), "a.csv")
    made(tmp_path, '{"text": "more", "label": "0"}\n\n', "b.jsonl")
    spec = DataSpec(train=["a.csv", "b.jsonl"], test="a.csv")
    dataset = load_dataset("d", spec, tmp_path, {"label": str})
    assert list(dataset.splits) == ["train", "test"]
    assert texts(dataset, "train") == ["text 0", "text 1", "more"]
    assert dataset.notes == [f"1 empty line left out of {tmp_path / 'b.jsonl'}"]
    assert list(load_dataset("d", spec, tmp_path, splits=["test"]).splits) == ["test"]


def test_held_out_share_is_the_same_each_time_and_whatever_the_limit(tmp_path: Path) -> None:
    made(tmp_path, table(50), "a.csv")
    spec = DataSpec(train="a.csv", dev=0.1)
    whole = load_dataset("d", spec, tmp_path)
    assert (len(whole.splits["train"]), len(whole.splits["dev"])) == (45, 5)
    assert sorted([*texts(whole, "train"), *texts(whole, "dev")], key=str) == sorted(f"text {i}" for i in range(50))
    assert whole.notes == ["dev is 5 of the 50 training examples, drawn with a fixed seed"]
    small = load_dataset("d", spec.model_copy(update={"limit": 10}), tmp_path)
    assert texts(small, "dev") == texts(whole, "dev")
    assert texts(small, "train") == texts(whole, "train")[:10]
    assert small.notes[1:] == ["train is the first 10 of 45 examples (limit)"]
    assert texts(load_dataset("d", spec, tmp_path, splits=["dev"]), "dev") == texts(whole, "dev")


def test_limit_is_for_training_alone(tmp_path: Path) -> None:
    made(tmp_path, table(5), "a.csv")
    dataset = load_dataset("d", DataSpec(train="a.csv", dev="a.csv", limit=2), tmp_path)
    assert (len(dataset.splits["train"]), len(dataset.splits["dev"])) == (2, 5)
    assert dataset.notes == ["train is the first 2 examples (limit)"]


def test_scheme_is_that_of_the_training_split(tmp_path: Path) -> None:
    made(tmp_path, "a\tI-X\nb\tB-X\nc\tO\n", "train.conll")
    made(tmp_path, "a\tB-X\nb\tO\n\nc\tI-X\n\nd\tB-X\n", "test.conll")
    spec = DataSpec(train="train.conll", test="test.conll", layers=["words", "ner"])
    for splits in (("train", "dev", "test"), ("test",)):
        dataset = load_dataset("d", spec, tmp_path, {"ner": Spans}, splits)
        assert list(dataset.splits) == [split for split in splits if split != "dev"]
        assert [example.layers["ner"] for example in dataset.splits["test"]] == [((0, 1, "X"),)] * 3
        assert dataset.notes == ["ner is read as IOB1 tags"]


def test_draws_with_one_seed_lie_within_each_other(tmp_path: Path) -> None:
    made(tmp_path, table(50), "a.csv")
    spec = DataSpec(train="a.csv", dev=0.1, limit=40)

    def draw(limit: int, seed: int) -> list[str]:
        dataset = load_dataset("d", spec.model_copy(update={"limit": limit, "draw": seed}), tmp_path)
        assert texts(dataset, "dev") == texts(load_dataset("d", spec, tmp_path), "dev")
        assert dataset.notes[1:] == [f"train is {limit} of 45 examples, drawn with seed {seed}"]
        return texts(dataset, "train")

    places = [int(text.split()[1]) for text in draw(40, 1)]
    assert places == sorted(set(places)) and places != list(range(40))
    assert set(draw(5, 1)) < set(draw(10, 1)) < set(draw(40, 1))
    assert draw(10, 1) == draw(10, 1) != draw(10, 2)
    fingerprints = {load_dataset("d", spec.model_copy(update={"draw": seed}), tmp_path).fingerprint for seed in (1, 2)}
    assert len(fingerprints | {load_dataset("d", spec, tmp_path).fingerprint}) == 3
    whole = load_dataset("d", spec.model_copy(update={"limit": 99, "draw": 3}), tmp_path)
    assert len(texts(whole, "train")) == 45 and whole.notes[1:] == ["train is the first 45 examples (limit)"]


def test_folds_are_parts_that_have_nothing_in_common(tmp_path: Path) -> None:
    made(tmp_path, table(23), "a.csv")

    def left(**fields: object) -> list[str | None]:
        return texts(load_dataset("d", DataSpec(train="a.csv", **fields), tmp_path, {"label": str}), "train")

    everything = left()
    out = [[text for text in everything if text not in left(fold=f"{part}/5")] for part in range(1, 6)]
    assert sorted(map(len, out)) == [4, 4, 5, 5, 5]
    assert sorted(text for part in out for text in part if text) == sorted(text for text in everything if text)
    assert left(fold="2/5") == [text for text in everything if text not in out[1]], "in their order"
    assert len(left(fold="1/2", limit=10, draw=3)) == 5 and set(left(fold="1/2", limit=10, draw=3)) < set(everything)
    specs = [DataSpec(train="a.csv", fold=fold) for fold in (None, "1/5", "2/5")]
    prints = {load_dataset("d", spec, tmp_path, {"label": str}).fingerprint for spec in specs}
    assert len(prints) == 3
    with pytest.raises(PolyheadError, match="23 training examples cannot be cut into 24 parts"):
        left(fold="1/24")
    for wrong in ("0/2", "3/2", "1/1", "2", "a/b", "1/2/3", ""):
        with pytest.raises(ValidationError, match="is no part of several"):
            DataSpec(train="a.csv", fold=wrong)


def test_scheme_does_not_depend_on_the_limit(tmp_path: Path) -> None:
    made(tmp_path, "a\tB-X\n\na\tI-X\n\na\tI-X\n", "train.conll")
    spec = DataSpec(train="train.conll", layers=["words", "ner"], limit=1)
    dataset = load_dataset("d", spec, tmp_path, {"ner": Spans})
    assert [example.words for example in dataset.splits["train"]] == [("a",)]
    assert "ner is read as IOB1 tags" in dataset.notes


def test_fingerprint_follows_content_and_reading_alone(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        made(tmp_path / folder, table(4), "a.csv")
    made(tmp_path / "two", table(4), "b.csv")
    spec = DataSpec(train="a.csv", licence="CC0-1.0")
    base = load_dataset("d", spec, tmp_path / "one").fingerprint
    assert len(base) == 64
    assert load_dataset("e", DataSpec(train="b.csv"), tmp_path / "two").fingerprint == base
    assert load_dataset("d", spec.model_copy(update={"separator": ";"}), tmp_path / "one").fingerprint != base
    assert load_dataset("d", spec.model_copy(update={"limit": 2}), tmp_path / "one").fingerprint != base
    made(tmp_path / "one", table(4, first=1), "a.csv")
    assert load_dataset("d", spec, tmp_path / "one").fingerprint != base


def test_gaps_in_a_layer_are_noted(tmp_path: Path) -> None:
    made(tmp_path, "text,label\na,1\nb,\n", "train.csv")
    made(tmp_path, "text,label\na,\nb,\n", "test.csv")
    dataset = load_dataset("d", DataSpec(train="train.csv", test="test.csv"), tmp_path, {"label": str})
    assert dataset.notes == ["1 of 2 examples of train have no 'label'", "2 of 2 examples of test have no 'label'"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"train": "empty.csv"}, "the train split of data.d is empty"),
        ({"train": "a.csv", "dev": "header.csv"}, "the dev split of data.d is empty"),
        (
            {"train": ["a.csv", "header.csv"]},
            "header.csv: the train split of data.d has several files, and this one is",
        ),
        ({"train": ["empty.csv", "a.csv"]}, "empty.csv: the train split of data.d has several files"),
        ({"train": ["a.csv", "./a.csv"]}, "names this file twice"),
        ({"train": "none.csv"}, "no such file"),
        ({"train": "b.csv"}, "Did you mean 'a.csv'"),
        ({"train": "folder.csv"}, "this is a folder"),
        ({}, "data.d names no file for train or dev or test"),
        ({"dev": 0.5}, "there is none"),
        ({"train": "one.csv", "dev": 0.5}, "leaves none to train on"),
        ({"train": "nolabel.csv"}, "no training example of data.d has the layer 'label'"),
    ],
)
def test_broken_datasets(tmp_path: Path, fields: dict[str, object], what: str) -> None:
    made(tmp_path, "", "empty.csv")
    made(tmp_path, table(0), "header.csv")
    made(tmp_path, table(1), "one.csv")
    made(tmp_path, table(4), "a.csv")
    made(tmp_path, "text,label\na,\n", "nolabel.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(PolyheadError, match=what):
        load_dataset("d", DataSpec(**fields), tmp_path, {"label": str})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"layers": ["words", "a", "a"]}, "names 'a' twice"),
        ({"layers": {"_": "x"}}, "'_'"),
        ({"misc": {"upos": "UPOS"}}, "'upos', but that name is taken"),
        ({"comments": {"text": "text"}}, "taken"),
        ({"misc": {"a": "A"}, "comments": {"a": "a"}}, "taken"),
        ({"train": []}, "the list is empty; name a file"),
        ({"dev": []}, "the list is empty; name a file"),
        ({"dev": 1.5}, "less than 1"),
        ({"dev": 0.0}, "greater than 0"),
        ({"limit": 0}, "greater than 0"),
        ({"limit": "3"}, "integer"),
        ({"draw": 3}, "draw stands without limit"),
        ({"limit": 3, "draw": -1}, "greater than or equal to 0"),
        ({"format": "xml"}, "conllu"),
        ({"trian": "a.csv"}, "trian"),
        ({"delimiter": "::"}, "1 character"),
    ],
)
def test_wrong_specs_are_refused(fields: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        DataSpec(**fields)  # type: ignore[arg-type]


def test_every_field_of_a_spec_is_described_in_one_sentence() -> None:
    for name, field in DataSpec.model_fields.items():
        assert field.description and field.description.endswith(".") and "\n" not in field.description, name


def test_collector_is_left_as_it_was(tmp_path: Path) -> None:
    made(tmp_path, table(2), "a.csv")
    for was_on in (True, False):
        (gc.enable if was_on else gc.disable)()
        try:
            load_dataset("d", DataSpec(train="a.csv"), tmp_path)
            assert gc.isenabled() is was_on
        finally:
            gc.enable()


def test_importing_data_imports_nothing_heavy() -> None:
    code = "import sys, polyhead.data; print({'torch', 'pyarrow', 'numpy', 'spacy', 'transformers'} & set(sys.modules))"
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout.strip() == "set()"


# --- real corpora: the counts are those that the corpora's own README gives, or that a plain count of lines gives ---


@CORPORA
@pytest.mark.corpora
def test_ewt() -> None:
    folder = Path(os.environ["POLYHEAD_DATA"]) / "ewt"
    names = {split: f"en_ewt-ud-{split}.conllu" for split in ("train", "dev", "test")}
    dataset = load_dataset("ewt", DataSpec(**names), folder, {"tree": Tree})  # type: ignore[arg-type]
    counts = {split: (len(found), sum(len(one.words) for one in found)) for split, found in dataset.splits.items()}
    assert counts == {"train": (12544, 204577), "dev": (2001, 25147), "test": (2077, 25094)}
    assert dataset.notes == []
    for split, examples in dataset.splits.items():
        lines = (folder / names[split]).read_text(encoding="utf-8").split("\n")
        assert [one.text for one in examples] == [line[9:] for line in lines if line.startswith("# text = ")]
        assert sum(len(one.frame.between) for one in examples if one.frame) == sum(
            not line.partition("\t")[0].isdigit() for line in lines if line and line[0] != "#"
        )
        for one in examples:
            assert one.text is not None and one.offsets is not None and one.lines is not None
            spelt = [one.text[start:end] for start, end in one.offsets]
            assert all(word == part or len(part) > 1 for word, part in zip(one.words, spelt, strict=True))
            assert all(lines[line - 1].split("\t")[1] == word for line, word in zip(one.lines, one.words, strict=True))


@CORPORA
@pytest.mark.corpora
def test_wnut17() -> None:
    names = {split: f"wnut17/{split}.conll" for split in ("train", "dev", "test")}
    spec = DataSpec(**names, layers=["words", "entities"])  # type: ignore[arg-type]
    dataset = load_dataset("wnut", spec, Path(os.environ["POLYHEAD_DATA"]), {"entities": Spans})
    assert dataset.notes == ["entities is read as IOB2 tags"]
    counts = {}
    for split, examples in dataset.splits.items():
        layers = [one.layers["entities"] for one in examples]
        spans = [span for layer in layers if isinstance(layer, Spans) for span in layer]
        counts[split] = (len(examples), sum(len(one.words) for one in examples), len(spans))
        begins = Counter(
            line.rpartition("\tB-")[2]
            for line in (Path(os.environ["POLYHEAD_DATA"]) / names[split]).read_text(encoding="utf-8").split("\n")
            if "\tB-" in line
        )
        assert Counter(label for _, _, label in spans) == begins
    # 2,394 of the 3,394 sentences of train end at a line with a lone tab.
    assert counts == {"train": (3394, 62730, 1975), "dev": (1009, 15733, 836), "test": (1287, 23394, 1079)}


def test_each_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.txt" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text(f"text {name}\n", encoding="utf-8")
    resolved: list[Path] = []
    resolve = Path.resolve

    def counting(self: Path, strict: bool = False) -> Path:
        resolved.append(self)
        return resolve(self, strict)

    monkeypatch.setattr(Path, "resolve", counting)
    assert len(load_dataset("d", DataSpec(train=names), tmp_path, splits=["train"]).splits["train"]) == 20
    assert sorted(resolved) == sorted(tmp_path / name for name in names)
