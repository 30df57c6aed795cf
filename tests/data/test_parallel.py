"""Parallel files, which one path with braces names: what is read, what is left out, and what is refused."""

import gzip
import itertools
import os
import subprocess
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from polyhead.data import DataSpec, Example, Labels, Text, format_of, load_dataset, read, stream_dataset
from polyhead.data.braces import is_braced, name_without_folder, parts_of
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError

TARGET: dict[str, type] = {"target": Text}


def made(folder: Path, **parts: Sequence[str]) -> Path:
    """Files of lines whose names end with their languages, and the path of all of them."""
    for part, lines in parts.items():
        (folder / f"x.{part}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder / f"x.{{{','.join(parts)}}}"


def pairs(examples: Sequence[Example], layer: str = "target") -> list[tuple[object, object]]:
    return [(example.text, example.layers.get(layer)) for example in examples]


def refused(path: Path, spec: DataSpec, kinds: dict[str, type], what: str) -> PolyheadError:
    with pytest.raises(PolyheadError, match=what) as error:
        list(read(path, spec, kinds))
    return error.value


# --- paths ---


@pytest.mark.parametrize("path", ["x.{en,fr}", "{src,tgt}-x.txt", "a/{de,en,fr}/x.gz", "x.{pt-BR,en}.txt"])
def test_braces_name_what_a_shell_would(path: str) -> None:
    shell = subprocess.run(["bash", "-c", f"printf '%s\\n' {path}"], capture_output=True, text=True, check=True)
    assert parts_of(path) == shell.stdout.split()
    assert is_braced(path)
    assert format_of(path) == "parallel"


@pytest.mark.parametrize("path", ["x.txt", "a{b}.csv", "a,b/x.csv", "{a}/b,c.csv", "a,b/{x}.tsv"])
def test_other_names_may_hold_these_signs(path: str) -> None:
    assert not is_braced(path)
    assert format_of(path) != "parallel"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("x.{en,fr", "a brace without its other one"),
        ("{src,tgt-x.txt", "a brace without its other one"),
        ("x.en,fr}", "a brace without its other one"),
        ("x.{en,{fr,de}}", "one within another"),
        ("{a,b}/x.{en,fr}", "more than one pair"),
        ("x.{en}", "one part alone, 'en'"),
        ("x.{}", "one part alone, ''"),
        ("x.{en,}", "an empty part"),
        ("x.{en, fr}", "a space beside the part 'fr'"),
        ("x.{en,fr,en}", "'en' stands twice"),
    ],
)
def test_wrong_braces(tmp_path: Path, path: str, what: str) -> None:
    """Whether or not the format is named, and before anything is read where a recipe can tell."""
    for spec in (DataSpec(), DataSpec(format="parallel")):
        error = refused(tmp_path / path, spec, {}, what)
        assert error.file == str(tmp_path / path)
        assert error.remedy
    with pytest.raises(ValidationError, match=what):
        DataSpec(format="parallel", train=path)


def test_a_path_without_braces_is_no_pair(tmp_path: Path) -> None:
    refused(tmp_path / "x.en", DataSpec(format="parallel"), {}, "no braces")
    with pytest.raises(ValidationError, match="no braces"):
        DataSpec(format="parallel", train=["x.{en,fr}", "x.en"])
    with pytest.raises(PolyheadError, match="from one stream"):
        list(read("-", DataSpec(format="parallel")))


def test_names_for_people() -> None:
    assert name_without_folder("/a/b/x.{en,fr}") == "x.{en,fr}"
    assert name_without_folder("/a/b/{en,fr}/x.txt") == "{en,fr}/x.txt"
    assert name_without_folder("/a/{b/en,c/fr}/x.txt") == "{b/en,c/fr}/x.txt"
    assert name_without_folder("a/x.csv") == "x.csv"


# --- reading ---


def test_two_parts(tmp_path: Path) -> None:
    path = made(tmp_path, en=["A cat.", " two  words "], fr=["Un chat.", "deux\u2028mots"])
    examples = list(read(path, DataSpec(), TARGET))
    assert pairs(examples) == [("A cat.", "Un chat."), (" two  words ", "deux\u2028mots")]
    assert all(type(example.layers["target"]) is Text for example in examples)
    assert [(example.file, example.line) for example in examples] == [(str(path), 1), (str(path), 2)]
    assert pairs(list(read(path, DataSpec()))) == pairs(examples)


