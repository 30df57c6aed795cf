import csv
import datetime
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.data import DataSpec, Example, Labels, Span, Spans, Text, Tree, WordLabels, format_of, read
from polyhead.data.example import Prediction
from polyhead.data.tables import is_quoted
from polyhead.data.text import Notes
from polyhead.data.writers import to_dict
from polyhead.errors import PolyheadError

COLUMNS = DataSpec(layers=["text", "label"])


def made(folder: Path, content: str, name: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def jsonl(folder: Path, *records: Any) -> Path:
    return made(folder, "".join(json.dumps(record) + "\n" for record in records), "x.jsonl")


def pairs(examples: list[Example]) -> list[tuple[str | None, Any]]:
    return [(example.text, example.layers.get("label")) for example in examples]


def spans_of(example: Example, layer: str) -> Spans:
    value = example.layers[layer]
    assert isinstance(value, Spans)
    return value


def refused(path: Path, spec: DataSpec, kinds: dict[str, type], what: str, line: int | None) -> PolyheadError:
    with pytest.raises(PolyheadError, match=what) as error:
        list(read(path, spec, kinds))
    assert (error.value.file, error.value.line) == (str(path), line)
    return error.value


# --- CSV and TSV ---


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv_with_any_delimiter(tmp_path: Path, delimiter: str, packed: bool) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows(
        [["label", "text"], ["pos", 'A "fine", film; yes'], ["neg", "two\nlines"], ["", "no, label, here"]]
    )
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    content = ("\ufeff" + stream.getvalue()).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    examples = list(read(path, DataSpec(), {"label": str}))
    expected = [('A "fine", film; yes', "pos"), ("two\nlines", "neg"), ("no, label, here", None)]
    assert pairs(examples) == expected
    assert [example.line for example in examples] == [2, 3, 5]


def test_columns_by_name_and_by_order(tmp_path: Path) -> None:
    path = made(tmp_path, "id,sentence,mood\n7,fine,pos\n", "x.csv")
    by_name = DataSpec(text="sentence", layers={"label": "mood"})
    by_table = DataSpec(layers={"text": "sentence", "label": "mood"})
    by_order = DataSpec(layers=["_", "text", "label"], header=True)
    for spec in (by_name, by_table, by_order):
        assert pairs(list(read(path, spec, {"label": str}))) == [("fine", "pos")]
    (example,) = read(path, DataSpec(text="sentence"))
    assert example.layers == {"id": "7", "mood": "pos"}


def test_header_where_none_is_expected_is_left_out_and_counted(tmp_path: Path) -> None:
    path = made(tmp_path, "Sentence\tLabel\nfine\t1\n", "x.tsv")
    notes = Notes()
    assert pairs(list(read(path, COLUMNS, notes=notes))) == [("fine", "1")]
    assert [note for note in notes if "first row" in note]
    assert len(list(read(path, DataSpec(layers=["text", "label"], header=False)))) == 2


def test_kinds_of_cells(tmp_path: Path) -> None:
    path = made(tmp_path, "text,topics,score,label\na,x | y,0.5,1\nb,,-1e3, two \nc,z,,\n", "x.csv")
    kinds: dict[str, type] = {"topics": Labels, "score": float, "label": str}
    assert [example.layers for example in read(path, DataSpec(), kinds)] == [
        {"topics": Labels(["x", "y"]), "score": 0.5, "label": "1"},
        {"topics": Labels(), "score": -1000.0, "label": "two"},
        {"topics": Labels(["z"])},
    ]


def test_pairs_words_and_spans_in_cells(tmp_path: Path) -> None:
    path = made(tmp_path, "a;b;c;d\nOne;Two;B-X O;New York rose\n", "x.csv")
    spec = DataSpec(layers=["text", "pair", "ner", "_"])
    assert next(read(path, DataSpec(layers=["text", "pair", "_", "_"], header=True))).pair == "Two"
    refused(path, spec.model_copy(update={"header": True}), {"ner": Spans}, "2 labels for 0 words", 2)
    path = made(tmp_path, "words,ner,pos\nAnna runs,B-X O,N V\n", "y.csv")
    (example,) = read(path, DataSpec(), {"ner": Spans, "pos": WordLabels})
    assert (example.words, example.text) == (("Anna", "runs"), None)
    assert example.layers == {"ner": Spans([Span(0, 1, "X")]), "pos": WordLabels(("N", "V"))}


def test_quotes_of_plain_tsv_are_plain_characters(tmp_path: Path) -> None:
    content = 'sentence\tlabel\n"Quoted" start\t1\nan 5" disk\t0\n"wholly quoted"\t1\n"\t0\nunclosed "\t1\n'
    examples = list(read(made(tmp_path, content, "x.tsv"), DataSpec(text="sentence"), {"label": str}))
    assert [example.text for example in examples] == [
        '"Quoted" start',
        'an 5" disk',
        '"wholly quoted"',
        '"',
        'unclosed "',
    ]


def test_quotes_of_a_quoted_tsv_are_taken_off(tmp_path: Path) -> None:
    rows = [["text", "label"], ['He said "no"', "1"], ["two\nlines", "0"], ["a\ttab", "1"], ["plain", "0"]]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        stream = io.StringIO(newline="")
        csv.writer(stream, delimiter="\t", quoting=quoting).writerows(rows)
        notes = Notes()
        examples = list(read(made(tmp_path, stream.getvalue(), "x.tsv"), DataSpec(), {"label": str}, notes))
        assert [note for note in notes if "quoted as in CSV" in note]
        assert pairs(examples) == [(text, label) for text, label in rows[1:]]


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ('"a"\t"b"\n"c"\t1\n', True),  # The first row is quoted throughout.
        ('a\tb\n"c"\t1\n', False),  # Nothing needed the quotes.
        ('a\tb\n"c ""d"""\t1\n', True),
        ('a\tb\n"c\nd"\t1\n', True),
        ('a\tb\n"c\t1\nd"\t0\n', False),  # Two plain rows, each with one quote.
        ('a\tb\n"c ""d"""\t1\nan "e" f\t0\n', False),  # One cell is not quoted as a whole.
        ('a\tb\n"c""d\t1\n', False),
        ("a\tb\n", False),
    ],
)
def test_is_quoted(content: str, quoted: bool) -> None:
    assert is_quoted(list(enumerate(content.split("\n"), start=1))) is quoted


