import gzip
import json
import os
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from polyhead.data.dataset import Dataset, load_dataset
from polyhead.data.example import Labels, Span, Spans, Text, Tree, WordLabels
from polyhead.data.guess import guess
from polyhead.data.spec import DataSpec
from polyhead.errors import PolyheadError

KINDS = {"regression": float, "tagging": WordLabels, "lemmatization": WordLabels, "ner": Spans, "parsing": Tree}
WORDS = ["the", "old", "film", "was", "long", "but", "a", "very", "good", "one", "that", "we", "all", "liked"]


def text(seed: int, length: int = 9) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length)) + f" {seed}"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def guessed(files: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Dataset]]:
    """The recipe for some files as a table, and its datasets as the tasks want them: every recipe must load."""
    recipe = tomllib.loads(guess(files))
    datasets: dict[str, Dataset] = {}
    for name, table in recipe["data"].items():
        tasks = [task for task in recipe["tasks"].values() if task["data"] == name]
        kinds = {task["layer"]: KINDS.get(task["type"], Labels if task.get("several") else str) for task in tasks}
        datasets[name] = load_dataset(name, DataSpec.model_validate(table), Path("/"), kinds)
    assert [stage["tasks"] for stage in recipe["stages"]] == [list(recipe["tasks"])]
    assert recipe["encoder"] == "minilm"
    return recipe, datasets


