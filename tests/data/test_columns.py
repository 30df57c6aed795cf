from pathlib import Path

import pytest

from polyhead.data import DataSpec, Example, Spans, Tree, WordLabels, read
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError

NER = DataSpec(layers=["words", "entities"])


def made(folder: Path, content: str, name: str = "x.conll") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def sentences(examples: list[Example]) -> list[str]:
    return [" ".join(example.words) for example in examples]


@pytest.mark.parametrize("blank", ["", " ", "\t", " \t "])
def test_blank_lines_separate_sentences(tmp_path: Path, blank: str) -> None:
    path = made(tmp_path, f"{blank}\nAnna\tB-PER\nruns\tO\n{blank}\n{blank}\nShe\tO\n{blank}")
    examples = list(read(path, NER, {"entities": Spans}))
    assert sentences(examples) == ["Anna runs", "She"]
    assert [example.layers["entities"] for example in examples] == [((0, 1, "PER"),), ()]
    assert [example.lines for example in examples] == [(2, 3), (6,)]


def test_tags_stay_labels_where_no_task_wants_spans(tmp_path: Path) -> None:
    path = made(tmp_path, "Anna\tB-PER\nruns\tO\n")
    for kinds in ({}, {"entities": WordLabels}):
        (example,) = read(path, NER, kinds)
        assert example.layers == {"entities": WordLabels(("B-PER", "O"))}


def test_any_number_of_columns_with_spaces_between(tmp_path: Path) -> None:
    path = made(tmp_path, "-DOCSTART- -X- -X- O\n\nU.N.  NNP I-NP I-ORG\nofficial NN  I-NP O \n\n-DOCSTART- -X- O O\n")
    notes = Notes()
    spec = DataSpec(layers=["words", "pos", "_", "entities"])
    (example,) = read(path, spec, {"entities": Spans}, notes)
    assert example.words == ("U.N.", "official")
    assert example.layers == {"pos": WordLabels(("NNP", "NN")), "entities": ((0, 1, "ORG"),)}
    assert list(notes) == [f"2 -DOCSTART- lines left out of {path}"]
    assert example.frame is not None and example.frame.rows[1] == ("official", "NN", "I-NP", "O")


def test_words_may_stand_in_any_column_and_hold_odd_signs(tmp_path: Path) -> None:
    path = made(tmp_path, 'O\t"\nO\t10\u00a0000\nO\tNew York\nO\t,\n')
    (example,) = read(path, DataSpec(layers=["entities", "words"]))
    assert example.words == ('"', "10\u00a0000", "New York", ",")


def test_no_break_space_does_not_divide_columns(tmp_path: Path) -> None:
    (example,) = read(made(tmp_path, "10\u00a0000 O\n"), NER)
    assert example.words == ("10\u00a0000",)


def test_hash_is_a_word_unless_it_can_only_be_a_comment(tmp_path: Path) -> None:
    tabs = made(tmp_path, "# id 5\n# text = # 1\n#\tO\n#tag\tO\n\n#\tO\n1\tO\n", "tabs.conll")
    examples = list(read(tabs, NER))
    assert sentences(examples) == ["# #tag", "# 1"]
    assert examples[0].frame is not None and examples[0].frame.comments == ("# id 5", "# text = # 1")
    spaces = made(tmp_path, "# id 5\n# x = 1\n# O\n#tag O\n", "spaces.conll")
    assert sentences(list(read(spaces, NER))) == ["# #tag"]


def test_comments_alone_are_no_sentence(tmp_path: Path) -> None:
    assert sentences(list(read(made(tmp_path, "# a = b\n\nw\tO\n\n# c = d\n"), NER))) == ["w"]


def test_space_after_a_label_does_not_make_another(tmp_path: Path) -> None:
    (example,) = read(made(tmp_path, "w\tO \nv\t B-X\n"), NER)
    assert example.layers["entities"] == ("O", "B-X")


def test_words_alone_need_no_layers(tmp_path: Path) -> None:
    notes = Notes()
    path = made(tmp_path, "One\tO\tX\nday\tO\tX\n")
    (example,) = read(path, DataSpec(), notes=notes)
    assert (example.words, example.layers) == (("One", "day"), {})
    assert list(notes) == [f"2 columns after the words not used (`layers` names none) in {path}"]


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a\tO\nb\n", 2, "1 column, but `layers` names 2"),
        ("a\tO\n\nb\tX\tO\n", 3, "3 columns"),
        ("a O\nb c O\n", 2, "3 columns"),
        ("a\tO\nb\t\n", 2, "column 2 .entities. is empty"),
        ("a\tO\n\tO\n", 2, "column 1 .words. is empty"),
        ("a\tO\n# x\nb\tO\n", 2, "1 column"),
        ("a\tB-X\nb\tO\n\nc\tB-X\n\nd\tO\ne\tI-X\n", 7, "entities of word 2 .'e'.: 'I-X' continues no span under IOB2"),
        ("a\tS-X\nb\tB-X\nc\tO\n", 3, "has no end under BIOES"),
        ("a\tB-X\nb\tI-X\n\nc\tS-X\n", 4, "'S-X' is not of the scheme IOB2(.|\n)*\"BIOES\""),
        ("a\tS-X\nb\tB-X\nc\tO\n", 3, 'scheme = "IOB2" if ends'),
        ("a\tB-X\nb\tX\n", 2, "'X' is no span tag"),
    ],
)
def test_broken_files_name_line_and_value(tmp_path: Path, content: str, line: int, what: str) -> None:
    path = made(tmp_path, content)
    with pytest.raises(PolyheadError, match=what) as error:
        list(read(path, NER, {"entities": Spans}))
    assert (error.value.file, error.value.line) == (str(path), line)
    assert error.value.remedy


def test_scheme_can_be_set(tmp_path: Path) -> None:
    path = made(tmp_path, "a\tB-X\nb\tO\n\nc\tB-X\nd\tO\ne\tI-X\n")
    spec = NER.model_copy(update={"scheme": "IOB1"})
    assert [example.layers["entities"] for example in read(path, spec, {"entities": Spans})] == [
        ((0, 1, "X"),),
        ((0, 1, "X"), (2, 3, "X")),
    ]


def test_wishes_that_cannot_be_granted(tmp_path: Path) -> None:
    path = made(tmp_path, "a\tO\n")
    with pytest.raises(PolyheadError, match="no column 'entites' in `layers`\n  Did you mean 'entities'"):
        list(read(path, NER, {"entites": Spans}))
    with pytest.raises(PolyheadError, match="a task wants a tree"):
        list(read(path, NER, {"entities": Tree}))
    with pytest.raises(PolyheadError, match="which column holds the words"):
        list(read(path, DataSpec(layers=["word", "entities"])))
    with pytest.raises(PolyheadError, match="list of names in column order"):
        list(read(path, DataSpec(layers={"entities": "ner"})))
