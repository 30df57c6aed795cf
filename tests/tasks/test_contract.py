"""What holds for every task type, a user's own included."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import SENTENCES, cells
from polyhead.data.bio import to_spans
from polyhead.data.example import Example, Labels, Prediction, Spans, Text, Tree, Value, WordLabels
from polyhead.errors import PolyheadError
from polyhead.model import Lesson, Model, Question, Targets
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import Pieces
from polyhead.predict import answer
from polyhead.tasks import TYPES, Task, describe_task, make_task, restore_task
from polyhead.training.blocks import Blocks, write


def _examples(*, pairs: bool = False) -> list[Example]:
    """Eight sentences with a layer of each kind; with ``pairs`` as raw text pairs instead."""
    out = []
    for number, (sentence, sentiment) in enumerate(SENTENCES):
        columns = list(zip(*cells(sentence), strict=True))
        forms = columns[0]
        layers: dict[str, Value] = {
            "sentiment": sentiment,
            "topics": Labels(topic for topic in ("cat", "Ann", "in") if topic in columns[1]),
            "stars": number % 5 + 0.5,
            "upos": WordLabels(tag if i or number % 2 else None for i, tag in enumerate(columns[2])),
            "lemma": WordLabels(columns[1]),
            "tree": Tree(tuple(map(int, columns[3])), columns[4]),
            "entities": to_spans(columns[5], "IOB2"),
            "shouted": Text(" ".join(forms).upper()),
        }
        if pairs:
            half = len(forms) // 2
            out.append(Example(text=" ".join(forms[:half]), pair=" ".join(forms[half:]), layers=layers))
        else:
            out.append(Example(words=forms, layers=layers))
    return out


@dataclass(frozen=True)
class Case:
    """A task type with its settings, on sentences or on text pairs; without a layer, if it learns from texts alone."""

    type: str
    layer: str
    settings: tuple[tuple[str, Any], ...] = ()
    pairs: bool = False

    @property
    def examples(self) -> list[Example]:
        return _examples(pairs=self.pairs)

    def task(self) -> Task:
        """The task, prepared."""
        made = make_task("it", self.table | dict(self.settings))
        made.prepare([seen for example in self.examples if (seen := made.lesson(example, made)) is not None])
        return made

    @property
    def table(self) -> dict[str, Any]:
        return {"type": self.type, "data": "d"} | ({"layer": self.layer} if self.layer else {})


CASES = {
    "classification": Case("classification", "sentiment"),
    "several labels": Case("classification", "topics", (("several", True),)),
    "pairs": Case("classification", "sentiment", pairs=True),
    "a mix of layers for texts": Case("classification", "sentiment", (("encoder_layers", "mix"),)),
    "regression": Case("regression", "stars"),
    "regression of pairs": Case("regression", "stars", pairs=True),
    "tagging": Case("tagging", "upos"),
    "the last layer for words": Case("tagging", "upos", (("encoder_layers", "last"),)),
    "lemmatization": Case("lemmatization", "lemma"),
    "ner": Case("ner", "entities"),
    "ner with crf": Case("ner", "entities", (("crf", True),)),
    "parsing": Case("parsing", "tree", (("arc_size", 24), ("relation_size", 16))),
    "seq2seq": Case("seq2seq", "shouted", (("vocabulary", 300), ("longest", 60))),
    "seq2seq from the encoder": Case(
        "seq2seq", "shouted", (("vocabulary", "encoder"), ("longest", 60), ("decoder", "warm"))
    ),
    "masked-lm": Case("masked-lm", ""),
    "masked-lm of pieces": Case("masked-lm", "", (("whole_words", False), ("share", 0.3))),
    "masked-lm of mixed layers": Case("masked-lm", "", (("encoder_layers", "mix"),)),
    "denoising": Case("denoising", "", (("vocabulary", 300), ("longest", 60), ("label_smoothing", 0.0))),
    "a user's own": Case("own_task.Loudness", "sentiment", (("scale", 2.0),)),
}


LABELLED = {name: case for name, case in CASES.items() if case.layer}


def test_every_type_of_the_table_has_a_case() -> None:
    assert set(TYPES) <= {case.type for case in CASES.values()}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=LABELLED, scope="module")
def labelled(request: pytest.FixtureRequest) -> Case:
    """A case with a layer."""
    return LABELLED[request.param]


@pytest.fixture
def teachable(case: Case) -> Case:
    """Types that learn from text alone, or write texts, neither teach nor are taught."""
    if not case.task().annotates or case.type == "seq2seq":
        pytest.skip("gives no soft labels")
    return case


@cache
def _trained(case: Case, encoder: Path) -> Model:
    """A model that has seen the eight examples a hundred times or so."""
    torch.manual_seed(3)
    task = case.task()
    model = Model(load_encoder(str(encoder)), {"it": task})
    model.encoder.set_dropout(0.0)
    batch, gold = _batch(model, case.examples, task)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(100):
        optimizer.zero_grad()
        total, units = model.loss(batch, {"it": gold})["it"]
        (total / units).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def model(case: Case, tiny_encoder: Path) -> Model:
    return _trained(case, tiny_encoder)


def _read(model: Model, examples: Sequence[Example], task: Task) -> list[Pieces]:
    """What the encoder reads of examples; a task without a layer corrupts them, each time alike."""
    if task.annotates:
        return model.encoder.tokenise(examples)
    return [pieces for pieces, _ in _corrupted(model, examples, task)]


def _corrupted(model: Model, examples: Sequence[Example], task: Task) -> list[tuple[Pieces, Any]]:
    tokenizer, packing = model.encoder.tokenizer, task.packing._replace(block=10_000, longest=10_000)
    blocks: Iterable[Pieces] = tokenizer.running(examples)
    if packing.vocabulary is not None:
        with tempfile.TemporaryDirectory() as folder:
            write(examples, tokenizer, Path(folder) / "b", packing)
            blocks = list(Blocks.open(Path(folder) / "b"))
    return [task.corrupt(block, tokenizer, np.random.default_rng(0)) for block in blocks]


def _targets(model: Model, examples: Sequence[Example], task: Task) -> Targets:
    if task.annotates:
        found = [task.target(example) for example in examples]
    else:
        found = [target for _, target in _corrupted(model, examples, task)]
    rows = [i for i, target in enumerate(found) if target is not None]
    return Targets(rows, [found[i] for i in rows])


def _batch(model: Model, examples: Sequence[Example], task: Task) -> tuple[Any, Targets]:
    return model.encoder.collate(_read(model, examples, task)), _targets(model, examples, task)


def _answers(model: Model, examples: Sequence[Example], budget: int = 10_000) -> list[Prediction]:
    items = _read(model, examples, model.tasks["it"])
    return [given["it"] for given in answer(model, items, ["it"], budget=budget)]


def _gold(case: Case) -> list[Value]:
    return [example.layers[case.layer] for example in case.examples]


def _assert_same(left: Sequence[Prediction], right: Sequence[Prediction]) -> None:
    for one, other in zip(left, right, strict=True):
        if isinstance(one.value, float):
            assert one.value == pytest.approx(other.value, abs=1e-5)
        else:
            assert one.value == other.value
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def _assert_well_formed(case: Case, model: Model, predictions: Sequence[Prediction]) -> None:
    items = _read(model, case.examples, model.tasks["it"])
    kinds = [type(example.layers[case.layer]) for example in case.examples if case.layer] or [
        model.tasks["it"].kind
    ] * len(items)
    for kind, item, prediction in zip(kinds, items, predictions, strict=True):
        value, sure = prediction.value, prediction.confidence
        assert type(value) is kind
        units: int | None = None
        if isinstance(value, WordLabels):
            units = len(item.words)
            assert len(value) == units and all(isinstance(label, str) for label in value)
        elif isinstance(value, Tree):
            units = len(item.words)
            assert len(value.heads) == len(value.relations) == units
        elif isinstance(value, Spans):
            units = len(value)
        if units is None:
            assert isinstance(sure, float)
        else:
            assert isinstance(sure, tuple) and len(sure) == units
        assert all(type(c) is float and 0 <= c <= 1 for c in ((sure,) if isinstance(sure, float) else sure))


def test_overfits_eight_examples(case: Case, model: Model) -> None:
    task = model.tasks["it"]
    if task.annotates:
        predicted = [prediction.value for prediction in _answers(model, case.examples)]
        figures = task.score(case.examples, predicted)
    else:
        batch, targets = _batch(model, case.examples, task)
        figures = task.figures(model.measure(batch, "it", targets.gold))
        assert figures["perplexity"] < 1.05
    assert figures["accuracy" if task.lower_is_better else task.metric] == pytest.approx(1.0, abs=0.01)


def test_save_load_and_predict_gives_the_same(case: Case, model: Model, tmp_path: Path) -> None:
    before = _answers(model, case.examples)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.tasks == model.tasks
    assert _answers(loaded, case.examples) == before


def test_padding_and_batch_order_change_nothing(case: Case, model: Model) -> None:
    examples = case.examples
    together = _answers(model, examples)
    _assert_same(_answers(model, examples[::-1]), together[::-1])
    _assert_same(_answers(model, examples, budget=1), together)
    longer = replace(examples[0], words=examples[0].words * 12) if examples[0].words else Example(text="so long " * 30)
    _assert_same(_answers(model, [longer, *examples])[1:], together)  # now all are filled up, and one has two rows


def test_predictions_have_the_type_of_gold(case: Case, model: Model) -> None:
    _assert_well_formed(case, model, _answers(model, case.examples))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_random_weights_give_well_formed_answers(case: Case, tiny_encoder: Path, scale: float) -> None:
    torch.manual_seed(5)
    untrained = Model(load_encoder(str(tiny_encoder)), {"it": case.task()}).eval()
    with torch.no_grad():
        for weight in untrained.heads.parameters():
            weight.mul_(scale)
    _assert_well_formed(case, untrained, _answers(untrained, case.examples))


def test_gold_against_gold_is_perfect(labelled: Case) -> None:
    task = labelled.task()
    assert task.score(labelled.examples, _gold(labelled))[task.metric] == pytest.approx(
        0.0 if task.lower_is_better else 1.0
    )


def test_an_example_without_the_layer_gives_no_loss(labelled: Case, tiny_encoder: Path) -> None:
    model, examples = _trained(labelled, tiny_encoder), labelled.examples
    task = model.tasks["it"]
    bare = [replace(example, layers={}) for example in examples[:3]]
    assert all(task.target(example) is None for example in bare)
    assert not any(task.carries(example) for example in bare)
    batch, gold = _batch(model, bare, task)
    assert model.loss(batch, {"it": gold}) == {}
    alone = model.loss(*_with_name(_batch(model, examples, task)))["it"]
    among = [bare[0], *examples[:4], bare[1], *examples[4:], bare[2]]
    mixed = model.loss(*_with_name(_batch(model, among, task)))["it"]
    assert mixed.units == alone.units
    assert mixed.total.item() == pytest.approx(alone.total.item(), rel=1e-4, abs=1e-4)


def _with_name(made: tuple[Any, Targets]) -> tuple[Any, dict[str, Targets]]:
    return made[0], {"it": made[1]}


def test_another_task_in_the_batch_changes_no_loss(case: Case, tiny_encoder: Path) -> None:
    """Half of the examples are this task's, all carry another's layer, or, if this one has no layer, the other half:
    each head learns from its own rows alone."""
    torch.manual_seed(7)
    task = case.task()
    other = make_task("other", {"type": "classification", "data": "d", "layer": "kind"})
    examples = [
        replace(e, layers={**(e.layers if i % 2 else {}), "kind": "odd" if i % 3 else "even"})
        for i, e in enumerate(case.examples)
    ]
    other.prepare(examples)
    both = Model(load_encoder(str(tiny_encoder)), {"it": task, "other": other}).eval()
    mine = examples if task.annotates else examples[1::2]
    items, carried = _read(both, mine, task), _targets(both, mine, task)
    labelled = list(range(len(examples)))
    if not task.annotates:  # its rows are its own
        labelled = [len(items) + row for row in labelled]
        items = items + both.encoder.tokenise(examples)
    kinds = Targets(labelled, [other.target(example) for example in examples])
    losses = both.loss(both.encoder.collate(items), {"it": carried, "other": kinds})
    alone = both.loss(*_with_name(_batch(both, examples[1::2], task)))
    assert losses["it"].units == alone["it"].units
    assert losses["it"].total.item() == pytest.approx(alone["it"].total.item(), rel=1e-4)
    plain = both.loss(
        both.encoder.collate(both.encoder.tokenise(examples)), {"other": replace(kinds, rows=[*range(8)])}
    )
    assert losses["other"].units == len(examples)
    assert losses["other"].total.item() == pytest.approx(plain["other"].total.item(), rel=1e-4)
    grads = torch.autograd.grad(losses["it"].total, list(both.head("other").parameters()), allow_unused=True)
    assert all(grad is None for grad in grads)


def test_plain_gold_is_there_for_each_word_or_text(labelled: Case) -> None:
    task = labelled.task()
    if labelled.type in ("seq2seq", "own_task.Loudness"):
        with pytest.raises(NotImplementedError):
            task.unit_gold(labelled.examples[0])
        return
    bare = replace(labelled.examples[0], layers={})
    assert task.unit_gold(bare) is None
    found = [task.unit_gold(example) for example in labelled.examples]
    for example, gold in zip(labelled.examples, found, strict=True):
        assert gold is not None and len(gold) == (len(example.words) if task.words else 1)
        assert gold.ndim == (1 if np.issubdtype(gold.dtype, np.integer) else 2)
    rows = np.concatenate([gold for gold in found if gold is not None])
    assert len(np.unique(rows, axis=0)) > 1


def test_a_task_survives_json(case: Case) -> None:
    task = case.task()
    described = describe_task(task)
    assert described["type"] == case.type
    assert restore_task(json.loads(json.dumps(described))) == task


def test_settings_are_checked(case: Case) -> None:
    table = case.table
    with pytest.raises(PolyheadError, match=r"tasks\.it has an unknown key 'dropot'.*\n.*'dropout'"):
        make_task("it", {**table, "dropot": 0.1})
    with pytest.raises(PolyheadError, match=r"tasks\.it\.dropout = '0.1'"):
        make_task("it", {**table, "dropout": "0.1"})
    with pytest.raises(PolyheadError, match=r"tasks\.it\.dropout = 1"):
        make_task("it", {**table, "dropout": 1})
    fields = dataclasses.fields(case.task())
    for learnt in (field.name for field in fields if field.metadata.get("learnt")):
        with pytest.raises(PolyheadError, match=f"unknown key '{learnt}'"):
            make_task("it", {**table, learnt: []})
    with pytest.raises(PolyheadError, match="does not say which data"):
        make_task("it", {key: value for key, value in table.items() if key != "data"})


def test_every_labelled_type_learns_something_beforehand(labelled: Case) -> None:
    assert any(field.metadata.get("learnt") for field in dataclasses.fields(labelled.task()))


def test_a_type_without_a_layer_takes_none() -> None:
    with pytest.raises(PolyheadError, match=r"tasks\.it\.layer = 'upos': the type learns no layer"):
        make_task("it", {"type": "masked-lm", "data": "d", "layer": "upos"})


def _soft(model: Model, examples: Sequence[Example], rows: list[int], temperature: float) -> tuple[Any, list[Any]]:
    batch = model.encoder.collate(model.encoder.tokenise(examples))
    asked = {"it": Question("it", rows, model.tasks["it"].choices())}
    return batch, model.soft(batch, asked, temperature)["it"]


def _gradient(model: Model, batch: Any, lesson: Lesson) -> float:
    """The length of the gradient of all weights when a model learns from a lesson alone."""
    loss = model.loss(batch, {"it": Targets([], [])}, {"it": lesson})["it"]
    grads = torch.autograd.grad(loss.total, list(model.parameters()), allow_unused=True)
    return float(sum(grad.square().sum() for grad in grads if grad is not None)) ** 0.5


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    teachable: Case, tiny_encoder: Path, temperature: float
) -> None:
    """Half trained, so that nobody is sure of anything; another teacher is something to learn from."""
    torch.manual_seed(11)
    model = Model(load_encoder(str(tiny_encoder)), {"it": teachable.task()}).eval()
    batch, soft = _soft(model, teachable.examples, list(range(8)), temperature)
    loss = model.loss(batch, {"it": Targets([], [])}, {"it": Lesson(list(range(8)), [soft], 1.0, temperature)})["it"]
    task = model.tasks["it"]
    units = sum(task.units(example, task.target(example)) for example in teachable.examples)
    assert loss.units in (units, len(teachable.examples))
    assert abs(loss.total.item()) < 1e-4
    still = _gradient(model, batch, Lesson(list(range(8)), [soft], 1.0, temperature))
    other = Model(load_encoder(str(tiny_encoder)), {"it": teachable.task()}).eval()
    _, elsewhere = _soft(other, teachable.examples, list(range(8)), temperature)
    lesson = Lesson(list(range(8)), [elsewhere], 1.0, temperature)
    assert float(model.loss(batch, {"it": Targets([], [])}, {"it": lesson})["it"].total) > 0.01
    moved = _gradient(model, batch, lesson)
    assert still < 1e-3 * moved


def test_the_student_of_a_perfect_teacher_is_perfect(teachable: Case, model: Model, tiny_encoder: Path) -> None:
    """The teacher has overfitted the eight examples; the student, of other random weights, sees no gold."""
    torch.manual_seed(13)
    student = Model(load_encoder(str(tiny_encoder)), {"it": teachable.task()})
    student.encoder.set_dropout(0.0)
    rows = list(range(8))
    batch, soft = _soft(model, teachable.examples, rows, 1.0)
    optimizer = torch.optim.Adam(student.parameters(), lr=4e-3)
    student.train()
    for _ in range(100):
        optimizer.zero_grad()
        total, units = student.loss(batch, {"it": Targets([], [])}, {"it": Lesson(rows, [soft], 1.0, 1.0)})["it"]
        (total / units).backward()
        optimizer.step()
    task = model.tasks["it"]
    predicted = [prediction.value for prediction in _answers(student.eval(), teachable.examples)]
    assert task.score(teachable.examples, predicted)[task.metric] == pytest.approx(1.0, abs=0.01)


def test_soft_labels_do_not_depend_on_gold_or_neighbours(teachable: Case, model: Model) -> None:
    _, whole = _soft(model, teachable.examples, list(range(8)), 2.0)
    bare = [replace(example, layers={}) for example in teachable.examples]
    for row in (0, 5):
        _, (alone,) = _soft(model, bare[row : row + 1], [0], 2.0)
        _, (among,) = _soft(model, bare, [row], 2.0)
        for one in (alone, among):
            assert len(one) == len(whole[row])
            for a, b in zip(one, whole[row], strict=True):
                assert a.shape == b.shape
                assert a.dtype == b.dtype
                assert a == pytest.approx(b, abs=1e-4, nan_ok=True)


def test_gold_and_teachers_count_by_their_shares(teachable: Case, tiny_encoder: Path) -> None:
    """In evaluation mode, so that nothing is dropped; two teachers count half each."""
    torch.manual_seed(17)
    model, one, two = (Model(load_encoder(str(tiny_encoder)), {"it": teachable.task()}).eval() for _ in range(3))
    batch, gold = _batch(model, teachable.examples, model.tasks["it"])
    rows = [1, 2, 6]
    softs = [_soft(teacher, teachable.examples, rows, 2.0)[1] for teacher in (one, two)]

    def loss(share: float, softs: list[Any], scale: float = 1.0) -> float:
        lesson = Lesson(rows, softs, share, 2.0, scale)
        return float(model.loss(batch, {"it": gold}, {"it": lesson})["it"].total)

    alone = float(model.loss(batch, {"it": gold})["it"].total)
    taught = [loss(1.0, [soft]) for soft in softs]
    assert loss(0.3, softs[:1]) == pytest.approx(0.7 * alone + 0.3 * taught[0], rel=1e-4)
    assert loss(0.3, softs, 5.0) == pytest.approx(0.7 * alone + 0.3 * 5 * sum(taught) / 2, rel=1e-4)


@pytest.mark.parametrize("type_name", TYPES)
def test_nothing_to_learn_from_is_an_error_that_names_the_task(type_name: str) -> None:
    layer = {"layer": "any"} if TYPES[type_name].annotates else {}
    made = make_task("it", {"type": type_name, "data": "d", **layer})
    with pytest.raises(PolyheadError, match=r"tasks\.it"):
        made.prepare([])
