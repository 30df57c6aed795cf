from pathlib import Path

import pytest

from polyhead.data import DataSpec, Example, Labels, Spans, Text, Tree, WordLabels, read
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError

VISIT = """\
# sent_id = 1
# text = They don't like Paris.
1\tThey\tthey\tPRON\tPRP\tNumber=Plur\t4\tnsubj\t4:nsubj\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t4:aux\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t4:advmod\t_
4\tlike\tlike\tVERB\tVB\tVerbForm=Inf\t0\troot\t0:root\t_
4.1\tit\tit\tPRON\t_\t_\t_\t_\t4:obj\t_
5\tParis\tParis\tPROPN\tNNP\tNumber=Sing\t4\tobj\t4:obj\tNER=B-LOC|SpaceAfter=No
6\t.\t.\tPUNCT\t.\t_\t4\tpunct\t4:punct\t_
"""


def made(folder: Path, content: str, name: str = "x.conllu") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def rows(*heads: str, relation: str = "dep") -> str:
    """A sentence with these heads."""
    return "".join(f"{i}\tw{i}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_\n" for i, head in enumerate(heads, start=1))


def one(folder: Path, content: str, spec: DataSpec | None = None, kinds: dict[str, type] | None = None) -> Example:
    (example,) = read(made(folder, content), spec or DataSpec(), kinds)
    return example


def test_sentence_with_everything(tmp_path: Path) -> None:
    example = one(tmp_path, VISIT)
    assert example.words == ("They", "do", "n't", "like", "Paris", ".")
    assert example.text == "They don't like Paris."
    assert example.offsets == ((0, 4), (5, 7), (7, 10), (11, 15), (16, 21), (21, 22))
    assert example.layers == {
        "lemma": WordLabels(("they", "do", "not", "like", "Paris", ".")),
        "upos": WordLabels(("PRON", "AUX", "PART", "VERB", "PROPN", "PUNCT")),
        "xpos": WordLabels(("PRP", "VBP", "RB", "VB", "NNP", ".")),
        "feats": WordLabels(("Number=Plur", "_", "_", "VerbForm=Inf", "Number=Sing", "_")),
        "tree": Tree((4, 4, 4, 0, 4, 4), ("nsubj", "aux", "advmod", "root", "obj", "punct")),
    }
    assert (example.line, example.lines) == (3, (3, 5, 6, 7, 9, 10))


def test_frame_gives_the_file_back(tmp_path: Path) -> None:
    frame = one(tmp_path, VISIT).frame
    assert frame is not None
    back = [*frame.comments, *("\t".join(row) for row in frame.rows)]
    for before, line in reversed(frame.between):
        back.insert(len(frame.comments) + before, line)
    assert "\n".join(back) + "\n" == VISIT


@pytest.mark.parametrize("end", ["\n", "\n\n\n", " \n", "\t\n", "\r\n"])
def test_sentences_end_at_blank_lines_or_the_end(tmp_path: Path, end: str) -> None:
    path = made(tmp_path, VISIT + end + VISIT.rstrip("\n"))
    assert [example.words[0] for example in read(path, DataSpec())] == ["They", "They"]


def test_text_is_built_where_there_is_no_comment(tmp_path: Path) -> None:
    example = one(tmp_path, VISIT.replace("# text = They don't like Paris.\n", ""))
    assert example.text == "They don't like Paris."
    assert example.offsets is not None and example.offsets[-1] == (21, 22)


def test_words_share_the_offsets_of_a_token_that_they_do_not_spell(tmp_path: Path) -> None:
    content = "1-2\tau\t_\t_\t_\t_\t_\t_\t_\t_\n" + rows("0", "1").replace("w1", "à").replace("w2", "le")
    example = one(tmp_path, content + "3\tbord\t_\t_\t_\t_\t1\tdep\t_\t_\n")
    assert example.text == "au bord"
    assert example.offsets == ((0, 2), (0, 2), (3, 7))


def test_text_that_words_do_not_spell_is_kept_without_offsets_and_counted(tmp_path: Path) -> None:
    path = made(tmp_path, VISIT.replace("# text = They", "# text = We"))
    notes = Notes()
    (example,) = read(path, DataSpec(), notes=notes)
    assert (example.text, example.offsets) == ("We don't like Paris.", None)
    assert list(notes) == [f"1 sentence whose # text its words do not spell (read without offsets) in {path}"]


