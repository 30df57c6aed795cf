"""Heads that go on from others: what stands for a label goes with its name, whatever its place."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import own_task
import pytest
import torch
from torch import Tensor

from polyhead.inherit import MisfitError, inherit
from polyhead.nn.encoder import Encoder
from polyhead.tasks import TYPES, Head, Task, make_task

ENCODER = cast(Encoder, SimpleNamespace(width=6))
KNOWN = ["a", "b", "c", "d"]

CASES: dict[str, dict[str, Any]] = {
    "classification": {"layer": "x"},
    "classification of several": {"layer": "x", "several": True},
    "tagging": {"layer": "x"},
    "ner": {"layer": "x"},
    "ner with crf": {"layer": "x", "crf": True},
    "parsing": {"arc_size": 5, "relation_size": 3},
    "lemmatization": {},
}


def make(case: str, labels: list[str], seed: int = 0) -> Head:
    """A head of this type whose task has learnt these labels; every weight is random."""
    task = make_task("it", {"type": case.split()[0], "data": "d", **CASES[case]})
    setattr(task, task.inventory, list(labels))
    torch.manual_seed(seed)
    head = task.head(ENCODER)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


def slices(head: Head) -> dict[tuple[object, ...], Tensor]:
    """The part of each parameter that stands for a combination of labels, found one at a time, by name and labels."""
    found: dict[tuple[object, ...], Tensor] = {}
    for name, tensor in head.state_dict().items():
        axes = sorted(head.label_axes().get(name, {}).items())
        for labels in product(*(names for _, names in axes)):
            part = tensor
            for (axis, names), label in zip(axes, labels, strict=True):
                stretch = tensor.shape[axis] // len(names)
                part = part.narrow(axis, names.index(label) * stretch, stretch)
            found[name, *labels] = part.clone()
    return found


def test_every_type_with_labels_has_a_case() -> None:
    assert {case.split()[0] for case in CASES} == {name for name, cls in TYPES.items() if cls.inventory}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "labels", [KNOWN, ["a", "b", "bb", "c", "d", "e"], ["d", "a"], ["d", "c", "b", "a"], ["z", "c"], ["y", "z"]]
)
def test_each_shared_label_keeps_its_weights_and_each_new_one_its_own(case: str, labels: list[str]) -> None:
    earlier, head = make(case, KNOWN), make(case, labels, seed=1)
    before, known = slices(head), slices(earlier)
    inherit(head, earlier)
    for key, value in slices(head).items():
        assert torch.equal(value, known.get(key, before[key])), key
    taken = [key for key in before if key in known]
    assert bool(taken) == (bool(set(labels) & set(KNOWN)) or case.startswith(("parsing", "ner")))


@pytest.mark.parametrize("case", CASES)
def test_the_slices_are_those_that_labels_are_chosen_by(case: str) -> None:
    """Were an axis missing from ``label_axes``, its size would not depend on the labels."""
    small, large = make(case, KNOWN), make(case, [*KNOWN, "e"])
    sizes = {name: tensor.shape for name, tensor in small.state_dict().items()}
    grown = {
        (name, axis)
        for name, tensor in large.state_dict().items()
        for axis, (one, other) in enumerate(zip(tensor.shape, sizes[name], strict=True))
        if one != other
    }
    assert grown == {(name, axis) for name, axes in large.label_axes().items() for axis in axes}


def test_numbers_are_taken_whole() -> None:
    tasks = [make_task("it", {"type": "regression", "data": "d", "layer": "x"}) for _ in range(2)]
    earlier, head = (task.head(ENCODER) for task in tasks)
    inherit(head, earlier)
    assert all(torch.equal(value, earlier.state_dict()[name]) for name, value in head.state_dict().items())


def test_a_head_that_says_nothing_of_labels_needs_equal_shapes() -> None:
    earlier = own_task.LoudnessHead(6, ["a", "b"], 1.0)
    alike, other = own_task.LoudnessHead(6, ["b", "c"], 1.0), own_task.LoudnessHead(6, ["a", "b", "c"], 1.0)
    inherit(alike, earlier)
    assert torch.equal(alike.linear.weight, earlier.linear.weight)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(MisfitError, match=r"'linear.weight' is of shape \(3, 6\), the run's of shape \(2, 6\)"):
        inherit(other, earlier)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_a_head_of_another_shape_is_refused_before_anything_changes() -> None:
    earlier, other = make("ner", KNOWN), make("ner with crf", KNOWN, seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(MisfitError, match=r"it has a parameter 'crf.soft_first', the run's has none"):
        inherit(other, earlier)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    narrow = make_task("it", {"type": "parsing", "data": "d", "arc_size": 4, "relation_size": 3})
    narrow.relations = KNOWN  # type: ignore[attr-defined]
    with pytest.raises(MisfitError, match="of shape"):
        inherit(narrow.head(ENCODER), make("parsing", KNOWN))


def test_label_axes_that_cannot_be_are_told() -> None:
    earlier, head = make("tagging", KNOWN), make("tagging", KNOWN, seed=1)
    cast(Any, head).labels = KNOWN[:3]
    with pytest.raises(MisfitError, match=r"label_axes gives 3 labels for 4 weights of 'classify\.linear"):
        inherit(head, earlier)


@pytest.mark.parametrize("name", [name for name, cls in TYPES.items() if cls.inventory])
def test_earlier_labels_stay_known(name: str) -> None:
    """``prepare`` joins the labels of the data with those of an earlier task."""
    from test_contract import CASES as CONTRACT

    case = CONTRACT[name]
    alone = case.task()
    layer, settings = case.layer, dict(case.settings)
    earlier, task = (make_task("it", {"type": name, "data": "d", "layer": layer, **settings}) for _ in range(2))
    setattr(earlier, earlier.inventory, ["~ an earlier one", alone.known_labels()[0]])
    task.earlier = earlier  # type: ignore[misc]
    task.prepare(case.examples)
    assert task.known_labels() == sorted({*alone.known_labels(), "~ an earlier one"})
    assert "earlier" not in task.to_dict()


def test_a_kept_number_keeps_its_scale() -> None:
    from test_contract import CASES as CONTRACT

    case = CONTRACT["regression"]
    earlier: Any = case.task()
    earlier.mean, earlier.spread = 50.0, 10.0
    task: Task = make_task("it", {"type": "regression", "data": "d", "layer": "stars"})
    task.earlier = earlier  # type: ignore[misc]
    task.prepare(case.examples)
    assert task.target(case.examples[0]) == pytest.approx((0.5 - 50) / 10)
