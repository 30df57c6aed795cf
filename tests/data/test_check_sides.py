"""What the report on a parallel corpus says of its sides and its pairs."""

import json
from pathlib import Path

from rich.console import Console

from polyhead.data import DataSpec, load_dataset
from polyhead.data.check import Report, check
from polyhead.data.check_sides import compare
from polyhead.data.check_spread import Found, Spread
from polyhead.data.example import Example, Text

TRAIN = [
    ("a good cat", "un bon chat"),
    ("a bad day", "un mauvais jour"),
    ("a  good cat", "un bon chat"),
    ("a good cat", "un chat bon"),
    ("Rome", "Rome"),
    ("see", "voir et encore beaucoup de mots que personne ne dit"),
    ("a very long text that goes on and on and on and on", "bref"),
    ("yes", "c'est cela"),
]
DEV = [("a bad day", "un mauvais jour"), ("a good cat", "un chat"), ("new", "un bon chat"), ("news", "neuf")]


def looked_over(folder: Path, **splits: list[tuple[str, str]]) -> Report:
    for split, pairs in splits.items():
        for side, lines in zip(("en", "fr"), zip(*pairs, strict=True), strict=True):
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = DataSpec.model_validate({split: f"{split}.{{en,fr}}" for split in splits})
    dataset = load_dataset("d", spec, folder, {"target": Text})
    return check(dataset, lambda examples: [len((one.text or "").split()) + 2 for one in examples], 99)


def test_sides_and_pairs(tmp_path: Path) -> None:
    report = looked_over(tmp_path, train=TRAIN, dev=DEV)
    train, dev = report.pairs["target"]["train"], report.pairs["target"]["dev"]
    at = str(tmp_path / "train.{en,fr}:")
    assert (train.text.lines, train.other.lines, dev.text.lines) == (8, 8, 4)
    assert train.text.words == Spread(3 + 3 + 3 + 3 + 1 + 1 + 13 + 1, 1, 3, 13, 13)
    assert train.other.characters.max == len(TRAIN[5][1])
    assert train.text.repeats == Found(2, (at + "3 = 1", at + "4 = 1"))
    assert train.other.repeats == Found(1, (at + "3 = 1",))
    assert train.repeats == Found(1, (at + "3 = 1",))
    assert train.copied == Found(1, (at + "5",))
    assert train.wild == Found(2, (at + "6", at + "7"))
    ratios = sorted(len(other) / len(text) for text, other in TRAIN)
    assert (train.ratio.min, train.ratio.median, train.ratio.max) == (ratios[0], ratios[3], ratios[-1])
    assert (train.in_train.count, train.text.in_train.count) == (0, 0)
    at = str(tmp_path / "dev.{en,fr}:")
    assert dev.in_train == Found(1, (at + "1",))
    assert dev.text.in_train == Found(2, (at + "1", at + "2"))
    assert dev.other.in_train == Found(2, (at + "1", at + "3"))


def test_another_translation_is_no_contradiction(tmp_path: Path) -> None:
    train = looked_over(tmp_path, train=TRAIN).splits["train"]
    assert (train.repeats.count, train.contradictions.count) == (2, 0)


def test_a_text_is_no_label(tmp_path: Path) -> None:
    layer = looked_over(tmp_path, train=TRAIN, dev=DEV).layers["target"]
    assert (layer.kind, layer.labels, layer.most, layer.unseen) == ("a text", 0, {}, {})
    assert layer.present == {"train": 8, "dev": 4}


def test_what_is_usual_is_measured() -> None:
    """Summaries are a tenth as long as their texts, and only what is not is named."""
    texts = ["word " * 200] * 9 + ["word " * 200]
    examples = [
        Example(text=text, layers={"target": Text("sum " * (25 if i < 9 else 200))}, file="x", line=i + 1)
        for i, text in enumerate(texts)
    ]
    found = compare("target", {"train": examples})["train"]
    assert found.wild == Found(1, ("x:10",))


def test_what_is_usual_is_that_of_training() -> None:
    train = [Example(text="a" * 100, layers={"target": Text("b" * 100)}) for _ in range(3)]
    dev = [Example(text="a" * 100, layers={"target": Text("b" * 400)}, file="x", line=1)]
    pairs = compare("target", {"train": train, "dev": dev})
    assert (pairs["dev"].ratio.median, pairs["dev"].usual) == (4, 1)
    assert pairs["dev"].wild == Found(1, ("x:1",))
    assert compare("target", {"dev": dev})["dev"].wild == Found()


def test_texts_without_the_other_side_are_left_out(tmp_path: Path) -> None:
    examples = [Example(text="a", layers={"target": Text("b")}), Example(words=("a", "c"))]
    assert compare("target", {"train": examples, "dev": examples[1:]}).keys() == {"train"}
    assert compare("target", {"train": examples})["train"].text.lines == 1
    assert compare("target", {"dev": examples})["dev"].in_train == Found()


def test_the_report_reads_well_in_80_columns(tmp_path: Path) -> None:
    report = looked_over(tmp_path, train=TRAIN, dev=DEV)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(report)
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    sentences = " ".join(shown.replace("\n  ", " ").split())
    for sentence in (
        "1 pair of text and target of dev stands in train too: dev.{en,fr}:1",
        "1 pair of text and target of train stands earlier in it too: train.{en,fr}:3 = 1",
        "1 pair of text and target of train has the same text on both sides: train.{en,fr}:5",
        "2 pairs of text and target of train are far longer or shorter than usual, with",
    ):
        assert sentence in sentences
    assert json.loads(json.dumps(report.to_dict()))["pairs"]["target"]["train"]["copied"]["count"] == 1