def test_column_without_a_name_is_not_used_and_counted(tmp_path: Path) -> None:
    notes = Notes()
    path = made(tmp_path, ",text,label\n0,a,x\n", "x.csv")
    (example,) = read(path, DataSpec(), notes=notes)
    assert example.layers == {"label": "x"}
    assert list(notes) == [f"1 column without a name not used in {path}"]


@pytest.mark.parametrize("spec", [DataSpec(), COLUMNS, DataSpec().for_answers()])
def test_the_header_of_a_second_file_is_left_out_and_counted(tmp_path: Path, spec: DataSpec) -> None:
    notes = Notes()
    path = made(tmp_path, "text,label\na,1\ntext,label\nb,2\n", "x.csv")
    assert [example.text for example in read(path, spec, notes=notes)] == ["a", "b"]
    assert f"1 row that repeats the first one left out of {path}" in list(notes)


def test_texts_of_any_length(tmp_path: Path) -> None:
    text = "long " * 40_000
    for path in (
        made(tmp_path, f'text,label\n"{text}",1\n', "x.csv"),
        made(tmp_path, f'text\tlabel\n{text}"\t1\n', "x.tsv"),
        jsonl(tmp_path, {"text": text, "label": "1"}),
    ):
        (example,) = read(path, DataSpec(), {"label": str})
        assert example.text is not None and len(example.text) >= len(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", 'text,label\n"a\rb\r",good\n"""c""",bad\n'),
        ("x.csv", 'text;label\r\n"a\rb\r";"good"\r\n"""c""";bad\r\n'),
        ("x.tsv", '"text"\t"label"\n"a\rb\r"\t"good"\n"""c"""\t"bad"\n'),
        ("x.jsonl", '{"text": "a\\rb\\r",\r "label": "good"}\r\r\n{"text": "\\"c\\"", "label": "bad"}\n'),
    ],
)
def test_a_carriage_return_may_stand_in_quotes(tmp_path: Path, name: str, content: str) -> None:
    examples = list(read(made(tmp_path, content, name), DataSpec()))
    assert pairs(examples) == [("a\rb\r", "good"), ('"c"', "bad")]


def test_blank_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    notes = Notes()
    path = made(tmp_path, "text,label\n\na,1\n,\n  \nb,2\n", "x.csv")
    assert pairs(list(read(path, DataSpec(), notes=notes))) == [("a", "1"), ("b", "2")]
    assert list(notes) == [f"3 empty lines left out of {path}"]


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        ("text,label\na,1\nb\n", "1 cell where 2 cells should be: 'b'", 3),
        ("text,label\na,1\nb,c,2\n", "3 cells where 2", 3),
        ('text,label\n"a,1\nb,2\n', "does not end", 2),
        ('text,label\na,1\n"b" c,2\n', "after its closing quote", 3),
        ("text,label\na,1\n ,2\n", "text is empty", 3),
        ("text,text\na,1\n", "two columns are called 'text'", 1),
        ("texts,label\na,1\n", "no column 'text'\n  Did you mean 'texts'", 1),
        ("text,labels\na,1\n", "no column 'label'\n  Did you mean 'labels'", 1),
        ("text,label\na\rb,1\n", "a carriage return .CR. alone in a cell", 2),
        ("text;label\nc;1\na\rb;1\n", "a carriage return .CR. alone in a cell", 3),
        ("a fine film,1\na dull film,0\n", "no column 'text'(.|\n)*list the columns in order", 1),
    ],
)
def test_broken_csv(tmp_path: Path, content: str, what: str, line: int) -> None:
    refused(made(tmp_path, content, "x.csv"), DataSpec(), {"label": str}, what, line)


@pytest.mark.parametrize("cell", ["high", "nan", "inf", "1_0", '"0,5"', "٣", "1" * 401])
def test_cells_that_are_no_numbers(tmp_path: Path, cell: str) -> None:
    path = made(tmp_path, f"text,score\na,1\nb,{cell}\n", "x.csv")
    refused(path, DataSpec(), {"score": float}, "score: .* is not a .*number", 3)


@pytest.mark.parametrize("number", ["1e31", "-1e200", "1" * 300])
def test_numbers_too_large_to_be_learnt(tmp_path: Path, number: str) -> None:
    what = r"score: .* is beyond 1e\+30, too large to be learnt"
    refused(made(tmp_path, f"text,score\na,{number}\n", "x.csv"), DataSpec(), {"score": float}, what, 2)
    path = made(tmp_path, f'{{"text": "a", "score": {number}}}\n', "x.jsonl")
    refused(path, DataSpec(), {"score": float}, what, 1)
    (example,) = read(path, DataSpec())
    assert example.layers == {}


@pytest.mark.parametrize("fields", [{"text": "label"}, {"pair": "label"}, {"pair": "text"}, {"layers": {"x": "text"}}])
def test_a_column_is_one_thing(tmp_path: Path, fields: dict[str, Any]) -> None:
    what = "the column or field '(label|text)' is named for '(text|pair)' and for"
    refused(made(tmp_path, "text,label\na,b\n", "x.csv"), DataSpec(**fields), {"label": str}, what, None)


def test_cells_that_are_not_what_is_wished(tmp_path: Path) -> None:
    path = made(tmp_path, "text,label\na,x||y\n", "x.csv")
    refused(path, DataSpec(), {"label": Labels}, "an empty label", 2)
    refused(path, DataSpec(), {"label": Tree}, "cannot be a tree", 2)
    refused(path, DataSpec(header=False), {"label": str}, "without a header", None)
    refused(path, DataSpec(pair="text2"), {"label": str}, "no column 'text2' .for 'pair'.\n  Did you mean 'text'", 1)


# --- JSONL ---


def test_kinds_of_json(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"text": "a", "label": 1, "topics": ["x", 2], "score": 3, "flag": True, "gone": None, "odd": {"a": 1}},
        {"text": "b", "label": 1.0, "topics": "x|y", "score": "0.5"},
    )
    kinds: dict[str, type] = {"label": str, "topics": Labels, "score": float}
    first, second = read(path, DataSpec(), kinds)
    assert first.layers == {"label": "1", "topics": Labels(["x", "2"]), "score": 3.0}
    assert second.layers == {"label": "1", "topics": Labels(["x", "y"]), "score": 0.5}
    notes = Notes()
    first, second = read(path, DataSpec(), notes=notes)
    assert first.layers == {"label": 1.0, "topics": Labels(["x", "2"]), "score": 3.0, "flag": "true"}
    assert list(notes) == [f"1 value of 'odd' that no layer can hold, left out of {path}"]


def test_spans_by_character_become_spans_over_words(tmp_path: Path) -> None:
    text = "Anna-Lena flew to New York ."
    path = jsonl(
        tmp_path,
        {"text": text, "ner": [{"start": 18, "end": 27, "label": "LOC"}, {"start": 0, "end": 4, "label": "PER"}]},
        {"text": text, "ner": [[18, 26, "LOC"]]},
        {"text": text, "ner": []},
        {"text": text},
    )
    notes = Notes()
    kinds: dict[str, type] = {"ner": Spans}
    examples = list(read(path, DataSpec(), kinds, notes))
    for example in examples[:3]:
        assert example.offsets is not None
        assert example.words == tuple(text[start:end] for start, end in example.offsets)
        assert "".join(example.words) == text.replace(" ", "")
    found = [
        [" ".join(example.words[start:end]) + f"/{label}" for start, end, label in spans_of(example, "ner")]
        for example in examples[:3]
    ]
    assert found == [["Anna/PER", "New York/LOC"], ["New York/LOC"], []]
    assert (examples[3].layers, examples[3].words) == ({}, ())
    assert type(next(read(path, DataSpec())).layers["ner"]) is Spans


def test_words_are_cut_where_a_span_ends_inside_one(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "Unhappyville rose", "ner": [[2, 7, "X"], [7, 12, "Y"]]})
    notes = Notes()
    (example,) = read(path, DataSpec(), {"ner": Spans}, notes)
    assert example.words == ("Un", "happy", "ville", "rose")
    assert example.offsets == ((0, 2), (2, 7), (7, 12), (13, 17))
    assert example.layers["ner"] == ((1, 2, "X"), (2, 3, "Y"))
    assert list(notes) == [f"1 word cut at the edge of a span in {path}"]


def test_words_with_labels_spans_and_trees(tmp_path: Path) -> None:
    record = {
        "tokens": ["Anna", "runs"],
        "pos": ["N", None],
        "tags": ["B-PER", "O"],
        "ner": [{"start": 0, "end": 1, "label": "PER"}],
        "tree": {"heads": [2, 0], "relations": ["nsubj", "root"]},
    }
    layers = {"words": "tokens", "pos": "pos", "tags": "tags", "ner": "ner", "tree": "tree"}
    kinds: dict[str, type] = {"pos": WordLabels, "tags": Spans, "ner": Spans, "tree": Tree}
    path = jsonl(tmp_path, record, {**record, "text": "Anna  runs", "ner": [[0, 4, "PER"]]})
    first, second = read(path, DataSpec(layers=layers), kinds)
    assert (
        first.layers
        == second.layers
        == {
            "pos": WordLabels(("N", None)),
            "tags": Spans([Span(0, 1, "PER")]),
            "ner": Spans([Span(0, 1, "PER")]),
            "tree": Tree((2, 0), ("nsubj", "root")),
        }
    )
    assert (first.text, first.offsets) == (None, None)
    assert (second.text, second.offsets) == ("Anna  runs", ((0, 4), (6, 10)))


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"text": "ab cd", "ner": [[3, 9, "X"]]}, r"span 3..9 \(X\) is outside its text of 5 characters"),
        ({"text": "ab cd", "ner": [[-1, 2, "X"]]}, "outside"),
        ({"text": "ab cd", "ner": [[2, 2, "X"]]}, "is empty"),
        ({"text": "ab cd", "ner": [[3, 2, "X"]]}, "span 3..2"),
        ({"text": "ab cd", "ner": [[2, 3, "X"]]}, "nothing but white space"),
        ({"text": "ab cd", "ner": [[0, 2, "X"], [1, 5, "Y"]]}, r"1..5 \(Y\) overlaps span 0..2 \(X\)"),
        ({"text": "ab cd", "ner": [[0, 2]]}, "is not a span"),
        ({"text": "ab cd", "ner": [[0, 2, "X"], None]}, "None is not a span"),
        ({"text": "ab cd", "ner": [0, 2, "X"]}, "is one span where a list"),
        ({"text": "ab cd", "ner": {"start": 0, "end": 2, "label": "X"}}, "is one span where a list"),
        ({"text": "ab cd", "ner": [{"start": 0, "end": 2}]}, "has no 'label'"),
        ({"text": "ab cd", "ner": [["0", 2, "X"]]}, "is not a whole number"),
        ({"text": "ab cd", "ner": [[0, 2, ""]]}, "empty label"),
        ({"text": "ab cd", "ner": 5}, "is not spans"),
        ({"text": "ab cd", "words": ["ab", "cd"], "ner": [[0, 1, "X"]]}, "inside a word"),
        ({"text": "ab cd", "words": ["ab", "x"], "ner": [[0, 1, "X"]]}, "do not spell"),
        ({"words": ["ab", "cd"], "ner": [[1, 3, "X"]]}, "outside its text of 2 words"),
        ({"words": ["ab", "cd"], "ner": ["O"]}, "1 label for 2 words; give one"),
        ({"words": [], "ner": []}, "not a list of words"),
        ({"words": ["ab", " "], "ner": []}, "word 2 of 2 is ' '"),
        ({"words": ["ab", 3], "ner": []}, "word 2 of 2 is 3"),
        ({"text": "", "ner": []}, "text is empty"),
        ({"text": " \n", "ner": []}, "text is empty"),
        ({"text": 3, "ner": []}, "text is not a text: 3; a text is a string"),
        ({"text": None, "ner": []}, "'text' is null"),
        ({"txet": "a", "ner": []}, "the record has no field 'text'. Did you mean 'txet'"),
        ({"text": "\ud83d", "ner": []}, "surrogate"),
        ({"text": "a", "ner": [[0, 1, "\udc00"]]}, "surrogate"),
        ({"text": "a", "other": ["b", {"c": {"\ud83d": 1}}]}, "surrogate"),
        ({"text": "a\0b", "ner": []}, "NUL"),
    ],
)
def test_broken_records(tmp_path: Path, record: object, what: str) -> None:
    path = jsonl(tmp_path, {"text": "fine", "ner": []}, record)
    refused(path, DataSpec(), {"ner": Spans}, what, 2)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "a"', "not JSON"),
        ("[1]", "not a JSON object"),
        ('"a"', "not a JSON object"),
        ('{"text": "a", "score": NaN}', "NaN"),
        ('{"text": "a", "score": Infinity}', "Infinity"),
        ('{"text": "a", "score": 1e999}', "not a finite number"),
        ('{"text": "a", "other": 1e999}', "not a finite number"),
        ('{"text": "a", "other": ' + "1" * 5000 + "}", "more than 4,300 digits"),
        ('{"text": "a", "score": 1, "score": 2}', "the key 'score' stands twice"),
        ('{"text": "a", "other": {"b": 1, "b": 1}}', "the key 'b' stands twice"),
        ('{"text": "a", "score": true}', "True is not a number"),
        ('{"text": "a", "score": [1]}', "is not a number"),
    ],
)
def test_broken_json(tmp_path: Path, line: str, what: str) -> None:
    path = made(tmp_path, '{"text": "a", "score": 1}\n\n' + line + "\n", "x.jsonl")
    refused(path, DataSpec(), {"score": float}, what, 3)


def test_field_that_no_record_has_names_the_nearest(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a", "lable": "x"}, {"text": "b", "lable": "y"})
    assert "'lable'" in refused(path, DataSpec(), {"label": str}, "no record has a field 'label'", None).remedy


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ({"heads": [2, 1], "relations": ["a", "b"]}, "no root"),
        ({"heads": [0, 5], "relations": ["a", "b"]}, "head 5"),
        ({"heads": [0], "relations": ["a"]}, "1 label for 2 words"),
        ({"heads": [0, "1"], "relations": ["a", "b"]}, "not a whole number"),
        ({"heads": [0, 1]}, "not a tree"),
    ],
)
def test_broken_trees(tmp_path: Path, tree: object, what: str) -> None:
    refused(jsonl(tmp_path, {"words": ["a", "b"], "tree": tree}), DataSpec(), {"tree": Tree}, what, 1)


def test_characters_that_look_odd_and_are_not(tmp_path: Path) -> None:
    path = made(tmp_path, r'{"text": "\\u0000 \ud83d\ude00 \\ud83d"}' + "\n", "x.jsonl")
    (example,) = read(path, DataSpec())
    assert example.text == r"\u0000 😀 \ud83d"


# --- records that want answers ---


def test_other_fields_are_no_gold_and_come_out_as_they_came(tmp_path: Path) -> None:
    record = {
        "id": "007 ",
        "ids": [10, 9, 10],
        "ok": True,
        "note": "",
        "none": None,
        "words": "kept?",
        "large": int("1" * 401),
        "history": [[2, 4, "edit"]],
        "offsets": [[0, 9, "x"]],
        "tree": {"heads": [1], "relations": ["x"]},
        "labels": ["x", ""],
        "text": "Annabel saw",
    }
    notes = Notes()
    (example,) = read(jsonl(tmp_path, record), DataSpec().for_answers(), notes=notes)
    assert (example.words, example.layers, list(notes)) == ((), {}, [])
    line = json.dumps(to_dict(example, {"ok": Prediction("good", 1.0)}))
    assert json.loads(line) == {**record, "ok": "good"}


def test_no_field_hides_another(tmp_path: Path) -> None:
    record = {"review": "good", "text": 7, "tokens": ["so", "good"], "words": 2}
    spec = DataSpec(text="review", layers={"words": "tokens"}).for_answers()
    (example,) = read(jsonl(tmp_path, record), spec)
    assert (example.text, example.words) == ("good", ("so", "good"))
    assert to_dict(example, {}) == record
    (example,) = read(jsonl(tmp_path, {"review": "good", "n": 1}), DataSpec(text="review").for_answers())
    assert to_dict(example, {}) == {"text": "good", "n": 1}


def test_cells_of_tables_are_passed_through(tmp_path: Path) -> None:
    path = made(tmp_path, 'id,text,note,names\n07 ,a b, ,"[[0, 9, ""x""]]"\n', "x.csv")
    (example,) = read(path, DataSpec().for_answers())
    assert example.others == {"id": "07 ", "note": " ", "names": '[[0, 9, "x"]]'}


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_empty_texts_of_a_single_column(tmp_path: Path, name: str) -> None:
    notes = Notes()
    empty = '""' if name == "x.csv" else " "
    examples = list(read(made(tmp_path, f"text\na\n{empty}\n\nb\n", name), DataSpec().for_answers(), notes=notes))
    assert [(example.text or "").strip() for example in examples] == ["a", "", "b"]
    assert list(notes) == [f"1 empty line left out of {tmp_path / name}"]


def test_values_of_parquet_are_passed_through(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    record: dict[str, Any] = {"text": "a", "n": 7, "score": float("nan"), "raw": b"x"}
    record |= {"day": datetime.date(2024, 2, 3), "deep": {"a": [1.5, None]}}
    record["list"] = [{"start": 1, "end": 9, "label": "x"}]
    parquet.write_table(arrow.Table.from_pylist([record]), tmp_path / "x.parquet")
    notes = Notes()
    (example,) = read(tmp_path / "x.parquet", DataSpec().for_answers(), notes=notes)
    kept = {"n": 7, "score": None, "list": record["list"], "day": "2024-02-03", "deep": {"a": [1.5, None]}}
    assert (example.others, example.layers) == (kept, {})
    assert json.dumps(to_dict(example, {}))
    assert list(notes) == [f"1 value of 'raw' that JSON cannot hold, left out of {tmp_path / 'x.parquet'}"]


# --- Parquet ---


@pytest.mark.parametrize("record", [{"text": "a\0b"}, {"words": ["a", "b\0"]}, {"text": "a", "more": [{"x": "\0"}]}])
def test_no_nul_comes_out_of_parquet(tmp_path: Path, record: dict[str, object]) -> None:
    """No other format could hold it again."""
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(
        arrow.Table.from_pylist([{"text": "b", "words": ["b"], "more": []}, record]), tmp_path / "x.parquet"
    )
    with pytest.raises(PolyheadError, match="a NUL character") as caught:
        list(read(tmp_path / "x.parquet", DataSpec().for_answers()))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "x.parquet"), 2)


def test_parquet_is_read_as_json_is(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [
        {
            "text": "Anna runs",
            "label": 0,
            "ner": [{"start": 0, "end": 4, "label": "PER"}],
            "score": 0.5,
            "topics": ["x"],
        },
        {"text": "She too", "label": 1, "ner": [], "score": None, "topics": []},
        {"text": "No label", "label": -1, "ner": None, "score": 2.0, "topics": None},
    ]
    features = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    table = arrow.Table.from_pylist(records)
    path = tmp_path / "x.parquet"
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path, row_group_size=2)
    kinds: dict[str, type] = {"label": str, "ner": Spans, "score": float, "topics": Labels}
    examples = list(read(path, DataSpec(), kinds))
    assert [example.layers for example in examples] == [
        {"label": "neg", "ner": Spans([Span(0, 1, "PER")]), "score": 0.5, "topics": Labels(["x"])},
        {"label": "pos", "ner": Spans(), "topics": Labels()},
        {"score": 2.0},
    ]
    assert [example.line for example in examples] == [1, 2, 3]
    assert "'label'" in refused(path, DataSpec(), {"lable": str}, "no column 'lable'", None).remedy
    parquet.write_table(arrow.table({"text": ["a", "b"], "score": [1.0, float("nan")]}), path)
    refused(path, DataSpec(), {"score": float}, "score: nan is not a finite number", 2)


def test_named_tags_of_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {"feature": {"names": ["O", "B-X", "I-X"], "_type": "ClassLabel"}, "_type": "Sequence"}
    table = arrow.table({"tokens": [["a", "b", "c"]], "ner_tags": [[1, 2, 0]]})
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner_tags": names}}})}
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    spec = DataSpec(layers={"words": "tokens", "ner": "ner_tags"})
    (example,) = read(tmp_path / "x.parquet", spec, {"ner": Spans})
    assert example.layers["ner"] == ((0, 2, "X"),)


@pytest.mark.parametrize(
    ("features", "labels", "expected"),
    [
        (
            {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}},
            [1, 7],
            "label: no class has the number 7; .* 0 to 1",
        ),
        ({"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}, [1, -2], "no class has the number -2"),
        ([{"name": "label"}], [1, 7], None),
    ],
)
def test_classes_of_parquet(tmp_path: Path, features: object, labels: list[int], expected: str | None) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"text": ["a", "b"], "label": labels})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    if expected is not None:
        refused(tmp_path / "x.parquet", DataSpec(), {"label": str}, expected, 2)
    else:
        assert [e.layers["label"] for e in read(tmp_path / "x.parquet", DataSpec(), {"label": str})] == ["1", "7"]


def test_two_columns_of_parquet_with_one_name(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table([["a"], ["x"], ["y"]], names=["text", "label", "label"])
    parquet.write_table(table, tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", DataSpec(), {"label": str}, "two columns are called 'label'", None)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    refused(made(tmp_path, "text,label\n", "x.parquet"), DataSpec(), {}, "not a Parquet file", None)
    refused(tmp_path / "none.parquet", DataSpec(), {}, "no such file", None)
    with pytest.raises(PolyheadError, match="stream"):
        list(read(io.BytesIO(b""), DataSpec(format="parquet")))


# --- formats ---


def test_format_by_suffix() -> None:
    names = ["a.conllu", "a.conll", "a.iob", "a.bio", "a.CSV", "b.tsv.gz", "a.b.jsonl", "a.parquet", "a.txt.gz"]
    expected = ["conllu", "columns", "columns", "columns", "csv", "tsv", "jsonl", "parquet", "text"]
    assert [format_of(name) for name in names] == expected


@pytest.mark.parametrize(
    ("name", "remedy"), [("a.json", "'.jsonl'"), ("a.cvs", "'.csv'"), ("a", ".conllu"), ("a.gz", ".csv")]
)
def test_unknown_suffix(name: str, remedy: str) -> None:
    with pytest.raises(PolyheadError, match="does not say which format") as error:
        format_of(name)
    assert remedy in error.value.remedy and "format = " in error.value.remedy


def test_fields_that_mean_nothing_for_a_format(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a"})
    refused(path, DataSpec(header=True), {}, "`header` means nothing for jsonl files, only for csv, tsv", None)
    refused(path, DataSpec(misc={"a": "A"}), {}, "`misc` means nothing for jsonl files", None)


# --- texts as layers ---

TARGET: dict[str, type] = {"target": Text}
COLUMNS_OF_TEXTS = {"text": ["a", "b, c", "", "d", "e"], "target": [" x|y", 'z "w"', "v", " ", "1"]}
"""Two pairs and one of a number in quotes; on rows 3 and 4 a side is empty."""


def in_csv(folder: Path, name: str = "x.csv", delimiter: str = ",") -> Path:
    with (folder / name).open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        rows.writerows([COLUMNS_OF_TEXTS, *zip(*COLUMNS_OF_TEXTS.values(), strict=True)])
    return folder / name


def in_tsv(folder: Path) -> Path:
    return in_csv(folder, "x.tsv", "\t")


def in_jsonl(folder: Path) -> Path:
    rows = zip(*COLUMNS_OF_TEXTS.values(), strict=True)
    return jsonl(folder, *(dict(zip(COLUMNS_OF_TEXTS, row, strict=True)) for row in rows))


def in_parquet(folder: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(COLUMNS_OF_TEXTS), folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize(("write", "header"), [(in_csv, 1), (in_tsv, 1), (in_jsonl, 0), (in_parquet, 0)])
def test_a_text_is_read_as_it_is(tmp_path: Path, write: Any, header: int) -> None:
    path, notes = write(tmp_path), Notes()
    examples = list(read(path, DataSpec(), TARGET, notes))
    assert [(example.text, example.layers["target"]) for example in examples] == [
        ("a", " x|y"),
        ("b, c", 'z "w"'),
        ("e", "1"),
    ]
    assert all(type(example.layers["target"]) is Text for example in examples)
    lines = f"lines {3 + header}, {4 + header}"
    assert list(notes)[-1] == f"2 pairs with an empty side left out of {path}: {lines}"
    asking = list(read(path, DataSpec().for_answers()))
    assert [example.text for example in asking] == COLUMNS_OF_TEXTS["text"]


def test_rows_that_are_empty_are_named_where_texts_are_learnt(tmp_path: Path) -> None:
    path, notes = made(tmp_path, "text\ttarget\na\tb\n\t\n\n", "x.tsv"), Notes()
    assert len(list(read(path, DataSpec(), TARGET, notes))) == 1
    assert list(notes) == [f"2 empty lines left out of {path}: lines 3, 4"]


@pytest.mark.parametrize(("value", "line"), [(3, 2), (2.5, 2), (True, 2), (["a"], 2), ({"a": 1}, 2)])
def test_what_is_no_text(tmp_path: Path, value: object, line: int) -> None:
    path = jsonl(tmp_path, {"text": "a", "target": "b"}, {"text": "c", "target": value})
    assert "in quotes" in refused(path, DataSpec(), TARGET, "target: .* is not a text", line).what


def test_a_missing_text_is_a_missing_value(tmp_path: Path) -> None:
    """As with other layers: a teacher may label such a text."""
    path, notes = jsonl(tmp_path, {"text": "a", "target": None}, {"text": "b"}, {"text": "c", "target": "d"}), Notes()
    assert [dict(example.layers) for example in read(path, DataSpec(), TARGET, notes)] == [{}, {}, {"target": "d"}]
    assert not list(notes)
    refused(jsonl(tmp_path, {"text": "", "targets": "a"}), DataSpec(), TARGET, "no record has a field 'target'", None)


def test_another_task_may_learn_from_a_text_whose_other_side_is_empty(tmp_path: Path) -> None:
    path, notes = made(tmp_path, "text,target,label\na,,x\nb,,\nc,d,\n", "x.csv"), Notes()
    found = [(example.text, dict(example.layers)) for example in read(path, DataSpec(), TARGET | {"label": str}, notes)]
    assert found == [("a", {"label": "x"}), ("c", {"target": "d"})]
    assert list(notes) == [
        f"1 empty text of 'target' left out of {path}: line 2",
        f"1 pair with an empty side left out of {path}: line 3",
    ]