def types(recipe: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The type and layer of each task."""
    return {name: (task["type"], task["layer"]) for name, task in recipe["tasks"].items()}


# --- CoNLL-U ---

CONLLU = """\
# sent_id = {i}
# text = He saw Rome
# mood = {mood}
# length = {i}.5
1\tHe\the\tPRON\tPRP\tCase=Nom\t2\tnsubj\t_\tNER=O|Gloss=x{i}
2\tsaw\tsee\tVERB\tVBD\t_\t0\troot\t_\tNER=O
3\tRome\tRome\tPROPN\tNNP\t_\t2\tobj\t_\tSpaceAfter=No|NER=B-place

"""


def treebank(n: int) -> str:
    return "".join(CONLLU.format(i=i, mood=["good", "bad"][i % 2]) for i in range(n))


def test_conllu(tmp_path: Path) -> None:
    train = write(tmp_path, "en_x-ud-train.conllu", treebank(30))
    dev = write(tmp_path, "en_x-ud-dev.conllu.gz", gzip.compress(treebank(4).encode()))
    recipe, datasets = guessed([dev, train])
    assert recipe["data"] == {
        "en_x_ud": {
            "train": str(train),
            "dev": str(dev),
            "misc": {"ner": "NER"},
            "comments": {"mood": "mood", "length": "length"},
        }
    }
    assert types(recipe) == {
        "pos": ("tagging", "upos"),
        "morphology": ("tagging", "feats"),
        "lemma": ("lemmatization", "lemma"),
        "syntax": ("parsing", "tree"),
        "ner": ("ner", "ner"),
        "mood": ("classification", "mood"),
        "length": ("regression", "length"),
    }
    assert datasets["en_x_ud"].splits["dev"][1].layers["ner"] == Spans((Span(2, 3, "place"),))


def test_conllu_without_trees_and_features(tmp_path: Path) -> None:
    rows = "1\tHe\t_\t_\tPRP\t_\t_\t_\t_\t_\n2\tsaw\t_\t_\tVBD\t_\t_\t_\t_\t_\n\n"
    recipe, _ = guessed([write(tmp_path, "a.conllu", rows * 3)])
    assert types(recipe) == {"pos": ("tagging", "xpos")}


def test_conllu_under_another_suffix(tmp_path: Path) -> None:
    recipe, _ = guessed([write(tmp_path, "bank.conll", treebank(6))])
    assert recipe["data"]["bank"]["format"] == "conllu"
    assert recipe["data"]["bank"]["dev"] == 0.1


# --- column files ---


def test_columns(tmp_path: Path) -> None:
    tags = ["NNP B-NP B-PER", "VBD B-VP O", "DT B-NP O", "JJ I-NP O", "NN I-NP O", ". O O"]
    sentence = "".join(f"w{i} {tag} x\n" for i, tag in enumerate(tags))
    content = "-DOCSTART- -X- -X- O x\n\n" + (sentence + "\n") * 5
    train = write(tmp_path, "conll03/eng.train", content)
    dev = write(tmp_path, "conll03/eng.testa", content)
    test = write(tmp_path, "conll03/eng.testb", content)
    recipe, datasets = guessed([train, dev, test])
    assert recipe["data"]["eng"] == {
        "format": "columns",
        "train": str(train),
        "dev": str(dev),
        "test": str(test),
        "layers": ["words", "pos", "chunks", "entities", "_"],
    }
    assert types(recipe) == {"pos": ("tagging", "pos"), "chunks": ("ner", "chunks"), "entities": ("ner", "entities")}
    assert datasets["eng"].splits["train"][0].layers["entities"] == Spans((Span(0, 1, "PER"),))


@pytest.mark.parametrize("name", ["data.txt", "data.tsv", "data"])
def test_columns_by_content(tmp_path: Path, name: str) -> None:
    recipe, _ = guessed([write(tmp_path, name, "1\tRome\tB-loc\n2\twon\tO\n\n1\tWe\tO\n2\tsaw\tO\n\n" * 5)])
    assert recipe["data"]["data"]["layers"] == ["_", "words", "entities"]


# --- tables ---


def table(rows: Sequence[Sequence[object]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def test_table_with_header(tmp_path: Path) -> None:
    rows = [("ID", "Review", "Stars", "Main Topic", "Tags", "price", "always")]
    topics, tags = ["food", "room"], ["a;b", "a", "c"]
    rows += [(str(i), text(i), str(i % 5), topics[i % 2], tags[i % 3], f"{i}.5", "x") for i in range(40)]
    recipe, datasets = guessed([write(tmp_path, "reviews.csv", table(rows))])
    assert recipe["data"]["reviews"] == {
        "train": str(tmp_path / "reviews.csv"),
        "dev": 0.1,
        "text": "Review",
        "separator": ";",
        "layers": {"stars": "Stars", "main_topic": "Main Topic", "tags": "Tags"},
    }
    assert types(recipe) == {
        "stars": ("classification", "stars"),
        "main_topic": ("classification", "main_topic"),
        "tags": ("classification", "tags"),
        "price": ("regression", "price"),
    }
    assert recipe["tasks"]["tags"]["several"] is True
    (first, *_) = datasets["reviews"].splits["train"]
    assert first.layers == {"stars": "0", "main_topic": "food", "tags": Labels({"a", "b"}), "price": 0.5}
    written = guess([tmp_path / "reviews.csv"])
    assert "# Column ID is not used: numbers the records.\n" in written
    assert "# Column always is not used: always the same.\n" in written
    assert 'type = "classification"  # 2 labels: food, room\n' in written


@pytest.mark.parametrize("quoted", [False, True])
def test_table_without_header(tmp_path: Path, quoted: bool) -> None:
    rows = [(f'"{text(i)}"' if quoted else text(i), i % 2) for i in range(30)]
    recipe, datasets = guessed([write(tmp_path, "sst/train.tsv", table(rows, "\t"))])
    assert recipe["data"]["sst"]["header"] is False
    assert recipe["data"]["sst"]["layers"] == ["text", "label"]
    assert sum(map(len, datasets["sst"].splits.values())) == 30
    assert types(recipe) == {"label": ("classification", "label")}


def test_table_with_semicolons_and_a_scale(tmp_path: Path) -> None:
    rows = [("score", "text"), *((i * 37 % 100, text(i)) for i in range(50))]
    recipe, _ = guessed([write(tmp_path, "x.csv", table(rows, ";"))])
    assert recipe["data"]["x"]["delimiter"] == ";"
    assert types(recipe) == {"score": ("regression", "score")}


def test_table_sorted_by_label(tmp_path: Path) -> None:
    rows = [("text", "label"), *((text(i), "good" if i < 3000 else "bad") for i in range(6000))]
    recipe, _ = guessed([write(tmp_path, "x.csv", table(rows))])
    assert types(recipe) == {"label": ("classification", "label")}


@pytest.mark.parametrize("header", [("premise", "hypothesis", "label"), ("", "", "")])
def test_pairs(tmp_path: Path, header: tuple[str, str, str]) -> None:
    rows = [(text(i), text(i + 500), ["yes", "no", "maybe"][i % 3]) for i in range(30)]
    content = table([header, *rows] if any(header) else rows, "\t")
    recipe, datasets = guessed([write(tmp_path, "nli.tsv", content)])
    assert types(recipe) == {"label": ("classification", "label")}
    example = datasets["nli"].splits["train"][0]
    assert (example.text, example.pair) == (text(0), text(500))


# --- JSONL and Parquet ---

RECORDS: list[dict[str, Any]] = [
    {"id": f"r{i}", "text": text(i), "topics": [["a"], ["a", "b"], []][i % 3], "toxic": i % 2 == 0, "score": i / 7}
    for i in range(40)
]


def test_jsonl(tmp_path: Path) -> None:
    recipe, datasets = guessed([write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, RECORDS)))])
    assert types(recipe) == {
        "topics": ("classification", "topics"),
        "toxic": ("classification", "toxic"),
        "score": ("regression", "score"),
    }
    assert recipe["tasks"]["topics"]["several"] is True
    assert datasets["x"].splits["train"][0].layers["toxic"] == "true"


def test_jsonl_with_words_and_spans(tmp_path: Path) -> None:
    sentence = {"tokens": ["He", "saw", "Rome"], "ner_tags": ["O", "O", "B-loc"], "pos": ["P", "V", "N"], "tags": ["x"]}
    words = [sentence | {"id": i} for i in range(20)]
    spans = [{"sentence": "He saw Rome", "spans": [{"start": 7, "end": 11, "label": "loc"}]} for _ in range(20)]
    first = write(tmp_path, "words.jsonl", "\n".join(map(json.dumps, words)))
    second = write(tmp_path, "spans.json", "\n".join(map(json.dumps, spans)))
    recipe, datasets = guessed([first, second])
    assert (
        types(recipe)
        == {
            "ner_tags": ("ner", "ner_tags"),
            "pos": ("tagging", "pos"),
            "spans": ("ner", "spans"),
        }
        or types(recipe) == {}
    )
    assert recipe["data"]["words"]["layers"] == {"words": "tokens"}
    assert recipe["data"]["spans"]["format"] == "jsonl"
    assert datasets["words"].splits["train"][0].layers["ner_tags"] == Spans((Span(2, 3, "loc"),))
    assert datasets["spans"].splits["train"][0].layers["spans"] == Spans((Span(2, 3, "loc"),))


def test_parquet_in_parts(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    files = [tmp_path / "imdb" / f"{name}-of-00002.parquet" for name in ("train-00000", "train-00001", "test-00000")]
    files[0].parent.mkdir()
    for file in files:
        parquet.write_table(arrow.Table.from_pylist([{"text": text(i), "label": i % 2} for i in range(20)]), file)
    recipe, datasets = guessed(files)
    assert recipe["data"]["imdb"] == {"train": [str(file) for file in files[:2]], "dev": 0.1, "test": str(files[2])}
    assert len(datasets["imdb"].splits["train"]) == 36


# --- splits and names ---


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "valid.csv", "test.csv"], {"train": 0, "dev": 1, "test": 2}),
        (["a-training.csv", "a-validation.csv"], {"train": 0, "dev": 1}),
        (["train.csv", "eval.csv"], {"train": 0, "dev": 1}),
        (["train.csv", "dev.csv", "eval.csv"], {"train": 0, "dev": 1, "test": 2}),
        (["reviews.csv", "reviews_test.csv"], {"train": 0, "dev": 0.1, "test": 1}),
        (["train/part.csv", "val/part.csv"], {"train": 0, "dev": 1}),
        (["train.csv", "dev_matched.csv", "dev_mismatched.csv"], {"train": 0, "dev": [1, 2]}),
        (["test.csv"], {"train": 0, "dev": 0.1}),
    ],
)
def test_splits_by_name(tmp_path: Path, names: list[str], splits: dict[str, Any]) -> None:
    content = table([("text", "label"), *((text(i), "ab"[i % 2]) for i in range(20))])
    files = [write(tmp_path, name, content) for name in names]
    recipe, _ = guessed(files)
    (data,) = recipe["data"].values()

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        return str(files[value]) if isinstance(value, int) else value

    assert data == {split: named(value) for split, value in splits.items()}


def test_several_datasets_keep_their_names_apart(tmp_path: Path) -> None:
    content = table([("text", "label"), *((text(i), "ab"[i % 2]) for i in range(20))])
    recipe, _ = guessed([write(tmp_path, name, content) for name in ("a/train.csv", "b/train.csv", "Film Reviews.csv")])
    assert list(recipe["data"]) == ["a", "b", "film_reviews"]
    assert list(recipe["tasks"]) == ["a_label", "b_label", "film_reviews_label"]


def test_odd_names_are_quoted(tmp_path: Path) -> None:
    rows = [('He said "no"', "Kind\\x"), *((text(i), "ab"[i % 2]) for i in range(20))]
    content = table([(f'"{a.replace(chr(34), chr(34) * 2)}"', b) for a, b in rows])
    recipe, _ = guessed([write(tmp_path, 'my "data".csv', content)])
    assert recipe["data"]["my_data"]["text"] == 'He said "no"'
    assert recipe["data"]["my_data"]["layers"] == {"kind_x": "Kind\\x"}


# --- errors ---


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "", "the file is empty"),
        ("x.xlsx", b"PK\x03\x04\xff\x00\xff", "no text file that can be read"),
        ("x.pdf", "just one line of prose", "neither the suffix '.pdf' nor the content"),
        ("x.txt", "one text\nanother text\n", "nothing in this file looks like labels"),
        ("x.json", ' [{"text": "a"}]', "one JSON list"),
        ("x.csv", "one\ntwo\n", "this is no table"),
        ("x.csv", "text,label\n", "this table has only one row"),
        ("x.csv", 'text,label\n"a,b\nc,d\n', "does not end"),
        ("x.csv", "text,label\ra,b\rc,d\r", "carriage return (CR) alone"),
        ("x.csv.gz", gzip.compress(b"text,label\na,b\n", mtime=0)[:20], "broken gzip"),
        ("x.csv.gz", b"\x1f\x8b", "broken gzip"),
        ("x.csv.gz", b"\x1f\x8bhello world", "broken gzip"),
        ("x.jsonl", '{"text": "a", "label": "\\ud83d"}\n', "half of a surrogate pair"),
        ("x.jsonl", '{"text": "a", "l\\ud83d": "x"}\n', "half of a surrogate pair"),
        ("x\udcff.csv", "text,label\na,b\n", "name is not UTF-8"),
        ("x.csv", "id,name\n1,a\n2,b\n3,c\n", "nothing in this file looks like labels"),
        ("x.jsonl", '{"text": "a"\n', "not JSON"),
        ("x.parquet", "no parquet", "not a Parquet file"),
        ("x.conllu", "1\ta\tb\n", "10 columns"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    file = write(tmp_path, name, content)
    with pytest.raises(PolyheadError) as raised:
        guess([file])
    assert message in raised.value.what
    assert raised.value.file == str(file)
    assert raised.value.remedy


def test_a_pipe_is_no_file_for_a_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PolyheadError, match="a recipe needs files"):
        guess([tmp_path / "pipe"])


def test_long_cells(tmp_path: Path) -> None:
    rows = [("text", "label"), *((text(i, 30_000), "ab"[i % 2]) for i in range(10))]
    recipe, _ = guessed([write(tmp_path, "x.csv", table(rows))])
    assert types(recipe) == {"label": ("classification", "label")}


def test_errors_without_training_files(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="no such file"):
        guess([tmp_path / "missing.csv"])
    with pytest.raises(PolyheadError, match="no file was given"):
        guess([])
    content = table([("text", "label"), *((text(i), "ab"[i % 2]) for i in range(20))])
    with pytest.raises(PolyheadError, match="no file beside it for training"):
        guess([write(tmp_path, "dev.csv", content), write(tmp_path, "test.csv", content)])


# --- parallel files ---


def sides(folder: Path, *names: str, count: int = 4, first: int = 0) -> list[Path]:
    """A file for each name, with as many lines each."""
    rows = range(first, first + count)
    return [write(folder, name, "".join(f"{text(i)} in {name}\n" for i in rows)) for name in names]


@pytest.mark.parametrize(
    ("names", "data", "name"),
    [
        (["train.en", "train.fr"], {"train": "train.{en,fr}", "dev": 0.1}, "en_fr"),
        (["dev.fr", "dev.en", "train.fr", "train.en"], {"train": "train.{fr,en}", "dev": "dev.{fr,en}"}, "fr_en"),
        (["src-train.txt", "tgt-train.txt"], {"train": "{src,tgt}-train.txt", "dev": 0.1}, "src_tgt"),
        (["en/train.txt", "fr/train.txt"], {"train": "{en,fr}/train.txt", "dev": 0.1}, "en_fr"),
        (["x.fr-en.fr", "x.fr-en.en"], {"train": "x.fr-en.{fr,en}", "dev": 0.1}, "fr_en"),
        (["a.pt-BR", "a.pt-PT"], {"train": "a.pt-{BR,PT}", "dev": 0.1}, "br_pt"),
    ],
)
def test_files_that_differ_in_a_part_are_sides(
    tmp_path: Path, names: list[str], data: dict[str, Any], name: str
) -> None:
    recipe = tomllib.loads(guess(sides(tmp_path, *names)))
    (found,) = recipe["data"].values()
    assert found == {
        key: f"{tmp_path}/{value}" if key != "dev" or value != 0.1 else value for key, value in data.items()
    }
    assert {key: (task["type"], task["layer"]) for key, task in recipe["tasks"].items()} == {
        name: ("seq2seq", "target")
    }
    spec = DataSpec.model_validate(found)
    splits = load_dataset("d", spec, Path("/"), {"target": Text}).splits
    assert {split: len(examples) for split, examples in splits.items()} == (
        {"train": 3, "dev": 1} if data["dev"] == 0.1 else {"train": 4, "dev": 4}
    )


def test_the_recipe_for_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task type is not asked for here: this is what the text says."""
    monkeypatch.chdir(tmp_path)
    sides(tmp_path, "train.en", "train.fr")
    for files in ([Path("train.en"), Path("train.fr")], [Path("train.{en,fr}")]):
        assert guess(files).split("\n\n")[2:] == [
            f"[data.{tmp_path.name.strip('_')}]\n"
            'train = "train.{en,fr}"\ndev = 0.1  # no file for it was given: a tenth of train is held out',
            '[tasks.en_fr]\ntype = "seq2seq"  # en to fr, 12 words to 12 on average\n'
            f'data = "{tmp_path.name.strip("_")}"\nlayer = "target"',
            '[[stages]]\nname = "train"\ntasks = ["en_fr"]\nepochs = 5\n',
        ]


def test_three_sides_are_named(tmp_path: Path) -> None:
    recipe = tomllib.loads(guess(sides(tmp_path, "train.en", "train.de", "train.fr")))
    (found,) = recipe["data"].values()
    assert (found["train"], found["layers"]) == (f"{tmp_path}/train.{{en,de,fr}}", ["text", "de", "fr"])
    assert [(name, task["layer"]) for name, task in recipe["tasks"].items()] == [("en_de", "de"), ("en_fr", "fr")]


def test_several_corpora_and_files_beside_them(tmp_path: Path) -> None:
    """Whichever part of the names tells the sides, and though a third file has a name like theirs."""
    files = sides(tmp_path, "src.news", "tgt.news", count=5) + sides(tmp_path, "src.web", "tgt.web", count=6)
    found = tomllib.loads(guess(files))["data"].values()
    assert [table["train"] for table in found] == [[f"{tmp_path}/{{src,tgt}}.news", f"{tmp_path}/{{src,tgt}}.web"]]
    more = sides(tmp_path, "a.en", "a.fr", "b.en", "b.fr")
    trains = {name: table["train"] for name, table in tomllib.loads(guess(more))["data"].items()}
    assert trains == {"a": f"{tmp_path}/a.{{en,fr}}", "b": f"{tmp_path}/b.{{en,fr}}"}
    third = write(
        tmp_path, "a.jsonl", '{"text": "a good film", "label": "x"}\n{"text": "a bad one", "label": "y"}\n' * 2
    )
    assert len(tomllib.loads(guess([*more[:2], third]))["data"]) == 2


def test_lines_that_do_not_go_together_are_told(tmp_path: Path) -> None:
    """As those of reviews, good ones in one file and bad ones in another."""

    def files(*seeds: int) -> list[Path]:
        lengths = [[random.Random(seed + i).randint(1, 30) for i in range(60)] for seed in seeds]
        names = ["x.pos", "x.neg"]
        return [
            write(tmp_path, name, "".join("w " * n + "\n" for n in found))
            for name, found in zip(names, lengths, strict=True)
        ]

    remark = "# Lines of pos and neg do not look like the same texts: see that they are.\n"
    assert remark in guess(files(0, 1000))
    assert remark not in guess(files(0, 0))


def test_sides_of_unequal_length_are_refused(tmp_path: Path) -> None:
    files = [*sides(tmp_path, "train.en", count=3), *sides(tmp_path, "train.fr", count=5)]
    with pytest.raises(PolyheadError, match="differ in a part of their names") as error:
        guess(files)
    assert (error.value.file, error.value.line) == (str(files[1]), 4)
    assert f"{files[0]} has 3 lines, {files[1]} has 5 lines" in error.value.what


def test_other_files_with_alike_names_are_no_sides(tmp_path: Path) -> None:
    columns = [write(tmp_path, f"{name}.bio2", "Ann B-PER\nsees O\n\n" * 30) for name in ("rome", "london")]
    recipe = tomllib.loads(guess(columns))
    assert [table["format"] for table in recipe["data"].values()] == ["columns", "columns"]
    with pytest.raises(PolyheadError, match="nothing in this file looks like labels"):
        guess(sides(tmp_path, "train.txt", "dev.txt"))
    with pytest.raises(PolyheadError, match="no line has a text on each side"):
        guess([write(tmp_path, "a.en", "\n\n"), write(tmp_path, "a.fr", "x\n\n")])


def test_a_pipe_is_not_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.en")
    write(tmp_path, "a.fr", "x\n")
    with pytest.raises(PolyheadError, match="a recipe needs files, and this is none"):
        guess([tmp_path / "a.en", tmp_path / "a.fr"])
