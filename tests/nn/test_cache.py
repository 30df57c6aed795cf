"""Files of vectors: written whole, read as written, noticed when damaged, deleted when others need the room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from polyhead import PolyheadError
from polyhead.files import CACHE
from polyhead.nn.cache import LIMIT, STALE, Cache, find_cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit=100_000)


def put(cache: Cache, name: str, states: Tensor, *, age: float = 0.0) -> None:
    with cache.write(name, len(states)) as write:
        for part in states.split(7):
            write(part)
    os.utime(cache.path(name), (time.time() - age,) * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_read_is_what_was_written(cache: Cache, dtype: torch.dtype) -> None:
    states = torch.randn(20, 6).to(dtype)
    put(cache, "a", states)
    found = cache.read("a")
    assert found is not None and found.dtype == dtype and torch.equal(found, states)
    assert torch.equal(load_file(cache.path("a"))["states"], states), "any reader of safetensors opens it"
    assert [path.name for path in cache.folder.iterdir()] == ["a.safetensors"]


def test_nothing_is_read_where_nothing_is(cache: Cache) -> None:
    assert cache.read("a") is None


def test_damage_anywhere_is_noticed(cache: Cache) -> None:
    put(cache, "a", torch.randn(20, 6))
    whole = cache.path("a").read_bytes()
    rng = torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (40,), generator=rng).tolist():
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 7)
        cache.path("a").write_bytes(bytes(broken))
        found = cache.read("a")
        if found is not None:  # a blank or a name in the head may be another one
            assert torch.equal(found, torch.frombuffer(bytearray(whole[-480:]), dtype=torch.float32).view(20, 6))
        else:
            assert not cache.path("a").exists()


@pytest.mark.parametrize("length", [0, 5, 100, -1, -200])
def test_a_truncated_file_is_noticed(cache: Cache, length: int) -> None:
    put(cache, "a", torch.randn(20, 6))
    cache.path("a").write_bytes(cache.path("a").read_bytes()[:length])
    assert cache.read("a") is None
    assert not cache.path("a").exists()


def test_a_file_that_may_be_read_but_not_touched(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache, "a", torch.ones(20, 6))

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.read("a") is not None and cache.path("a").exists()


def test_a_file_that_was_not_finished_has_no_name(cache: Cache) -> None:
    with pytest.raises(RuntimeError, match="killed"), cache.write("a", 20) as write:
        write(torch.randn(7, 6))
        raise RuntimeError("killed")
    assert list(cache.folder.iterdir()) == []


def test_what_was_not_used_for_longest_goes_first(cache: Cache) -> None:
    for name, age in [("old", 300.0), ("older", 400.0), ("new", 100.0), ("kept", 500.0)]:
        put(cache, name, torch.zeros(200, 20), age=age)  # 16,000 bytes and a head each
    cache.read("older")  # which makes it the one used last
    assert cache.make_room(50_000, keep=["kept"])
    assert {path.stem for path in cache.folder.iterdir()} == {"older", "new", "kept"}
    assert not cache.make_room(90_000, keep=["kept"]), "it would not fit beside what must stay"
    assert {path.stem for path in cache.folder.iterdir()} == {"older", "new", "kept"}, "so nothing was deleted for it"


def test_half_of_what_the_disk_has_left_is_left(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10_000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    assert cache.make_room(4_000, keep=[])
    assert not cache.make_room(6_000, keep=[])


def test_what_a_killed_process_left_is_cleared_away(cache: Cache) -> None:
    cache.folder.mkdir()
    for name, age in [("mine", 0.0), ("dead", STALE + 60)]:
        path = cache.folder / f"{name}.safetensors.17.unfinished"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    cache.make_room(1, keep=[])
    assert [path.name[:4] for path in cache.folder.iterdir()] == ["mine"]


def test_the_environment_says_where_and_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "own"))
    monkeypatch.setenv(LIMIT, "0.5")
    assert find_cache().folder == tmp_path / "own" and find_cache().limit == 2**29
    monkeypatch.setenv(LIMIT, "")
    assert find_cache().limit == 10 * 2**30


@pytest.mark.parametrize("given", ["much", "-1", "nan", "inf"])
def test_a_bound_that_is_no_number_is_told(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, given)
    with pytest.raises(PolyheadError, match=LIMIT):
        find_cache()


@pytest.mark.parametrize(
    ("system", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "own/polyhead/features"),
        ("win32", "LOCALAPPDATA", "own/polyhead/features"),
        ("linux", "", "home/.cache/polyhead/features"),
        ("darwin", "", "home/Library/Caches/polyhead/features"),
        ("win32", "", "home/AppData/Local/polyhead/features"),
    ],
)
def test_the_usual_place(
    system: str, variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CACHE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "own"))
    monkeypatch.setattr("sys.platform", system)
    assert find_cache().folder == tmp_path / expected
