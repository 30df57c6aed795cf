"""Answers as rows and as lines: what is written is read back as it was."""

import random
from pathlib import Path

import pytest

from polyhead.data import DataSpec, Example, Labels, Prediction, Text, read
from polyhead.data.write_tables import TableWriter, text_line
from polyhead.errors import PolyheadError

SIGNS = ["a", "b", " ", '"', ",", "\t", "\n", "\r\n", "|", "x y", "\u2028", "'"]


def text(rng: random.Random) -> str:
    return "w" + "".join(rng.choices(SIGNS, k=rng.randint(0, 6))) + "w"


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("seed", range(40))
def test_any_text_is_read_back(tmp_path: Path, ending: str, delimiter: str, seed: int) -> None:
    rng = random.Random(seed)
    pairs = [(text(rng), text(rng)) for _ in range(6)]
    write = TableWriter(delimiter)
    rows = [write(Example(text=one), {"target": Prediction(Text(other), 1.0)}) for one, other in pairs]
    (tmp_path / f"x.{ending}").write_text("".join(rows), encoding="utf-8", newline="")
    found = read(tmp_path / f"x.{ending}", DataSpec(delimiter=delimiter), {"target": Text})
    for pair, example in zip(pairs, found, strict=True):
        sides = [side.replace("\r\n", "\n") for side in pair]  # to a reader they are one line end
        if ending == "tsv" and "\t" in "".join(sides) and "\n" in "".join(sides):
            # Lines with a tab each would be rows of their own.
            back = [str(side).replace("\t", " ") for side in (example.text, example.layers["target"])]
            assert back == [side.replace("\t", " ") for side in sides]
        else:
            assert [example.text, example.layers["target"]] == sides


def test_answers_of_each_kind_for_whole_texts(tmp_path: Path) -> None:
    example = Example(text="a", pair="b", others={"id": "7", "more": {"x": [1]}})
    answers = {
        "label": Prediction("x", 0.25),
        "several": Prediction(Labels({"q", "p"}), 0.5),
        "score": Prediction(2.5, 0.75),
        "target": Prediction(Text("c\nd"), 1.0),
    }
    written = TableWriter(",", separator=";")(example, answers)
    assert written == 'text,pair,id,more,label,several,score,target\na,b,7,"{""x"": [1]}",x,p;q,2.5,"c\nd"\n'
    (tmp_path / "x.csv").write_text(written, encoding="utf-8")
    kinds: dict[str, type] = {"label": str, "several": Labels, "score": float, "target": Text}
    (back,) = read(tmp_path / "x.csv", DataSpec(pair="pair", separator=";"), kinds)
    assert back.layers == {layer: one.value for layer, one in answers.items()}
    with pytest.raises(PolyheadError, match="label 'q' holds 'q'"):
        TableWriter(",", separator="q")(example, answers)


def test_the_first_text_gives_the_columns() -> None:
    write = TableWriter("\t", confidence=True)
    answer = {"target": Prediction(Text("b"), 0.25)}
    rows = [write(Example(text="a", others={"x": 1}), answer), write(Example(text="c"), answer)]
    assert rows == ["text\tx\ttarget\ttarget_confidence\na\t1\tb\t0.25\n", "c\t\tb\t0.25\n"]
    with pytest.raises(PolyheadError, match="a field 'y' that the first text has not"):
        write(Example(text="c", others={"y": 1}), answer)


@pytest.mark.parametrize(
    ("source", "answer", "line"),
    [
        ("a", "b c", "b c\n"),
        ("a", "b\r\nc\n", "b c\n"),
        ("a", "b\x0bc\u2028d", "b c d\n"),
        (" ", "b", "\n"),
        ("a", "", "\n"),
    ],
)
def test_an_answer_is_one_line(source: str, answer: str, line: str) -> None:
    assert text_line(Example(text=source), {"target": Prediction(Text(answer), 1.0)}, "target") == line
