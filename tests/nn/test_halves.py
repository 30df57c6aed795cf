"""A transformer from its middle on gives what the whole gives, in every family; where it cannot, that is noticed."""

from __future__ import annotations

from pathlib import Path

import families
import pytest
import torch
from torch import Tensor

from polyhead.data.example import Example
from polyhead.nn.encoder import Encoder
from polyhead.nn.halves import STATES, Halves
from polyhead.nn.loading import load_encoder

TEXTS = [
    Example(words=("The", "cat", "sat", ".")),
    Example(text="see the cats"),
    Example(words=tuple("abcdefgh" * 9)),  # several windows
    Example(text="a good cat", pair="a bad one"),
]
NEEDS_MORE = {"t5"}
"""Its first layer computes the position biases of all."""


def load(family: str, folder: Path) -> Encoder:
    encoder = load_encoder(str(families.build(family, folder)))
    encoder.set_dropout(0.0)
    return encoder.eval()


@pytest.fixture(params=[*families.FAMILIES, *families.ENCODER_DECODERS])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    made = load(request.param, tmp_path)
    made.requires_grad_(False)
    return made


def test_both_halves_are_the_whole(encoder: Encoder) -> None:
    batch = encoder.collate(encoder.tokenise(TEXTS))
    inputs = encoder.inputs(batch)
    halves = Halves(encoder.transformer, list(encoder.layers), 1)
    fits = halves.fit(inputs, batch.mask, lambda: encoder.run(inputs, all_layers=True))
    assert fits == (encoder.transformer.config.model_type not in NEEDS_MORE)
    whole = encoder.run(inputs, all_layers=True)  # the try has left nothing behind
    assert len(whole) == 3
    if fits:
        below = halves.below(inputs)
        above = halves.above({**inputs, STATES: below[-1]}, all_layers=True)
        for one, other in zip([*below, *above], whole, strict=True):
            torch.testing.assert_close(one[batch.mask], other[batch.mask])


def test_a_half_runs_only_its_own_layers(tmp_path: Path) -> None:
    encoder = load("bert", tmp_path)
    inputs = encoder.inputs(encoder.collate(encoder.tokenise(TEXTS)))
    halves = Halves(encoder.transformer, list(encoder.layers), 1)
    ran: list[int] = []
    for number, layer in enumerate(encoder.layers):
        layer.attention.register_forward_hook(lambda *_, number=number: ran.append(number))
    below = halves.below(inputs)
    assert ran == [0] and len(below) == 2
    halves.above({**inputs, STATES: below[-1]})
    assert ran == [0, 1]


def test_gradients_go_through_the_upper_half_alone(tmp_path: Path) -> None:
    encoder = load("roberta", tmp_path)
    encoder.freeze(1)
    inputs = encoder.inputs(encoder.collate(encoder.tokenise(TEXTS)))
    halves = Halves(encoder.transformer, list(encoder.layers), 1)

    def gradients(last: Tensor) -> dict[str, Tensor]:
        encoder.zero_grad()
        last.square().sum().backward()
        return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}

    expected = gradients(encoder.run(inputs, all_layers=False)[-1])
    with torch.no_grad():
        states = halves.below(inputs)[-1]
    found = gradients(halves.above({**inputs, STATES: states})[-1])
    assert found.keys() == expected.keys() and expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_a_half_that_ignores_what_it_is_given_does_not_fit(tmp_path: Path) -> None:
    encoder = load("bert", tmp_path)
    inputs = encoder.inputs(encoder.collate(encoder.tokenise(TEXTS)))
    halves = Halves(encoder.transformer, list(encoder.layers), 1)
    other = load("bert", tmp_path / "other")
    with torch.no_grad():
        other.layers[1].output.dense.weight.mul_(1.01)
        assert not halves.fit(inputs, None, lambda: other.run(inputs, all_layers=False))
        assert not halves.fit(inputs, None, lambda: encoder.run(inputs, all_layers=True)[:2])
        assert halves.fit(inputs, None, lambda: encoder.run(inputs, all_layers=False))
