import json
from collections.abc import Sequence

from rich.console import Console

from polyhead.data.check import Spread, check
from polyhead.data.dataset import Dataset
from polyhead.data.example import Example, Labels, Span, Spans, Tree, Value, WordLabels
from polyhead.data.spec import DataSpec


def texts(*rows: tuple[str, Value], file: str) -> list[Example]:
    """One-layer examples of a file, on lines 1, 2, ..."""
    return [
        Example(text=text, layers={"label": value}, file=f"some/folder/{file}", line=line)
        for line, (text, value) in enumerate(rows, start=1)
    ]


def dataset(**splits: list[Example]) -> Dataset:
    return Dataset(
        "reviews", DataSpec(train="x.tsv"), splits, "0123456789abcdef" * 4, ["3 empty lines left out of x.tsv"]
    )


def lengths(examples: Sequence[Example]) -> list[int]:
    return [len(example.words or (example.text or "").split()) + 2 for example in examples]


def shown(report: object) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(report)
    return capture.get()


REVIEWS = dataset(
    test=texts(("fine  film", "good"), ("odd", "odd"), ("odder", "odd"), ("oddest", "strange"), file="test.tsv"),
    train=texts(
        ("good film", "good"),
        ("fine film", "good"),
        ("good film", "bad"),
        ("good film", "good"),
        ("a very very very long bad film", "bad"),
        file="train.tsv",
    ),
)


def test_finds_what_makes_figures_lie() -> None:
    report = check(REVIEWS, lengths, window=8)
    train, test = report.splits["train"], report.splits["test"]
    assert list(report.splits) == ["train", "test"]
    assert (train.examples, train.words, train.pieces) == (5, None, Spread(4 * 4 + 9, 4, 4, 9, 9))
    assert (train.too_long.count, train.too_long.places) == (1, ("some/folder/train.tsv:5",))
    assert (train.repeats.count, train.contradictions.count, train.in_train.count) == (2, 1, 0)
    assert train.contradictions.places == ("some/folder/train.tsv:3 = 1",)
    assert (test.repeats.count, test.in_train.count) == (0, 1)
    assert test.in_train.places == ("some/folder/test.tsv:1",)
    layer = report.layers["label"]
    assert (layer.kind, layer.labels, layer.most) == ("a label", 2, {"good": 3, "bad": 2})
    assert (layer.unseen["test"].labels, layer.unseen["test"].occurrences) == (2, 3)
    assert layer.unseen["test"].most == ("odd", "strange")
    assert "train" not in layer.unseen


def test_counts_the_labels_of_every_kind() -> None:
    example = Example(
        words=("a", "b"),
        layers={
            "one": "x",
            "several": Labels({"y", "x"}),
            "score": 2.5,
            "words": WordLabels(("N", None)),
            "spans": Spans((Span(0, 1, "p"), Span(1, 2, "p"))),
            "tree": Tree((0, 1), ("root", "dep")),
        },
    )
    report = check(dataset(train=[example, Example(words=("a",))]), lengths, window=9)
    assert report.splits["train"].words == Spread(3, 1, 1, 2, 2)
    assert {name: (layer.kind, layer.most) for name, layer in report.layers.items()} == {
        "one": ("a label", {"x": 1}),
        "several": ("labels", {"x": 1, "y": 1}),
        "score": ("a number", {}),
        "words": ("a label per word", {"N": 1}),
        "spans": ("spans", {"p": 2}),
        "tree": ("a tree", {"root": 1, "dep": 1}),
    }
    assert report.layers["score"].numbers == Spread(2.5, 2.5, 2.5, 2.5, 2.5)
    assert report.layers["tree"].present == {"train": 1}


def test_pairs_repeat_only_as_pairs() -> None:
    pairs = [Example(text="a", pair="b"), Example(text="a", pair="c"), Example(text="a"), Example(text="a", pair="b ")]
    assert check(dataset(train=pairs), lengths, window=9).splits["train"].repeats.count == 1


def test_without_a_training_split_nothing_is_unseen_or_shared() -> None:
    report = check(dataset(dev=texts(("a", "x"), file="d"), test=texts(("a", "y"), file="t")), lengths, window=9)
    assert report.layers["label"].unseen == {}
    assert report.splits["test"].in_train.count == 0
    assert "-" in shown(report)


def test_a_layer_that_training_lacks_is_all_unseen() -> None:
    report = check(dataset(train=[Example(text="a")], dev=texts(("b", "x"), file="d")), lengths, window=9)
    assert report.layers["label"].present == {"train": 0, "dev": 1}
    assert report.layers["label"].unseen["dev"].labels == 1


def test_the_report_as_plain_values() -> None:
    report = json.loads(json.dumps(check(REVIEWS, lengths, window=8).to_dict()))
    assert report["splits"]["train"]["pieces"]["p95"] == 9
    assert report["layers"]["label"]["most"] == {"good": 3, "bad": 2}
    assert report["notes"] == ["3 empty lines left out of x.tsv"]


def test_the_report_reads_well_in_80_columns() -> None:
    text = shown(check(REVIEWS, lengths, window=8))
    assert all(len(line.rstrip()) <= 80 for line in text.split("\n"))
    for part in (
        "data.reviews  (sha256 0123456789ab)",
        "train          5       -       25   2 (40.0%)           -   1 (20.0%)",
        "good 3 · bad 2",
        "1 example of train repeats a text with other labels: train.tsv:3 = 1",
        "1 example of train is longer than 8 pieces: train.tsv:5",
        "1 example of test stands in train too: test.tsv:1",
        "label: 2 labels of test (3 times) never in train: odd, strange",
        "3 empty lines left out of x.tsv",
    ):
        assert part in text


def test_labels_do_not_count_as_markup() -> None:
    report = check(dataset(train=texts(("a", "[bold]"), ("b", "[/x]"), file="t")), lengths, window=9)
    assert "[bold] 1 · [/x] 1" in shown(report)
