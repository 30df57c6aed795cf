"""Vectors of frozen layers from files are those that the encoder computes, whatever is in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue
from pathlib import Path

import families
import pytest
import torch

import killing
from polyhead.data.example import Example
from polyhead.nn.cache import Cache
from polyhead.nn.encoder import Encoder
from polyhead.nn.features import KeptLayers
from polyhead.nn.keeping import keep_features, level_keys
from polyhead.nn.loading import load_encoder
from polyhead.nn.mix import LayerMix
from polyhead.nn.precision import autocast, halve_linear_weights

KNOWN = [
    [
        Example(words=("The", "cat", "sat", ".")),
        Example(words=tuple(f"word{i}" for i in range(40))),  # several windows
        Example(words=("One",)),
        Example(text="a good cat", pair="a bad one"),
    ],
    [Example(text="see the cats"), Example(text="See the Cats"), Example(words=("The", "cat", "sat", "."))],
]
NEW = [Example(words=("a", "new", "text")), Example(words=tuple(f"new{i}" for i in range(40)))]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit=10**8)


def kept(
    folder: Path, cache: Cache, level: int, *, all_layers: bool = True, notes: list[str] | None = None
) -> tuple[Encoder, Encoder]:
    """The same encoder without and with features, frozen up to a level."""
    plain, encoder = load_encoder(str(folder)), load_encoder(str(folder))
    for one in (plain, encoder):
        one.set_dropout(0.0)
        one.freeze(level)
        one.train()
    encoder.features = keep_features(
        encoder,
        [encoder.tokenise(split) for split in KNOWN],
        all_layers=all_layers,
        precision="fp32",
        cache=cache,
        tell=(notes if notes is not None else []).append,
    )
    encoder.train()
    return plain, encoder


def check_same(plain: Encoder, encoder: Encoder, examples: Sequence[Example], *, all_layers: bool = True) -> None:
    batch = encoder.collate(encoder.tokenise(examples))
    found = encoder(batch, all_layers=all_layers)
    expected = plain(plain.collate(plain.tokenise(examples)), all_layers=all_layers)
    assert len(found.layers) == len(expected.layers)
    there = slice(None) if batch.mask is None else batch.mask
    for one, other in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(one[there], other[there], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sentence, expected.sentence, rtol=1e-4, atol=1e-5)
    if all_layers:
        torch.testing.assert_close(
            found.word_layers_view("first"), expected.word_layers_view("first"), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("family", [*families.FAMILIES, *families.ENCODER_DECODERS])
@pytest.mark.parametrize("level", [1, 2])
def test_features_are_what_the_encoder_computes(family: str, level: int, tmp_path: Path, cache: Cache) -> None:
    folder = families.build(family, tmp_path / "encoder")
    notes: list[str] = []
    plain, encoder = kept(folder, cache, level, notes=notes)
    if family == "t5" and level == 1:
        assert encoder.features is None
        assert len(notes) == 1 and "cannot begin above its frozen layers" in notes[0]
    else:
        assert encoder.features is not None
    check_same(plain, encoder, [*KNOWN[1], *KNOWN[0]])
    check_same(plain, encoder, KNOWN[0][:1])  # nothing is filled up


@pytest.mark.parametrize("level", [1, 2])
def test_in_half_precision(level: int, tiny_encoder: Path, cache: Cache) -> None:
    plain, encoder = load_encoder(str(tiny_encoder)), load_encoder(str(tiny_encoder))
    for one in (plain, encoder):
        one.set_dropout(0.0)
        one.freeze(level)
        one.eval()
        halve_linear_weights(one)
    items = encoder.tokenise(KNOWN[0])
    encoder.features = keep_features(
        encoder, [items], all_layers=True, precision="bf16", cache=cache, tell=lambda _: None
    )
    batch = encoder.collate(items[1:])
    with autocast(encoder.device, "bf16"), torch.no_grad():
        found, expected = encoder(batch, all_layers=True).layers, plain(batch, all_layers=True).layers
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one[batch.mask], other[batch.mask], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("all_layers", [False, True])
def test_texts_that_no_file_holds_are_computed(level: int, all_layers: bool, tiny_encoder: Path, cache: Cache) -> None:
    """As those of tasks that change their input: such rows stand beside rows from two files in one batch."""
    plain, encoder = kept(tiny_encoder, cache, level, all_layers=all_layers)
    mixed = [NEW[0], KNOWN[0][1], KNOWN[1][1], NEW[1], KNOWN[0][3]]
    check_same(plain, encoder, mixed, all_layers=all_layers)
    check_same(plain, encoder, NEW, all_layers=all_layers)


def test_layers_that_no_file_holds_are_computed(tiny_encoder: Path, cache: Cache) -> None:
    plain, encoder = kept(tiny_encoder, cache, 2, all_layers=False)
    check_same(plain, encoder, KNOWN[0], all_layers=True)


def test_what_learns_again_is_computed(tiny_encoder: Path, cache: Cache) -> None:
    """Features must not hide what a layer has learnt since."""
    plain, encoder = kept(tiny_encoder, cache, 2)
    for one in (plain, encoder):
        one.freeze(1)
        with torch.no_grad():
            one.layers[1].output.dense.weight.mul_(2)
    check_same(plain, encoder, KNOWN[0])


def test_a_frozen_encoder_is_not_run(tiny_encoder: Path, cache: Cache) -> None:
    _, encoder = kept(tiny_encoder, cache, 2)
    encoder.transformer.forward = None  # type: ignore[assignment]
    encoding = encoder(encoder.collate(encoder.tokenise(KNOWN[0])), all_layers=True)
    assert isinstance(encoding.layers, KeptLayers)
    assert encoding.word_layers_view("first").shape == (3, 4 + 40 + 1, encoder.width)


def test_a_selection_reads_its_own_words(tiny_encoder: Path, cache: Cache) -> None:
    plain, encoder = kept(tiny_encoder, cache, 2)
    examples = [*KNOWN[0][:3], *KNOWN[1]]
    mix = LayerMix(3)
    for chosen in ([2, 0], [5, 1], list(range(6))):
        found = encoder(encoder.collate(encoder.tokenise(examples)), all_layers=True).select(chosen, mix)
        expected = plain(plain.collate(plain.tokenise(examples)), all_layers=True).select(chosen, mix)
        torch.testing.assert_close(found.flat_words, expected.flat_words, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.words, expected.words, rtol=1e-4, atol=1e-5)


def test_capitals_that_the_pieces_lack_tell_texts_apart(tmp_path: Path, cache: Cache) -> None:
    plain, encoder = load_encoder(str(families.build("electra", tmp_path))), load_encoder(str(tmp_path))
    for one in (plain, encoder):
        assert one.case is not None
        torch.nn.init.normal_(one.case.weight, generator=torch.Generator().manual_seed(0))
        one.set_dropout(0.0)
        one.freeze(2)
        one.eval()
    items = encoder.tokenise(KNOWN[1])
    encoder.features = keep_features(
        encoder, [items], all_layers=True, precision="fp32", cache=cache, tell=lambda _: None
    )
    check_same(plain, encoder, KNOWN[1])
    found = encoder(encoder.collate(items)).sentence
    assert not torch.allclose(found[0], found[1])


def test_files_are_shared_by_whoever_has_the_same_layers_below(tiny_encoder: Path, cache: Cache) -> None:
    notes: list[str] = []
    kept(tiny_encoder, cache, 2, notes=notes)
    assert len(notes) == 2 and len(list(cache.folder.iterdir())) == 2 * 3
    for level, all_layers in [(2, True), (2, False), (1, True), (1, False)]:
        kept(tiny_encoder, cache, level, all_layers=all_layers, notes=notes)
    assert len(notes) == 2, "nothing was computed again"


def test_what_vectors_depend_on(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(tiny_encoder))
    before = level_keys(encoder, "fp32")
    assert level_keys(load_encoder(str(tiny_encoder)), "fp32") == before and len(set(before)) == 3
    assert not set(level_keys(encoder, "bf16")) & set(before)
    assert not set(level_keys(load_encoder(str(tiny_encoder), window=32), "fp32")) & set(before)
    with torch.no_grad():
        encoder.layers[1].output.dense.bias[0] += 1e-3
    assert [a == b for a, b in zip(level_keys(encoder, "fp32"), before, strict=True)] == [True, True, False]
    with torch.no_grad():
        encoder.transformer.get_input_embeddings().weight[3, 0] += 1e-3
    assert not set(level_keys(encoder, "fp32")) & set(before)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert not set(level_keys(load_encoder(str(tiny_encoder)), "fp32")) & set(before)


def test_a_damaged_file_is_made_anew(tiny_encoder: Path, cache: Cache) -> None:
    kept(tiny_encoder, cache, 2)
    one, other, *_ = sorted(cache.folder.iterdir())
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[0][:-4])
    other.write_bytes(whole[1][:-4] + b"\0\0\0\1")
    plain, encoder = kept(tiny_encoder, cache, 2)
    assert (one.read_bytes(), other.read_bytes()) == whole
    check_same(plain, encoder, KNOWN[0])


def test_what_does_not_fit_is_not_kept(tiny_encoder: Path, tmp_path: Path) -> None:
    """The first split fits, the second does not: its texts are computed."""
    cache = Cache(tmp_path / "cache", limit=0)
    notes: list[str] = []
    plain, encoder = kept(tiny_encoder, cache, 2, notes=notes)
    assert encoder.features is None and len(notes) == 2 and all("are not kept" in note for note in notes)
    kept(tiny_encoder, Cache(tmp_path / "other", limit=10**8), 2)
    sizes = sorted(path.stat().st_size for path in (tmp_path / "other").iterdir())
    cache.limit = sum(sizes[-3:]) + sizes[0] // 2
    notes.clear()
    plain, encoder = kept(tiny_encoder, cache, 2, notes=notes)
    assert encoder.features is not None and ["are not kept" in note for note in notes] == [False, True]
    check_same(plain, encoder, [*KNOWN[0], *KNOWN[1]])


def test_a_full_disk_is_a_note(tiny_encoder: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polyhead.nn.cache._Writer.write", full)
    notes: list[str] = []
    _, encoder = kept(tiny_encoder, cache, 2, notes=notes)
    assert encoder.features is None
    assert [note for note in notes if "No space left on device" in note]
    assert list(cache.folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_note(tiny_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    _, encoder = kept(tiny_encoder, Cache(tmp_path / "file" / "cache", limit=10**8), 2, notes=notes)
    assert encoder.features is None and all("are not kept" in note for note in notes)


def _keep(folder: Path, cache: Path, answers: Queue[list[float]]) -> None:
    torch.set_num_threads(1)
    for _ in range(3):
        plain, encoder = kept(folder, Cache(cache, limit=10**8), 2)
        assert encoder.features is not None
        check_same(plain, encoder, KNOWN[0])
    answers.put(encoder(encoder.collate(encoder.tokenise(KNOWN[0]))).sentence.flatten().tolist())


def test_two_processes_at_once(tiny_encoder: Path, tmp_path: Path) -> None:
    context: ForkServerContext = killing.spawner()
    answers: Queue[list[float]] = context.Queue()
    workers = [context.Process(target=_keep, args=(tiny_encoder, tmp_path / "cache", answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    first, second = (answers.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert first == second
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".safetensors"] * 6
