"""BERT's family without transformers: the same vectors, in all layers; what is of another kind is left to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import families
import pytest
import torch
from safetensors.torch import load_file, save_file

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.data.example import Example
from polyhead.nn.bert import Bert, read_bert
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_encoder, load_saved_encoder
from polyhead.nn.packed import PackedLinear
from polyhead.nn.precision import Precision, autocast, choose_precision
from polyhead.nn.ready import make_ready

CPU = torch.device("cpu")
TEXTS = [
    Example(words=("The", "cat", "sat", ".")),
    Example(text="see the cats"),
    Example(words=tuple("abcdefgh" * 9)),  # several windows
    Example(text="a good cat", pair="a bad one"),
]
SAME = {"bert", "roberta", "xlm-roberta"}
"""Of the families those that are BERT's network."""


def both(folder: Path, name: str) -> tuple[Encoder, Encoder]:
    """An encoder as transformers computes it, and as polyhead does for prediction."""
    encoder = load_encoder(str(families.build(name, folder / "theirs")))
    if encoder.case is not None:
        torch.nn.init.normal_(encoder.case.weight)
    for weight in encoder.parameters():  # norms and biases that are not 1 and 0
        torch.nn.init.normal_(weight, std=0.3)
    encoder.save(folder / "saved")
    again = load_saved_encoder(folder / "saved", encoder.describe(), only_answers=True)
    if encoder.case is not None:
        assert again.case is not None
        again.case.load_state_dict(encoder.case.state_dict())
    return encoder.eval(), again.eval()


@pytest.mark.parametrize("family", sorted(SAME))
def test_all_layers_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, family)
    assert isinstance(ours.transformer, Bert)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    for texts in (TEXTS, TEXTS[:1], TEXTS[2:]):
        batch = theirs.collate(theirs.tokenise(texts))
        with torch.inference_mode():
            right, found = (encoder.run(encoder.inputs(batch), all_layers=True) for encoder in (theirs, ours))
        assert len(found) == len(right) == theirs.depth
        real = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
        for mine, layer in zip(found, right, strict=True):
            torch.testing.assert_close(mine[real], layer[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", sorted(SAME))
def test_a_text_that_holds_the_paddings_own_piece(family: str, tmp_path: Path) -> None:
    """RoBERTa's families do not count it as a position."""
    theirs, ours = both(tmp_path, family)
    padding = theirs.tokenizer.padding
    ids = torch.tensor([[5, 6, padding, 7, 8, 5], [5, padding, 6, 7, padding, padding]])
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    for seen in (mask, None):
        given = {"input_ids": ids} | ({} if seen is None else {"attention_mask": seen})
        with torch.inference_mode():
            right, found = (encoder.transformer(**given).last_hidden_state for encoder in (theirs, ours))
        real = mask if seen is not None else torch.ones_like(mask)
        torch.testing.assert_close(found[real], right[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_made_ready_it_is_as_near_as_transformers(precision: Precision, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, "bert")
    exact, _ = both(tmp_path, "bert")
    batch = theirs.collate(theirs.tokenise(TEXTS))
    for encoder in (theirs, ours):
        make_ready(encoder, precision)
    layer = ours.transformer.encoder.layer[0]  # type: ignore[union-attr, index]
    assert len(layer.joined) == (precision == "bf16")  # type: ignore[union-attr, arg-type]
    with torch.inference_mode():
        right = exact(batch).hidden
        with autocast(CPU, precision):
            far = [float((encoder(batch).hidden - right).norm() / right.norm()) for encoder in (theirs, ours)]
    assert far[1] < max(1e-5, 1.3 * far[0]), far


def test_a_fused_activation_is_the_exact_one() -> None:
    from polyhead.nn.packed import pack_linear

    layers = torch.nn.Sequential(torch.nn.Linear(8, 16)).bfloat16()
    pack_linear(layers)
    (layer,) = layers
    assert isinstance(layer, PackedLinear)
    x = torch.linspace(-4, 4, 40).view(5, 8).bfloat16()
    plain = torch.nn.functional.gelu(layer(x).float())
    layer.after = "gelu"
    with torch.inference_mode():
        torch.testing.assert_close(layer(x).float(), plain, rtol=0.02, atol=0.01)
    torch.testing.assert_close(layer(x).float(), plain, rtol=0.02, atol=0.01)  # where gradients are wanted, too


@pytest.mark.parametrize("family", sorted({*families.FAMILIES, *families.ENCODER_DECODERS} - SAME))
def test_other_networks_are_left_to_transformers(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build(family, tmp_path / "theirs")))
    encoder.save(tmp_path / "saved")
    assert read_bert(tmp_path / "saved") is None
    assert not isinstance(
        load_saved_encoder(tmp_path / "saved", encoder.describe(), only_answers=True).transformer, Bert
    )


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"pruned_heads": {"0": [1]}},
        {"embedding_size": 16},
        {"layer_norm_eps": None},
    ],
)
def test_other_settings_are_left_to_transformers(change: dict[str, object], tmp_path: Path) -> None:
    folder = families.build("bert", tmp_path)
    assert read_bert(folder) is not None
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    assert read_bert(folder) is None


def broken(change: Callable[[dict[str, torch.Tensor]], object], folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("encoder.layer.0.output.dense.weight"), "1 of its weights are missing"),
        (lambda weights: weights.update({"encoder.layer.0.output.dense.bias": torch.zeros(3)}), "size mismatch|shape"),
    ],
)
def test_broken_weights_are_told(
    change: Callable[[dict[str, torch.Tensor]], object], said: str, tmp_path: Path
) -> None:
    encoder = load_encoder(str(families.build("bert", tmp_path / "theirs")))
    encoder.save(tmp_path / "saved")
    broken(change, tmp_path / "saved")
    with pytest.raises(PolyheadError, match="cannot be read") as raised:
        load_saved_encoder(tmp_path / "saved", encoder.describe(), only_answers=True)
    assert raised.match(f"{said}|loading state_dict")


def test_a_command_answers_without_transformers_and_as_before(tmp_path: Path, tiny_encoder: Path) -> None:
    sure = "[[stages]]\nepochs = 20\nlearning_rate = 3e-3\n"  # else rounding in bf16 decides what is answered
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, sure)
    run = polyhead.train(recipe, tmp_path / "run")
    text = tmp_path / "text.txt"
    text.write_text("The cats sat in Rome .\nA bad day\n", encoding="utf-8")
    code = (
        "import sys; from polyhead.cli import main\ntry: main()\n"
        "finally: print([n for n in ('transformers', 'torch._dynamo', 'scipy.stats') if n in sys.modules], "
        "file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "predict", str(run.folder), str(text), "--to", "conllu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    from polyhead.predict import annotator

    docs = annotator(run.model().use(choose_precision(CPU))).texts(text.read_text(encoding="utf-8").splitlines())
    assert done.stdout == "".join(doc.to_conllu() for doc in docs)
