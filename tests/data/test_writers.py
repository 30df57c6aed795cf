import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from polyhead.data.escapes import escape, unescape
from polyhead.data.example import Example, Labels, Prediction, Span, Spans, Tree, Value, WordLabels
from polyhead.data.readers import read
from polyhead.data.spec import DataSpec
from polyhead.data.writers import to_dict, write_columns, write_conllu
from polyhead.errors import PolyheadError

CONLLU = """\
# newdoc id = d1
# sent_id = s1
# text = Don't  go!
# mood = angry
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Imp|VerbForm=Fin\t3\taux\t3:aux\tEntity=B-x|Gloss=a b
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t3:advmod\t_
2.1\tyou\tyou\tPRON\tPRP\t_\t_\t_\t3:nsubj\tCopyOf=-1
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t0:root\tSpaceAfter=No
4\t!\t!\tPUNCT\t.\t_\t3\tpunct\t3:punct\t_
4.1\tnow\tnow\tADV\tRB\t_\t_\t_\t3:advmod\t_

"""


def answers(**values: Value) -> dict[str, Prediction]:
    return {layer: Prediction(value, 0.5) for layer, value in values.items()}


def read_text(folder: Path, name: str, text: str, spec: DataSpec, kinds: Mapping[str, type] | None = None) -> Example:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    (example,) = read(file, spec, kinds or {})
    return example


@pytest.fixture
def treebank(tmp_path: Path) -> Example:
    return read_text(tmp_path, "gold.conllu", CONLLU, DataSpec())


# --- CoNLL-U ---


def test_conllu_without_predictions_is_what_was_read(treebank: Example) -> None:
    assert write_conllu(treebank, {}) == CONLLU


def test_conllu_replaces_only_what_was_predicted(treebank: Example) -> None:
    predicted = answers(
        upos=WordLabels(("VERB", "PART", "VERB", None)),
        tree=Tree((0, 1, 1, 1), ("root", "advmod", "xcomp", "punct")),
        ner=Spans((Span(0, 2, "person"),)),
        mood="calm",
    )
    lines = write_conllu(treebank, predicted, keys={"ner": "Entity"}).split("\n")
    assert lines == [
        "# newdoc id = d1",
        "# sent_id = s1",
        "# text = Don't  go!",
        "# mood = calm",
        "1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tDo\tdo\tVERB\tVB\tMood=Imp|VerbForm=Fin\t0\troot\t3:aux\tEntity=B-person|Gloss=a b",
        "2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t3:advmod\tEntity=I-person",
        "2.1\tyou\tyou\tPRON\tPRP\t_\t_\t_\t3:nsubj\tCopyOf=-1",
        "3\tgo\tgo\tVERB\tVB\t_\t1\txcomp\t0:root\tSpaceAfter=No|Entity=O",
        "4\t!\t!\t_\t.\t_\t1\tpunct\t3:punct\tEntity=O",
        "4.1\tnow\tnow\tADV\tRB\t_\t_\t_\t3:advmod\t_",
        "",
        "",
    ]


def test_conllu_reads_back_every_kind_of_value(tmp_path: Path) -> None:
    text = "He saw it, there"
    example = Example(
        words=("He", "saw", "it", ",", "there"),
        text=text,
        offsets=((0, 2), (3, 6), (7, 9), (9, 10), (11, 16)),
    )
    values: dict[str, Value] = {
        "lemma": WordLabels(("he", "see", "it", ",", "there")),
        "upos": WordLabels(("PRON", "VERB", "PRON", "PUNCT", "ADV")),
        "xpos": WordLabels(("PRP", None, "PRP", ",", "RB")),
        "feats": WordLabels(("Case=Nom|Number=Sing", "_", "_", "_", "_")),
        "tree": Tree((2, 0, 2, 2, 2), ("nsubj", "root", "obj", "punct", "advmod")),
        "chunk": WordLabels(("B-NP", "B-VP", None, "O", "O")),
        "entities": Spans((Span(0, 1, "person"), Span(2, 4, "a thing"))),
        "sentiment": "very positive",
        "topics": Labels({"sport", "news"}),
        "no_topics": Labels(),
        "score": -1.25e-07,
    }
    spec = DataSpec(
        misc={"chunk": "Chunk", "entities": "NER"},
        comments={"sentiment": "sentiment", "topics": "topics", "no_topics": "none", "score": "score"},
    )
    written = write_conllu(example, answers(**values), keys={**spec.misc, **spec.comments}, confidence=True)
    again = read_text(tmp_path, "out.conllu", written, spec, {layer: type(value) for layer, value in values.items()})
    assert again.words == example.words
    assert again.text == text
    assert again.offsets == example.offsets
    assert dict(again.layers) == values