def test_names_turn_parts_round_and_leave_them_out(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a"], de=["b"], fr=["c"])
    spec = DataSpec(layers=["german", "_", "text"])
    assert pairs(list(read(path, spec, {"german": Text})), "german") == [("c", "a")]
    three = DataSpec(layers=["text", "german", "french"])
    assert next(iter(read(path, three))).layers == {"german": "b", "french": "c"}
    assert next(iter(read(path, three, {"french": Text}))).layers == {"french": "c"}


def test_parts_may_be_packed_and_stand_in_folders(tmp_path: Path) -> None:
    for part, line in (("en", "a cat"), ("fr", "un chat")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x.gz").write_bytes(gzip.compress(f"\ufeff{line}\r\n".encode()))
    assert pairs(list(read(tmp_path / "{en,fr}" / "x.gz", DataSpec(), TARGET))) == [("a cat", "un chat")]


def test_empty_lines_are_left_out_and_named(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", "", " ", "d", "e"], fr=["b", "x", "\t", "", "f"])
    notes = Notes()
    assert pairs(list(read(path, DataSpec(), TARGET, notes))) == [("a", "b"), ("e", "f")]
    assert list(notes) == [
        f"2 pairs with an empty side left out of {path}: lines 2, 4",
        f"1 line that is empty in all parts left out of {path}: line 3",
    ]


def test_a_split_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", ""], fr=["", "x"])
    with pytest.raises(PolyheadError, match=r"is empty: 2 pairs with an empty side left out of .*: lines 1, 2"):
        load_dataset("d", DataSpec(train=str(path)), tmp_path, TARGET)


def test_a_note_names_the_first_lines_and_counts_the_others(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", *("bcdefgh")], fr=["a", *([""] * 7)])
    notes = Notes()
    assert len(list(read(path, DataSpec(), TARGET, notes))) == 1
    assert list(notes) == [f"7 pairs with an empty side left out of {path}: lines 2, 3, 4, 5, 6 and 2 more"]


def test_one_of_several_layers_may_be_empty(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", "b"], de=["", ""], fr=["c", ""])
    spec, notes = DataSpec(layers=["text", "german", "french"]), Notes()
    assert [example.layers for example in read(path, spec, {"german": Text, "french": Text}, notes)] == [
        {"french": "c"}
    ]
    assert list(notes) == [
        f"1 empty line of 'german' left out of {path}: line 1",
        f"1 pair with an empty side left out of {path}: line 2",
    ]


def test_only_the_text_is_read_where_it_wants_answers(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", "", "b"])
    both = tmp_path / "x.{en,fr}"
    assert [example.text for example in read(both, DataSpec().for_answers())] == ["a", "b"]
    kept = list(read(both, DataSpec().for_answers(keep_blank=True)))
    assert [(example.text, example.line) for example in kept] == [("a", 1), ("", 2), ("b", 3)]
    turned = DataSpec(layers=["target", "text"]).for_answers()
    assert [example.text for example in read(tmp_path / "x.{fr,en}", turned)] == ["a", "b"]
    assert path.name == "x.{en}"


# --- faults ---


def test_parts_of_unequal_length(tmp_path: Path) -> None:
    for en, fr in ((5, 7), (7, 5), (0, 1)):
        path = made(tmp_path, en=["a"] * en, fr=["b"] * fr)
        longer = tmp_path / ("x.en" if en > fr else "x.fr")
        error = refused(path, DataSpec(), TARGET, "have no partner")
        assert (error.file, error.line) == (str(longer), min(en, fr) + 1)
        for side, count in (("en", en), ("fr", fr)):
            assert f"{tmp_path / f'x.{side}'} has {count} line" in error.what
    path = made(tmp_path, en=["a"] * 2, de=["b"] * 3, fr=["c"] * 4)
    error = refused(path, DataSpec(layers=["text", "target", "_"]), TARGET, "x.de has 3 lines")
    assert (error.file, error.line) == (str(tmp_path / "x.fr"), 3)


def test_a_missing_part(tmp_path: Path) -> None:
    made(tmp_path, en=["a"], fra=["b"])
    error = refused(tmp_path / "x.{en,fr}", DataSpec(), TARGET, r"no such file, which .*x.\{en,fr\} names as a part")
    assert (error.file, error.remedy) == (str(tmp_path / "x.fr"), "Did you mean 'x.fra'?")


def test_broken_parts_name_their_own_line(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a", "b"], fr=["c", "d"])
    (tmp_path / "x.fr").write_bytes(b"c\nd\xe9\n")
    error = refused(path, DataSpec(), TARGET, "is not UTF-8")
    assert (error.file, error.line) == (str(tmp_path / "x.fr"), 2)


@pytest.mark.parametrize(
    ("fields", "kinds", "what", "remedy"),
    [
        ({}, {"french": Text}, "no part is called 'french'", "layers"),
        ({}, {"target": str}, "layer 'target' is a text, and a task wants a label", "another type"),
        ({}, {"target": Labels}, "a task wants labels", "another type"),
        ({"layers": ["text"]}, {}, "`layers` lists 1 name for 2 parts, en, fr", "_"),
        ({"layers": ["source", "target"]}, {}, "does not say which part is the text", "text"),
        ({"layers": ["text", "words"]}, {}, "has 'words', which no part can be", "text"),
        ({"layers": {"target": "fr"}}, {}, "`layers` is a table", "in their order"),
        ({"pair": "fr"}, {}, "`pair` names a column", "Take it out"),
        ({"text": "en"}, {}, "`text` names a column", "Take it out"),
        ({"delimiter": ","}, {}, "`delimiter` means nothing for parallel files", "Take"),
        ({"format": "text"}, {}, "braces name no text files", "parallel"),
    ],
)
def test_what_parts_cannot_be(
    tmp_path: Path, fields: dict[str, object], kinds: dict[str, type], what: str, remedy: str
) -> None:
    path = made(tmp_path, en=["a"], fr=["b"])
    assert remedy in refused(path, DataSpec.model_validate(fields), kinds, what).remedy


def test_three_parts_must_be_named(tmp_path: Path) -> None:
    path = made(tmp_path, en=["a"], de=["b"], fr=["c"])
    error = refused(path, DataSpec(), TARGET, "nothing says what the 3 parts are")
    assert 'layers = ["text", "de", "fr"]' in error.remedy


# --- datasets ---


def test_a_dataset_of_parallel_files(tmp_path: Path) -> None:
    made(tmp_path, en=[f"a {i}" for i in range(20)], fr=[f"b {i}" for i in range(20)])
    (tmp_path / "more").mkdir()
    made(tmp_path / "more", en=["c"], fr=["d"])
    spec = DataSpec(train=["x.{en,fr}", "more/x.{en,fr}"], dev=0.1, limit=4)
    whole, stream = (make("d", spec, tmp_path) for make in (load_dataset, stream_dataset))
    assert [len(whole.splits[split]) for split in ("train", "dev")] == [4, 2]
    assert all(str(text)[1:] == str(target)[1:] for text, target in pairs(whole.splits["train"]))
    for split, examples in whole.splits.items():
        assert pairs(list(stream.splits[split])) == pairs(examples)
    assert stream.fingerprint == whole.fingerprint
    twice = DataSpec(train=["x.{en,fr}", "./x.{en,fr}"])
    with pytest.raises(PolyheadError, match="names this file twice"):
        load_dataset("d", twice, tmp_path)


def test_the_fingerprint_follows_each_part(tmp_path: Path) -> None:
    spec = DataSpec(train="x.{en,fr}")

    def fingerprint(en: str, fr: str, spec: DataSpec = spec) -> str:
        made(tmp_path, en=[en], fr=[fr])
        return load_dataset("d", spec, tmp_path, TARGET).fingerprint

    first = fingerprint("a", "b")
    turned = fingerprint("a", "b", DataSpec(train="x.{en,fr}", layers=["target", "text"]))
    assert first == fingerprint("a", "b")
    assert len({first, turned, fingerprint("a", "c"), fingerprint("c", "b"), fingerprint("b", "a")}) == 5


def test_a_part_that_is_a_pipe_cannot_be_gone_through_twice(tmp_path: Path) -> None:
    made(tmp_path, en=["a"])
    os.mkfifo(tmp_path / "x.fr")
    with pytest.raises(PolyheadError, match="read only once"):
        stream_dataset("d", DataSpec(train="x.{en,fr}"), tmp_path)


def test_files_larger_than_memory_are_read_as_they_come(tmp_path: Path) -> None:
    """Of two files without end, the first lines come at once."""
    for side in ("en", "fr"):
        pipe = tmp_path / f"x.{side}"
        os.mkfifo(pipe)

        def feed(path: Path = pipe) -> None:
            try:
                with path.open("w", encoding="utf-8") as stream:
                    for number in itertools.count():
                        stream.write(f"{number}\n")
            except BrokenPipeError:
                pass

        threading.Thread(target=feed, daemon=True).start()
    examples = read(tmp_path / "x.{en,fr}", DataSpec(), TARGET)
    assert pairs(list(itertools.islice(examples, 3))) == [("0", "0"), ("1", "1"), ("2", "2")]
    assert isinstance(examples, Generator)
    examples.close()