def test_spaces_in_words_and_in_texts(tmp_path: Path) -> None:
    content = "# text = w1  10 000\u00a0w3\n" + rows("0", "1", "1").replace("w2", "10 000")
    assert one(tmp_path, content).offsets == ((0, 2), (4, 10), (11, 13))


def test_underscores(tmp_path: Path) -> None:
    content = "1\t_\t_\tSYM\t_\t_\t_\t_\t_\t_\n2\tb\t_\t_\t_\t_\t_\t_\t_\t_\n"
    example = one(tmp_path, content)
    assert example.layers == {"upos": WordLabels(("SYM", None)), "feats": WordLabels(("_", "_"))}
    lemmas = one(tmp_path, content.replace("b\t_", "b\tB")).layers["lemma"]
    assert lemmas == ("_", "B")


def test_layers_in_misc_and_comments(tmp_path: Path) -> None:
    spec = DataSpec(misc={"ner": "NER"}, comments={"mood": "mood", "topics": "topic", "score": "score"})
    content = "# mood = good \n# topic = a|b c\n#score=0.5\n" + VISIT
    kinds: dict[str, type] = {"ner": Spans, "topics": Labels, "score": float}
    example = one(tmp_path, content, spec, kinds)
    assert example.layers["ner"] == ((4, 5, "LOC"),)
    assert example.layers["mood"] == "good"
    assert example.layers["topics"] == Labels(["a", "b c"])
    assert example.layers["score"] == 0.5
    assert one(tmp_path, VISIT, spec).layers["ner"] == (None, None, None, None, "B-LOC", None)


def test_a_comment_may_hold_a_text(tmp_path: Path) -> None:
    spec = DataSpec(comments={"english": "text_en"})
    first, second = read(
        made(tmp_path, "# text_en = We went | home.\n" + VISIT + "\n" + VISIT), spec, {"english": Text}
    )
    assert type(first.layers["english"]) is Text
    assert (first.layers["english"], "english" in second.layers) == ("We went | home.", False)


def test_sentence_without_tags_in_misc_has_no_spans_unless_others_write_them_out(tmp_path: Path) -> None:
    spec = DataSpec(misc={"ner": "NER"})
    plain = VISIT.replace("NER=B-LOC|", "")
    first, second = read(made(tmp_path, VISIT + "\n" + plain), spec, {"ner": Spans})
    assert (first.layers["ner"], second.layers["ner"]) == (((4, 5, "LOC"),), ())
    full = VISIT.replace("\t_\n", "\tNER=O\n")
    first, second = read(made(tmp_path, full + "\n" + plain), spec, {"ner": Spans})
    assert first.layers["ner"] == ((4, 5, "LOC"),)
    assert "ner" not in second.layers


def test_escapes_in_misc(tmp_path: Path) -> None:
    spec = DataSpec(misc={"gloss": "Gloss"})
    example = one(tmp_path, r"1	w	_	_	_	_	_	_	_	Gloss=a\pb\\c=d" + "\n", spec)
    assert example.layers["gloss"] == ("a|b\\c=d",)


def test_comments_alone_are_left_out_and_counted(tmp_path: Path) -> None:
    path = made(tmp_path, "# global\n\n" + VISIT + "\n# end\n# of file\n")
    notes = Notes()
    assert len(list(read(path, DataSpec(), notes=notes))) == 1
    assert list(notes) == [f"2 blocks of comments without words left out of {path}"]