def test_conllu_of_a_sentence_inside_a_longer_text(tmp_path: Path) -> None:
    text = "First.\nSecond\tone.Third"
    example = Example(words=("Second", "one", "."), text=text, offsets=((7, 13), (14, 17), (17, 18)))
    written = write_conllu(example, {})
    assert "# text = Second one.\n" in written
    again = read_text(tmp_path, "out.conllu", written, DataSpec())
    assert again.frame is not None
    assert [row[9] for row in again.frame.rows] == ["_", "SpaceAfter=No", "SpaceAfter=No"]


def test_conllu_cells_cannot_break_the_format(tmp_path: Path) -> None:
    example = Example(words=("New\tYork", "_", "#"))
    predicted = answers(
        lemma=WordLabels(("New\nYork", "_", "")),
        morph=WordLabels(("Case=Nom|Number=Sing", "a\\b", None)),
        note="one\r\ntwo",
    )
    spec = DataSpec(misc={"morph": "morph"}, comments={"note": "note"})
    again = read_text(tmp_path, "out.conllu", write_conllu(example, predicted), spec)
    assert again.words == ("New York", "_", "#")
    assert again.layers["lemma"] == WordLabels(("New York", "_", None))
    assert again.layers["note"] == "one  two"
    assert again.layers["morph"] == WordLabels(("Case=Nom|Number=Sing", "a\\b", None))


@pytest.mark.corpora
def test_a_whole_treebank_comes_out_as_it_went_in() -> None:
    if "POLYHEAD_DATA" not in os.environ:
        pytest.skip("POLYHEAD_DATA is not set")
    file = Path(os.environ["POLYHEAD_DATA"]) / "ewt" / "en_ewt-ud-dev.conllu"
    examples = list(read(file, DataSpec()))
    written = [write_conllu(example, answers(**example.layers)) for example in examples]
    assert "".join(written) == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("value", ["", "plain", "a|b", "\t\n\r", "a\\pb", "\\", "\\\\|", "é|\\s"])
def test_escaped_values_come_back(value: str) -> None:
    assert unescape(escape(value)) == value
    assert not set(escape(value)) & set("|\t\r\n")


def test_conllu_confidence() -> None:
    example = Example(words=("Rome", "won", "Rome"))
    predicted = {
        "upos": Prediction(WordLabels(("PROPN", "VERB", "PROPN")), (0.9, 0.8, 1.0)),
        "ner": Prediction(Spans((Span(0, 1, "x"), Span(2, 3, "x"))), (0.75, 0.5)),
        "mood": Prediction("good", 0.123456),
    }
    assert write_conllu(example, predicted, confidence=True).split("\n")[:5] == [
        "# text = Rome won Rome",
        "# mood = good",
        "# mood_confidence = 0.1235",
        "1\tRome\t_\tPROPN\t_\t_\t_\t_\t_\tupos_confidence=0.9000|ner=B-x|ner_confidence=0.7500",
        "2\twon\t_\tVERB\t_\t_\t_\t_\t_\tupos_confidence=0.8000|ner=O",
    ]


