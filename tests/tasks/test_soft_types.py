"""Soft labels of the types whose loss is more than one softmax, against slow references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from conftest import SENTENCES, cells
from polyhead.data.example import Example, Labels, Tree, Value, WordLabels
from polyhead.model import Lesson, Model, Question, Targets
from polyhead.nn.loading import load_encoder
from polyhead.tasks import Task, make_task


def _examples(stretch: float = 1.0) -> list[Example]:
    out = []
    for number, (sentence, _) in enumerate(SENTENCES):
        columns = list(zip(*cells(sentence), strict=True))
        layers = {
            "stars": stretch * (number % 5 + 0.5),
            "tree": Tree(tuple(map(int, columns[3])), columns[4]),
            "upos": WordLabels(columns[2]),
            "topics": Labels(topic for topic in ("cat", "Ann", "in") if topic in columns[1]),
        }
        out.append(Example(words=columns[0], layers=layers))
    return out


def _model(encoder: Path, examples: list[Example], seed: int, **table: Any) -> Model:
    task: Task = make_task("it", {"data": "d", **table})
    task.prepare(examples)
    torch.manual_seed(seed)
    return Model(load_encoder(str(encoder)), {"it": task}).eval()


def _both(teacher: Model, student: Model, examples: list[Example], temperature: float) -> tuple[Any, list[Any], float]:
    """The batch, the teacher's soft labels for it, and the student's loss."""
    batch = student.encoder.collate(student.encoder.tokenise(examples))
    rows = list(range(len(examples)))
    asked = {"it": Question("it", rows, student.tasks["it"].choices())}
    soft = teacher.soft(batch, asked, temperature)["it"]
    loss = student.loss(batch, {"it": Targets([], [])}, {"it": Lesson(rows, [soft], 1.0, temperature)})["it"]
    return batch, soft, loss.total.item()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_parser_learns_heads_and_the_relations_of_the_heads_that_the_teacher_likes_best(
    tiny_encoder: Path, temperature: float
) -> None:
    examples = _examples()
    table = {"type": "parsing", "arc_size": 8, "relation_size": 4}
    teacher, student = (_model(tiny_encoder, examples, seed, **table) for seed in (1, 2))
    batch, _, found = _both(teacher, student, examples, temperature)
    expected = 0.0
    with torch.no_grad():
        (arcs, dependents, heads), (ours, our_dependents, our_heads) = (_scores(m, batch) for m in (teacher, student))
        best = arcs.argmax(1)
        relations = _parser(teacher).labels(dependents, heads(best))
        our_relations = _parser(student).labels(our_dependents, our_heads(best))
    for left, right in ((arcs, ours), (relations, our_relations)):
        for p, q in zip(left.div(temperature).softmax(1), right.div(temperature).softmax(1), strict=True):
            expected += sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)
    assert found == pytest.approx(temperature**2 * expected, rel=1e-3)


def _parser(model: Model) -> Any:
    return model.head("it")


def _scores(model: Model, batch: Any) -> Any:
    return _parser(model)._score(model._encode(batch, ["it"]).select(range(8), model.mix("it")))


def test_a_number_is_learnt_in_the_unit_of_the_student(tiny_encoder: Path) -> None:
    """The teacher learnt from numbers a hundred times as large: their spread, not the numbers, is another."""
    teacher = _model(tiny_encoder, _examples(100.0), 1, type="regression", layer="stars")
    student = _model(tiny_encoder, _examples(), 2, type="regression", layer="stars")
    batch, soft, found = _both(teacher, student, _examples(), 1.0)
    values = [prediction.value for prediction in teacher.predict(batch, {"it": list(range(8))})["it"]]
    assert [float(one[0][0]) for one in soft] == pytest.approx(values, rel=1e-4)
    task, head = cast(Any, student.tasks["it"]), cast(Any, student.head("it"))
    expected = 0.0
    with torch.no_grad():
        sentence = student._encode(batch, ["it"]).sentence
        numbers, doubts = head.number(sentence)[:, 0], head.doubt(sentence)[:, 0]
    for (one,), number, doubt in zip(soft, numbers, doubts, strict=True):
        mean, deviation = (float(one[0]) - task.mean) / task.spread, math.exp(float(one[1]) / 2) / task.spread
        theirs = torch.distributions.Normal(mean, deviation)
        ours = torch.distributions.Normal(number, (doubt / 2).exp())
        expected += (number.item() - mean) ** 2 + torch.distributions.kl_divergence(theirs, ours).item()
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_teacher_may_have_other_labels_in_another_order(tiny_encoder: Path) -> None:
    """For words and for several labels of a text: what the student lacks is left out, what the teacher lacks is 0 or
    not learnt.
    """
    examples = _examples()
    others = [_with_others(example) for example in examples]
    for table in ({"type": "tagging", "layer": "upos"}, {"type": "classification", "layer": "topics", "several": True}):
        teacher, student = _model(tiny_encoder, others, 1, **table), _model(tiny_encoder, examples, 2, **table)
        theirs, ours = teacher.tasks["it"].choices(), student.tasks["it"].choices()
        (lacking,) = (ours.index(label) for label in set(ours) - set(theirs))
        assert set(theirs) - set(ours)
        _, soft, loss = _both(teacher, student, examples, 1.0)
        assert math.isfinite(loss)
        assert loss > 0
        if table["type"] == "tagging":
            for places, chance in soft:
                assert chance[:, :-1][places == lacking].max() == 0
                assert (chance.sum(1) < 1).all()
        else:
            assert all([math.isnan(number) for number in row].index(True) == lacking for (row,) in soft)
            assert all(sum(map(math.isnan, row.tolist())) == 1 for (row,) in soft)


def _with_others(example: Example) -> Example:
    """Another label in the place of one."""
    tags, topics = cast(WordLabels, example.layers["upos"]), cast(Labels, example.layers["topics"])
    changed: dict[str, Value] = {
        "upos": WordLabels("ZZZ" if tag == "DET" else tag for tag in tags),
        "topics": Labels("a new one" if topic == "cat" else topic for topic in topics),
    }
    return Example(words=example.words, layers=changed)
