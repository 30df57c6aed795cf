"""What is special about classification and regression."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from polyhead.data.example import Example, Labels
from polyhead.errors import PolyheadError
from polyhead.nn.encoder import Encoding
from polyhead.tasks.classification import Classification, ClassificationHead
from polyhead.tasks.regression import Regression, RegressionHead


class Given(Encoding):
    """An encoding whose texts' vectors are given."""

    empty = ()

    def __init__(self, sentence: Tensor) -> None:
        self.sentence = sentence
        self.texts = [()] * len(sentence)
        self.counts = [0] * len(sentence)


def text(**layers: object) -> Example:
    return Example(text="a", layers=layers, file="x.tsv", line=3)  # type: ignore[arg-type]


def identity(head: ClassificationHead) -> ClassificationHead:
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(len(head.labels)))
        head.linear.bias.zero_()
    return head.eval()


def test_labels_that_a_small_training_split_lacks_can_be_told() -> None:
    given = {"name": "it", "data": "d", "layer": "mood", "more_labels": ["mixed", "good"]}
    task = Classification(**given)  # type: ignore[arg-type]
    task.prepare([text(mood="good"), text(mood="good")])
    assert task.labels == ["good", "mixed"], "one label in the data is enough where another is told"
    assert task.check([text(mood="mixed")], "test") == []
    with pytest.raises(PolyheadError, match="'bad'"):
        task.check([text(mood="bad")], "test")
    with pytest.raises(PolyheadError, match=r"tasks\.it\.more_labels = .* has no labels"):
        Regression(**given)  # type: ignore[arg-type]


def test_one_label_and_its_probability() -> None:
    head = identity(ClassificationHead(3, ["a", "b", "c"], several=False, dropout=0.0))
    first, second = head.predict(Given(torch.tensor([[0.0, 2.0, 1.0], [0.5, 0.0, 0.0]])))
    assert (first.value, second.value) == ("b", "a")
    assert first.confidence == pytest.approx(math.exp(2) / (1 + math.exp(2) + math.exp(1)))


def test_several_labels_are_those_above_one_half() -> None:
    head = identity(ClassificationHead(3, ["a", "b", "c"], several=True, dropout=0.0))
    first, second = head.predict(Given(torch.tensor([[1.0, -2.0, 0.5], [-1.0, -1.0, -1.0]])))
    assert first.value == Labels(["a", "c"]) and second.value == Labels()
    chance = 1.0
    for logit in (1.0, 2.0, 0.5):
        chance *= 1 / (1 + math.exp(-logit))
    assert first.confidence == pytest.approx(chance)


def test_losses_equal_their_definitions() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.0, 0.5]])
    one = identity(ClassificationHead(3, ["a", "b", "c"], several=False, dropout=0.0))
    expected = -sum(float(row.log_softmax(0)[gold]) for row, gold in zip(logits, (2, 1), strict=True))
    assert one.loss(Given(logits), [2, 1]).total.item() == pytest.approx(expected)
    several = identity(ClassificationHead(3, ["a", "b", "c"], several=True, dropout=0.0))
    gold = [np.asarray([1, 0, 1], np.float32), np.asarray([0, 0, 0], np.float32)]
    expected = 0.0
    for row, wanted in zip(logits.sigmoid().tolist(), gold, strict=True):
        expected -= sum(math.log(p if w else 1 - p) for p, w in zip(row, wanted, strict=True))
    found = several.loss(Given(logits), gold)
    assert found.total.item() == pytest.approx(expected, rel=1e-5) and found.units == 2