@pytest.mark.parametrize(
    ("example", "predicted", "message"),
    [
        (Example(text="Hello."), {}, "not split into any: 'Hello.'."),
        (Example(words=("a",)), answers(**{"a=b": "x"}), "'a=b' cannot be a key"),
        (Example(words=("a",)), answers(topics=Labels({"x|y", "z"})), "'x|y' holds '|'"),
    ],
)
def test_conllu_refuses_what_it_cannot_hold(example: Example, predicted: dict[str, Prediction], message: str) -> None:
    with pytest.raises(PolyheadError) as raised:
        write_conllu(example, predicted)
    assert message in str(raised.value)
    assert raised.value.remedy


# --- column files ---


def test_columns_put_back_what_they_held(tmp_path: Path) -> None:
    text = "# id = 7\nRome\tx1\tNNP\tB-loc\nwon\tx2\tVBD\tO\n\n"
    spec = DataSpec(format="columns", layers=["words", "_", "pos", "entities"])
    example = read_text(tmp_path, "in.conll", text, spec)
    names = ["words", "_", "pos", "entities"]
    assert write_columns(example, {}, names) == text
    predicted = answers(entities=Spans(), chunk=WordLabels(("B-NP", "B-VP")), mood="good")
    assert write_columns(example, predicted, names) == (
        "# id = 7\n# mood = good\nRome\tx1\tNNP\tO\tB-NP\nwon\tx2\tVBD\tO\tB-VP\n\n"
    )


@pytest.mark.parametrize("delimiter", ["\t", " "])
def test_columns_read_back(tmp_path: Path, delimiter: str) -> None:
    example = Example(words=("#", "Rome", "is", "old"), text="# Rome is old")
    values: dict[str, Value] = {
        "pos": WordLabels(("SYM", "PROPN", "AUX", "ADJ")),
        "entities": Spans((Span(0, 2, "loc"), Span(2, 3, "per"))),
    }
    written = write_columns(example, answers(**values), delimiter=delimiter)
    spec = DataSpec(format="columns", layers=["words", "pos", "entities"])
    again = read_text(tmp_path, "out.conll", written, spec, {"pos": WordLabels, "entities": Spans})
    assert again.words == example.words
    assert dict(again.layers) == values


def test_columns_of_a_treebank(treebank: Example) -> None:
    predicted = answers(tree=Tree((0, 1, 1, 1), ("root", "a", "b", "c")))
    rows = write_columns(treebank, predicted, ["words", "upos", "unknown"]).split("\n")
    assert rows[4] == "Do\tAUX\t_\t0\troot"


def test_columns_cells_cannot_break_the_format() -> None:
    example = Example(words=("New  York", "\t", "a b"))
    assert write_columns(example, answers(pos=WordLabels(("x y", None, "")))) == "New  York\tx y\n_\t_\na b\t_\n\n"
    assert write_columns(example, {}, delimiter=" ") == "New__York\n_\na_b\n\n"
    with pytest.raises(PolyheadError, match="not split into any"):
        write_columns(Example(text="Hello."), {})


@pytest.mark.parametrize(
    ("words", "layers"),
    [(("-DOCSTART-", "x"), ["words", "pos"]), (("# a = b",), ["words", "pos"]), (("# a",), ["words"])],
)
def test_columns_refuse_what_would_not_be_read_as_a_word(words: tuple[str, ...], layers: list[str]) -> None:
    with pytest.raises(PolyheadError, match=r"not be read as a word: '(-DOC|# a)") as caught:
        write_columns(Example(words=words), {}, layers)
    assert "JSONL" in caught.value.remedy
    written = write_columns(Example(words=("x", *words[-1:])), {}, ["words", "pos"])
    assert written == f"x\t_\n{words[-1]}\t_\n\n", "only the first line may be a comment"


