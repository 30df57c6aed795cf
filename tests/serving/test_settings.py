"""What a server may be told, and what is refused before it starts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from polyhead.errors import PolyheadError
from polyhead.serving.settings import Settings, is_loopback, named_models, read_keys
from test_cli import fault

KEY = "k" * 32


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org", ""])
def test_others_ask_only_with_a_key(host: str) -> None:
    with pytest.raises(PolyheadError, match="no key is set"):
        Settings(host=host).check()
    Settings(host=host, keys=(KEY,)).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LOCALHOST"])
def test_the_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    Settings(host=host).check()


@pytest.mark.parametrize("name", ["seconds", "queue", "text_characters", "body_bytes", "batch_texts", "connections"])
def test_numbers_out_of_bounds(name: str) -> None:
    with pytest.raises(PolyheadError, match=name):
        Settings(**{name: 0}).check()


@pytest.mark.parametrize("name", ["seconds", "drain", "grace", "wait_seconds", "idle_seconds", "header_seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_times_are_finite(name: str, value: float) -> None:
    with pytest.raises(PolyheadError, match=f"{name} = {value} is no length"):
        Settings(**{name: value}).check()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--max-body", "nan"], "--max-body nan is no size"),
        (["--max-body", "inf"], "--max-body inf is no size"),
        (["--max-body", "0"], "--max-body 0 is no size"),
        (["--timeout", "nan"], "--timeout: seconds = nan"),
        (["--max-text", "0"], "--max-text: text_characters = 0 is too small"),
        (["--host", ""], "--host '' lets other"),
    ],
)
def test_what_is_wrong_is_told_by_its_option(options: list[str], what: str) -> None:
    assert what in str(fault("serve", "run", *options))


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the shop\n{KEY}\n\n  {'x' * 20}  \n", encoding="utf-8")
    assert read_keys("e" * 20, file, "A key") == ("e" * 20, KEY, "x" * 20)
    assert read_keys(None, None, "A key") == ()
    for content, what in (("", "no key in this file"), ("hunter2\n", "too short"), ("ключ" * 8 + "\n", "too short")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(PolyheadError, match=what) as caught:
            read_keys(None, file, "A key")
        assert caught.value.file == str(file) and (not content or content.strip() not in str(caught.value))
    with pytest.raises(PolyheadError, match="Cannot read"):
        read_keys(None, tmp_path / "none", "A key")
    with pytest.raises(PolyheadError, match="too short"):
        read_keys("", None, "A key") or read_keys("short", None, "A key")


def test_models_are_called_as_their_folders_or_as_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first" / "model").mkdir(parents=True)
    (tmp_path / "a=b").mkdir()
    assert named_models(["runs/first"]) == {"first": "runs/first"}
    assert named_models(["runs/first/"]) == {"first": "runs/first/"}
    assert named_models(["runs/first/model"]) == {"first": "runs/first/model"}
    (tmp_path / "runs" / "first" / "onnx").mkdir()
    assert named_models(["runs/first/onnx"]) == {"first": "runs/first/onnx"}
    assert named_models(["en=runs/first", "owner/name@main"]) == {"en": "runs/first", "name": "owner/name@main"}
    with pytest.raises(PolyheadError, match="under the name 'a=b'"):
        named_models(["a=b"])
    with pytest.raises(PolyheadError, match="Two models are called 'first'"):
        named_models(["runs/first", "first=other"])
    with pytest.raises(PolyheadError, match="'en=' does not say where the model is"):
        named_models(["en="])
