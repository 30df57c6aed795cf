"""Temperatures: found where they are known, without effect on answers, kept with the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import SENTENCES, cells
from polyhead.calibration import (
    GRID,
    answers_at,
    best_temperature,
    calibrate,
    keep_temperature,
    sureness,
    surprise,
)
from polyhead.data.bio import to_spans
from polyhead.data.example import Example, Labels, Tree, Value, WordLabels
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets, load_model
from polyhead.nn.loading import load_encoder
from polyhead.nn.tempered import surprises
from polyhead.scoring import Gold
from polyhead.tasks import make_task

pytestmark = pytest.mark.usefixtures("one_thread")

TYPES = {
    "sentiment": {"type": "classification"},
    "topics": {"type": "classification", "several": True},
    "stars": {"type": "regression"},
    "upos": {"type": "tagging"},
    "lemma": {"type": "lemmatization"},
    "entities": {"type": "ner"},
    "names": {"type": "ner", "crf": True, "layer": "entities"},
    "tree": {"type": "parsing", "arc_size": 8, "relation_size": 4},
}


def examples() -> list[Example]:
    out = []
    for number, (sentence, sentiment) in enumerate(SENTENCES):
        columns = list(zip(*cells(sentence), strict=True))
        layers: dict[str, Value] = {
            "sentiment": sentiment,
            "topics": Labels(topic for topic in ("cat", "Ann") if topic in columns[1]),
            "stars": number % 5 + 0.5,
            "upos": WordLabels(tag if i or number % 2 else None for i, tag in enumerate(columns[2])),
            "lemma": WordLabels(columns[1]),
            "entities": to_spans(columns[5], "IOB2"),
            "tree": Tree(tuple(map(int, columns[3])), columns[4]),
        }
        out.append(Example(words=columns[0], layers=layers))
    return out


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> Model:
    torch.manual_seed(0)
    tasks = {}
    for name, table in TYPES.items():
        tasks[name] = make_task(name, {"layer": name, **table, "data": "d"})
        tasks[name].prepare(examples())
    return Model(load_encoder(str(tiny_encoder)), tasks).eval()


@pytest.fixture
def gold(model: Model) -> Gold:
    return Gold(examples(), model.encoder.tokenise(examples()))


def test_the_temperature_of_known_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4000, 5)) * 2)
    gold = torch.distributions.Categorical(logits=logits).sample()
    for scale in (0.4, 1.0, 3.0):
        losses = surprises(scale * logits, gold, [1] * len(gold), GRID.tolist()).numpy()
        assert best_temperature(losses) == pytest.approx(scale, rel=0.06)


def test_few_examples_do_not_make_it_wild() -> None:
    right = surprises(torch.tensor([[3.0, 0.0]] * 5), torch.zeros(5, dtype=torch.long), [1] * 5, GRID.tolist()).numpy()
    assert 0.5 < best_temperature(right) < 1, "five right answers are no reason to be as sure as can be"


@pytest.mark.parametrize("name", TYPES)
def test_surprise_at_one_is_the_loss(model: Model, gold: Gold, name: str) -> None:
    found, units = surprise(model, name, gold)
    targets = [model.tasks[name].target(example) for example in gold.examples]
    batch = model.encoder.collate(gold.items)
    with torch.no_grad():
        total, count = model.loss(batch, {name: Targets(list(range(len(targets))), targets)})[name]
    at_one = sum(np.interp(0.0, np.log(GRID), row) for row in found)
    if name in ("stars", "names"):  # their losses are of another form: no constant, whole sequences
        assert np.isfinite(at_one)
    else:
        assert at_one == pytest.approx(float(total), rel=1e-3)
    assert units.sum() >= count


@pytest.mark.parametrize("name", TYPES)
def test_a_temperature_changes_confidences_and_no_answer(model: Model, gold: Gold, name: str) -> None:
    cold, plain, hot = (answers_at(model, name, gold, one) for one in (0.5, 1.0, 4.0))
    assert model.head(name).temperature == 1
    assert [one.value for one in cold] == [one.value for one in plain] == [one.value for one in hot]

    def mean(answers: list) -> float:  # type: ignore[type-arg]
        flat = [
            c for one in answers for c in (one.confidence if isinstance(one.confidence, tuple) else [one.confidence])
        ]
        return float(np.mean(flat)) if flat else 0.0

    if mean(plain):
        assert mean(cold) > mean(plain) > mean(hot)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_calibrated(model: Model, gold: Gold, name: str) -> None:
    apart = calibrate(model, name, gold, gold, "test")
    crossed = calibrate(model, name, gold, None, "dev")
    if apart is None or crossed is None:
        assert name in ("entities", "names"), "without a span there is no confidence"
        return
    assert apart.temperature == crossed.temperature and crossed.crossed and not apart.crossed
    assert apart.after.nll <= apart.before.nll + 1e-6, "it was found on these"
    assert 0 <= apart.after.ece <= 1 and 0 <= apart.after.brier <= 1


@pytest.mark.parametrize("name", [name for name in TYPES if name != "stars"])
def test_probabilities_sum_to_one_and_name_what_is_answered(model: Model, gold: Gold, name: str) -> None:
    task, head = model.tasks[name], model.head(name)
    targets = [task.target(example) for example in gold.examples]
    encoding = model.encoding(model.encoder.collate(gold.items), name, range(len(gold.items)))
    with torch.inference_mode():
        found = head.chances(encoding, targets)
    for example, target, each in zip(gold.examples, targets, found, strict=True):
        assert each.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        marks = task.marks(target)
        assert len(marks) == len(each)
        for unit, mark in enumerate(marks.tolist()):
            if mark >= 0:
                assert isinstance(task.reading(example, unit, mark), str)
    if name == "upos":
        best = [task.choices()[row.argmax()] for each in found for row in each]
        given = [label for one in answers_at(model, name, gold, 1.0) for label in one.value]  # type: ignore[union-attr]
        assert best == given
    if name == "lemma":
        example = gold.examples[0]
        assert [task.reading(example, i, m) for i, m in enumerate(task.marks(targets[0]))] == list(
            example.layers["lemma"]  # type: ignore[arg-type]
        )


def test_figures_are_what_they_are_defined_as() -> None:
    found = sureness(np.array([0.95, 0.95, 0.55, 0.15]), np.array([1.0, 0.0, 1.0, 0.0]), 0.7)
    assert found.bins == [(1, 0.15, 0.0), (1, 0.55, 1.0), (2, 0.95, 0.5)]
    assert found.ece == pytest.approx((0.15 + 0.45 + 2 * 0.45) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.45**2 + 0.15**2) / 4)


def test_it_is_saved_and_loaded_with_the_model(model: Model, gold: Gold, tmp_path: Path) -> None:
    place = tmp_path / "model"
    model.head("upos").temperature = 2.5
    try:
        model.save(place)
    finally:
        model.head("upos").temperature = 1.0
    again = load_model(place)
    assert again.head("upos").temperature == 2.5 and again.head("sentiment").temperature == 1
    keep_temperature(place, "sentiment", 0.75)
    again = load_model(place)
    assert (again.head("upos").temperature, again.head("sentiment").temperature) == (2.5, 0.75)
    before = (place / "config.json").read_bytes()
    keep_temperature(place, "sentiment", 0.75)
    assert (place / "config.json").read_bytes() == before
    for wrong in (0, -1, "warm", None, True, 1e9):
        config = json.loads(before)
        config["temperatures"] = {"upos": wrong}
        (place / "config.json").write_text(json.dumps(config))
        with pytest.raises(PolyheadError, match="temperature of 'upos'"):
            load_model(place)