def test_labels_are_sorted_and_a_text_may_have_none() -> None:
    task = Classification(name="it", data="d", layer="t", several=True)
    task.prepare([text(t=Labels(["b", "a"])), text(t=Labels())])
    assert task.labels == ["a", "b"] and task.kind is Labels and task.metric == "micro_f1"
    assert task.target(text(t=Labels())).tolist() == [0, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize("several", [False, True])
def test_a_label_of_dev_alone_names_its_place(several: bool) -> None:
    task = Classification(name="it", data="d", layer="t", several=several)
    task.prepare([text(t=Labels(["good", "bad"]) if several else label) for label in ("good", "bad")])
    with pytest.raises(PolyheadError, match=r"x\.tsv:3: .*'god'.*dev split.*\n.*bad, good"):
        task.check([text(), text(t=Labels(["god"]) if several else "god")], "dev")


def test_one_label_alone_cannot_be_learnt() -> None:
    with pytest.raises(PolyheadError, match=r"only \['good'\]"):
        Classification(name="it", data="d", layer="t").prepare([text(t="good"), text(t="good")])


def test_numbers_are_learnt_in_spreads_from_the_mean() -> None:
    task = Regression(name="it", data="d", layer="n")
    task.prepare([text(n=1.0), text(n=3.0), text(n=5.0)])
    assert (task.mean, task.spread) == (3.0, pytest.approx(math.sqrt(8 / 3)))
    assert task.target(text(n=3.0)) == 0
    assert task.target(text(n=3.0 + task.spread)) == pytest.approx(1)
    with pytest.raises(PolyheadError, match="no two different numbers"):
        task.prepare([text(n=2.0), text(n=2.0)])


def regressor(number: float, log_variance: float) -> RegressionHead:
    head = RegressionHead(2, mean=10.0, spread=4.0, dropout=0.0).eval()
    with torch.no_grad():
        for layer, bias in ((head.number, number), (head.doubt, log_variance)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
    return head


@pytest.mark.parametrize(("log_variance", "chance"), [(0.0, 0.3829), (-2.0, 0.8257), (4.0, 0.0529)])
def test_the_number_and_the_chance_to_be_within_half_a_spread(log_variance: float, chance: float) -> None:
    """The chance that a normal variable of this variance lies within 0.5 of its mean."""
    (prediction,) = regressor(0.5, log_variance).predict(Given(torch.zeros(1, 2)))
    assert prediction.value == pytest.approx(12.0)
    deviation = math.exp(log_variance / 2)
    normal = (1 + math.erf(0.5 / deviation / math.sqrt(2))) / 2
    assert prediction.confidence == pytest.approx(2 * normal - 1, abs=1e-6) == pytest.approx(chance, abs=2e-2)


def test_a_number_has_the_digits_that_were_computed() -> None:
    (prediction,) = regressor(0.1, 0.0).predict(Given(torch.zeros(1, 2)))
    assert repr(prediction.value) == "10.4"  # not 10.399999618530273


@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
def test_extreme_doubt_is_still_a_probability(log_variance: float) -> None:
    (prediction,) = regressor(0.0, log_variance).predict(Given(torch.zeros(1, 2)))
    assert isinstance(prediction.confidence, float) and 0 <= prediction.confidence <= 1


def test_doubt_learns_the_size_of_errors_and_does_not_pull_on_the_number() -> None:
    head = regressor(0.0, 0.0).train()
    sentence = torch.randn(6, 2, requires_grad=True)
    targets = [2.0, -2.0, 2.0, -2.0, 2.0, -2.0]
    optimizer = torch.optim.Adam([*head.doubt.parameters()], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(Given(torch.zeros(6, 2)), targets).total.backward()
        optimizer.step()
    assert float(head.doubt.bias.detach()) == pytest.approx(math.log(4.0), abs=0.05)
    (with_doubt,) = torch.autograd.grad(head.loss(Given(sentence), targets).total, head.number.weight)
    number = head.number(sentence)[:, 0]
    (without,) = torch.autograd.grad((number - torch.tensor(targets)).square().sum(), head.number.weight)
    torch.testing.assert_close(with_doubt, without)


@pytest.mark.parametrize(("field", "value"), [("weight", -1.0), ("dropout", 1.0), ("dropout", -0.1)])
def test_settings_out_of_range(field: str, value: float) -> None:
    with pytest.raises(PolyheadError, match=rf"tasks\.it\.{field} = {value}"):
        Regression(name="it", data="d", layer="n", **{field: value})


def test_a_layer_is_needed_where_none_goes_without_saying(tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match=r"tasks\.it has no layer.*\n.*layer = "):
        Regression(name="it", data="d")