@pytest.mark.parametrize(
    "first", ["#", "#tag", "#a = b", "# a = b", "#a b = c", "# a b = c", "#=", "# = b", "#a=b", "#  x"]
)
@pytest.mark.parametrize("layers", [["words"], ["words", "pos"]])
def test_columns_hold_just_what_the_reader_takes_for_words(tmp_path: Path, first: str, layers: list[str]) -> None:
    """What is refused would be read as a comment; what is not comes back, but for a lone column's spaces."""
    example = Example(words=(first, "x"))
    values = answers(pos=WordLabels(("A", "B"))) if "pos" in layers else {}
    plain = f"{first}\tA\nx\tB\n\n" if "pos" in layers else f"{first}\nx\n\n"
    spec = DataSpec(format="columns", layers=layers)
    try:
        written = write_columns(example, values, layers)
    except PolyheadError:
        assert read_text(tmp_path, "out.conll", plain, spec).words == ("x",)
        return
    assert written == plain
    if "pos" in layers or " " not in first:
        assert read_text(tmp_path, "out.conll", written, spec).words == example.words


# --- JSON ---


def test_records_read_back(tmp_path: Path) -> None:
    words = ("He", "lives", "in", "New", "York", "!")
    values: dict[str, Value] = {
        "mood": "good",
        "topics": Labels({"b", "a"}),
        "score": 0.5,
        "pos": WordLabels(("PRON", "VERB", None, "PROPN", "PROPN", "PUNCT")),
        "entities": Spans((Span(0, 1, "per"), Span(3, 5, "loc"))),
    }
    kinds = {layer: type(value) for layer, value in values.items()}
    examples = [
        Example(words=words),
        Example(words=words, text="  He lives in New  York! "),
        Example(words=words, text="He dwells in New York"),  # Words that do not spell the text.
        Example(words=words, text="He lives in New York!", pair="Really?"),
    ]
    for example in examples:
        line = json.dumps(to_dict(example, answers(**values)))
        again = read_text(tmp_path, "out.jsonl", line, DataSpec(pair="pair" if example.pair else None), kinds)
        assert (again.words, again.text, again.pair) == (words, example.text, example.pair)
        assert dict(again.layers) == values


def test_record_of_a_sentence_inside_a_longer_text(tmp_path: Path) -> None:
    example = Example(words=("In", "Rome", "."), text="Hi. In Rome. Bye.", offsets=((4, 6), (7, 11), (11, 12)))
    record = to_dict(example, answers(entities=Spans((Span(1, 2, "loc"),))))
    assert record["text"] == "In Rome."
    assert record["entities"] == [{"start": 3, "end": 7, "label": "loc"}]
    again = read_text(tmp_path, "out.jsonl", json.dumps(record), DataSpec(), {"entities": Spans})
    assert again.layers["entities"] == Spans((Span(1, 2, "loc"),))


def test_record_with_confidence_and_gold() -> None:
    example = Example(words=("Rome", "won"), layers={"mood": "bad", "id": "7"})
    predicted = {
        "mood": Prediction("good", 0.75),
        "entities": Prediction(Spans((Span(0, 1, "loc"),)), (0.5,)),
        "tree": Prediction(Tree((2, 0), ("nsubj", "root")), (0.25, 1.0)),
    }
    assert to_dict(example, predicted, confidence=True) == {
        "words": ["Rome", "won"],
        "mood": "good",
        "mood_confidence": 0.75,
        "id": "7",
        "entities": [{"start": 0, "end": 1, "label": "loc", "confidence": 0.5}],
        "tree": {"heads": [2, 0], "relations": ["nsubj", "root"]},
        "tree_confidence": [0.25, 1.0],
    }
    assert to_dict(Example(text="Hi"), answers(mood="good")) == {"text": "Hi", "mood": "good"}


def test_a_record_keeps_its_own_fields() -> None:
    example = Example(text="Hi", layers={"text": "another column"})
    assert to_dict(example, answers(words="two", mood="good"), confidence=True) == {
        "text": "Hi",
        "text_": "another column",
        "words_": "two",
        "words__confidence": 0.5,
        "mood": "good",
        "mood_confidence": 0.5,
    }
