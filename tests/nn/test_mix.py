"""The learnt mix of layers, against sums written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polyhead.data.example import Example, WordLabels
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.loading import load_encoder
from polyhead.nn.mix import LayerMix
from polyhead.nn.precision import Precision
from polyhead.tasks import make_task

TEXTS = [
    Example(words=("The", "cat", "sat")),
    Example(words=tuple(f"word{i}" for i in range(40))),  # several windows
    Example(words=("No",)),
]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> Encoder:
    return load_encoder(str(tiny_encoder)).eval().requires_grad_(False)


@pytest.fixture
def encoding(encoder: Encoder) -> Encoding:
    made: Encoding = encoder(encoder.collate(encoder.tokenise(TEXTS)), all_layers=True)
    return made


@pytest.fixture
def mix(encoder: Encoder) -> LayerMix:
    made = LayerMix(encoder.depth)
    torch.manual_seed(1)
    with torch.no_grad():
        made.shares.normal_()
        made.factor.fill_(1.7)
    return made


def test_it_starts_as_the_mean() -> None:
    layers = torch.randn(3, 4, 5)
    torch.testing.assert_close(LayerMix(3)(layers), layers.mean(0))


def test_it_is_a_weighted_sum(mix: LayerMix) -> None:
    layers = torch.randn(3, 4, 5)
    weights = mix.shares.softmax(0) * 1.7
    torch.testing.assert_close(mix(layers), sum(w * layer for w, layer in zip(weights, layers, strict=True)))
    assert weights.sum().item() == pytest.approx(1.7)


def test_all_layers_are_those_of_transformers(encoder: Encoder, encoding: Encoding) -> None:
    batch = encoding.batch
    embedded = encoder.transformer.get_input_embeddings()(batch.ids)  # type: ignore[operator]
    given = encoder.transformer(inputs_embeds=embedded, attention_mask=batch.mask, output_hidden_states=True)
    assert len(encoding.layers) == encoder.depth == len(given.hidden_states)
    for ours, theirs in zip(encoding.layers, given.hidden_states, strict=True):
        torch.testing.assert_close(ours[batch.mask], theirs[batch.mask])


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0], [1]])
def test_every_view_mixes(encoding: Encoding, mix: LayerMix, chosen: list[int]) -> None:
    found = encoding.select(chosen, mix)
    plain = [Encoding([layer], encoding.batch).select(chosen) for layer in encoding.layers]
    torch.testing.assert_close(found.flat_words, mix(torch.stack([one.flat_words for one in plain])))
    torch.testing.assert_close(found.sentence, mix(torch.stack([one.sentence for one in plain])))
    torch.testing.assert_close(found.words, mix(torch.stack([one.words for one in plain])))
    torch.testing.assert_close(found.hidden, mix(torch.stack(list(encoding.layers))))


def test_a_mix_of_one_layer_alone_is_that_layer(encoding: Encoding, mix: LayerMix) -> None:
    with torch.no_grad():
        mix.shares.copy_(torch.tensor([-1e4] * (len(mix.shares) - 1) + [0.0]))
        mix.factor.fill_(1.0)
    torch.testing.assert_close(encoding.select([1, 2], mix).flat_words, encoding.select([1, 2]).flat_words)


def test_gradients_reach_every_layer_and_the_shares(tiny_encoder: Path, mix: LayerMix) -> None:
    encoder = load_encoder(str(tiny_encoder)).eval()
    encoding = encoder(encoder.collate(encoder.tokenise(TEXTS)), all_layers=True)
    encoding.select([0, 1], mix).flat_words.square().sum().backward()
    assert mix.shares.grad is not None and mix.shares.grad.abs().min() > 0
    assert mix.factor.grad is not None and mix.factor.grad != 0
    for name, weight in encoder.named_parameters():
        if "layer." in name and name.endswith("weight"):
            assert weight.grad is not None and weight.grad.any(), name


def test_parts_of_a_mixed_encoding_are_mixed(encoding: Encoding, mix: LayerMix) -> None:
    mixed = encoding.select([2, 1], mix)
    torch.testing.assert_close(mixed.select([1]).flat_words, encoding.select([1], mix).flat_words)
    torch.testing.assert_close(mixed.select([1]).sentence, encoding.select([1], mix).sentence)
    part = encoding.select([2, 1])
    torch.testing.assert_close(part.select([0], mix).flat_words, encoding.select([2], mix).flat_words)
    torch.testing.assert_close(part.select([0], mix).sentence, encoding.select([2], mix).sentence)


def test_layers_that_do_not_fit_together_are_an_error(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder)).eval()
    encoder.transformer.config.num_hidden_layers = 7  # type: ignore[union-attr]
    with pytest.raises(PolyheadError, match="cannot be mixed") as caught:
        encoder(encoder.collate(encoder.tokenise(TEXTS)), all_layers=True)
    assert "encoder_layers" in caught.value.remedy


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_reads_what_its_tasks_say(tiny_encoder: Path, precision: Precision) -> None:
    """In a whole model: the shares learn, the answers depend on them, and a task that reads the last layer has none."""
    torch.manual_seed(0)
    tasks = {}
    for name, settings in {"mixed": {}, "last": {"encoder_layers": "last"}}.items():
        tasks[name] = make_task(name, {"type": "tagging", "data": "d", "layer": "upos", **settings})
        tasks[name].prepare([Example(words=("a", "b"), layers={"upos": WordLabels(("X", "Y"))})])
    model = Model(load_encoder(str(tiny_encoder)), tasks).eval()
    model.precision = precision
    batch = model.encoder.collate(model.encoder.tokenise(TEXTS))
    gold = Targets([0, 2], [np.zeros(3, dtype=np.int64), np.zeros(1, dtype=np.int64)])
    losses = model.loss(batch, {"mixed": gold, "last": gold})
    sum(loss.total for loss in losses.values()).backward()  # type: ignore[union-attr]
    mix = model.mix("mixed")
    assert mix is not None and mix.shares.grad is not None and mix.shares.grad.any()
    assert model.mix("last") is None
    before = model.predict(batch, {"mixed": [0], "last": [0]})
    with torch.no_grad():
        mix.shares[0] += 5.0
    after = model.predict(batch, {"mixed": [0], "last": [0]})
    assert after["mixed"] != before["mixed"]
    assert after["last"] == before["last"]