def test_tree_is_absent_without_heads_and_not_checked_where_no_task_wants_it(tmp_path: Path) -> None:
    assert "tree" not in one(tmp_path, rows("_", "_", relation="_")).layers
    assert "tree" not in one(tmp_path, rows("0", "0"), None, {"lemma": WordLabels}).layers


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (rows("0", "3", "2"), 2, "cycle: 2 -> 3 -> 2"),
        (rows("0", "2"), 2, "cycle: 2 -> 2"),
        (rows("2", "3", "4", "2", "0"), 2, "cycle: 2 -> 3 -> 4 -> 2"),
        (rows("0", "1", "0"), 3, "2 roots: words 1, 3"),
        (rows("2", "1"), 1, "no root"),
        (rows("0", "3"), 2, "head 3 of word 2"),
        (rows("0", "2000"), 2, "head 2000 of word 2"),
        (rows("0", "-1"), 2, "head '-1' is not a whole number"),
        (rows("0", "x"), 2, "head 'x'"),
        (rows("0", "_"), 2, "no head"),
        (rows("0", "1", relation="_"), 1, "no relation"),
        ("# c\n1\tw\n", 2, "10 columns .* 2 columns"),
        ("1 w _ _ _ _ 0 root _ _\n", 1, "1 column"),
        (rows("0", "1").replace("2\tw2", "2\tw2\textra"), 2, "11 columns"),
        (rows("0").replace("w1", ""), 1, "FORM is empty"),
        (rows("0") + "# text = next\n" + rows("0"), 2, "comment inside a sentence"),
        (rows("0") + rows("0"), 2, "word id '1' where 2 is next"),
        (rows("0", "1").replace("2\tw2", "3\tw2"), 2, "word id '3' where 2 is next"),
        (rows("0", "1").replace("2\tw2", "2x\tw2"), 2, "word id '2x'"),
        (rows("0", "1").replace("2\tw2", "02\tw2"), 2, "word id '02'"),
        (rows("0") + "3.1\tw\t_\t_\t_\t_\t_\t_\t_\t_\n", 2, "word id '3.1'"),
        (rows("0") + "2-3\tw\t_\t_\t_\t_\t_\t_\t_\t_\n", 2, "range '2-3' goes past the last word"),
        ("1-2\tw\t_\t_\t_\t_\t_\t_\t_\t_\n" * 2 + rows("0", "1"), 2, "word id '1-2'"),
        ("0.1\tw\t_\t_\t_\t_\t_\t_\t_\t_\n", 1, "without words"),
        (rows("1" * 5000), 1, "head '1{50,}...' is not a whole number, or too large"),
        ("1-" + "9" * 5000 + "\tw" + "\t_" * 8 + "\n" + rows("0"), 1, "word id '1-9{50,}"),
        ("1-1\tw\t_\t_\t_\t_\t_\t_\t_\t_\n" + rows("0"), 1, "a range has two words or more"),
        (rows("0").replace("\n", "\t\n"), 1, "11 columns(.|\n)*Take the tab at its end out"),
        (rows("0").replace("\n", "\tx\n"), 1, "11 columns(.|\n)*Take out what is too much"),
        (" # text = a\n" + rows("0"), 1, "with # as the first sign"),
        (rows("0") + "2-3\tw\t_\t_\t_\t_\t_\t_\t_\t_\n", 2, "Correct the range"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, content: str, line: int, what: str) -> None:
    path = made(tmp_path, rows("0") + "\n" + content)
    with pytest.raises(PolyheadError, match=what) as error:
        list(read(path, DataSpec()))
    assert (error.value.file, error.value.line) == (str(path), line + 2)


@pytest.mark.parametrize(
    ("comments", "what"),
    [("# score = high\n", "comment 'score': 'high' is not a number"), ("# score = 1\n# score = 2\n", "stands twice")],
)
def test_broken_comments_name_the_line(tmp_path: Path, comments: str, what: str) -> None:
    path = made(tmp_path, comments + VISIT.replace("1\tThey", "0.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n1\tThey"))
    with pytest.raises(PolyheadError, match=what) as error:
        list(read(path, DataSpec(comments={"score": "score"}), {"score": float}))
    assert error.value.line == comments.count("\n")


def test_wishes_that_cannot_be_granted(tmp_path: Path) -> None:
    path = made(tmp_path, VISIT)
    with pytest.raises(PolyheadError, match="no layer 'uposs'\n  Did you mean 'upos'"):
        list(read(path, DataSpec(), {"uposs": WordLabels}))
    with pytest.raises(PolyheadError, match="a label per word, and a task wants spans"):
        list(read(path, DataSpec(), {"upos": Spans}))
    with pytest.raises(PolyheadError, match="`layers` means nothing for conllu"):
        list(read(path, DataSpec(layers=["words"])))


def test_sentences_longer_than_a_thousand_words(tmp_path: Path) -> None:
    example = one(tmp_path, rows("0", *map(str, range(1, 1500))))
    tree = example.layers["tree"]
    assert isinstance(tree, Tree) and tree.heads == tuple(range(1500))
