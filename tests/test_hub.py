"""Models on the Hub: pushed to and fetched from a fake of its HTTP API on loopback, by huggingface_hub itself."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import polyhead
import runs
from fake_hub import COMMIT, TOKEN, FakeHub, serving
from polyhead import PolyheadError, hub
from polyhead.hub import HubId, hub_id, meant, push
from polyhead.model import load_model

STAGES = "[[stages]]\nepochs = 1\n"
TASKS = runs.TASKS[runs.TASKS.index("[tasks.entities]") : runs.TASKS.index("[tasks.mood]")]
NAMES = runs.DATA[runs.DATA.index("[data.names]") :]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    recipe = runs.write_recipe(folder, tiny_encoder, STAGES, data=NAMES, tasks=TASKS)
    return polyhead.train(recipe, folder / "run").folder


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with serving() as found:
        yield found


# --- what a place means ---


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("owner/name", HubId("owner/name")),
        ("owner/name@main", HubId("owner/name", "main")),
        ("o-1/n.a_me@refs/pr/1", HubId("o-1/n.a_me", "refs/pr/1")),
        (Path("owner/name"), HubId("owner/name")),
        ("name", None),
        ("a/b/c", None),
        ("/owner/name", None),
        ("../name", None),
        ("./name", None),
        ("~/name", None),
        ("owner/name@", None),
        ("owner/na me", None),
        ("owner/..", None),
    ],
)
def test_ids(place: str | Path, expected: HubId | None) -> None:
    assert hub_id(place) == expected


def test_what_is_here_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant("owner/name") == HubId("owner/name")
    shutil.copytree(run / "model", tmp_path / "owner" / "name")
    assert meant("owner/name") is None
    assert list(load_model("owner/name").tasks) == ["entities"]


def test_a_slip_in_a_path_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(hub, "fetch", lambda wanted: pytest.fail(f"asked for {wanted}"))
    with pytest.raises(PolyheadError, match=r"There is no run 'runs/frist'\.\n  Check the path\. .* runs/frist@main"):
        load_model("runs/frist")
    assert meant("runs/frist@main") == HubId("runs/frist", "main")


# --- there and back ---


def test_there_and_back(run: Path, fake: FakeHub, tmp_path: Path) -> None:
    (run / "model" / "notes.txt").write_text("of no business to others")
    (run / "model" / "pytorch_model.bin").write_bytes(b"a pickle")
    pushed = fake.run(tmp_path, "push", run, "owner/names", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert f"{fake.url}/owner/names" in pushed.stdout
    (run / "model" / "notes.txt").unlink()
    (run / "model" / "pytorch_model.bin").unlink()
    assert fake.private == {"owner/names"}
    assert len(fake.messages) == 1, "one commit, so that nobody sees half a model"
    files = fake.models["owner/names"]
    here = {path.relative_to(run / "model").as_posix() for path in (run / "model").rglob("*") if path.is_file()}
    assert set(files) == here >= {"README.md", "config.json", "model.safetensors", "encoder/tokenizer.json"}
    assert files["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert 'polyhead.load("owner/names")' in files["README.md"].decode()
    assert hub.HERE not in files["README.md"].decode()

    files["evil.py"] = b"raise SystemExit"
    files["encoder/pytorch_model.bin"] = b"a pickle"
    texts = tmp_path / "texts.txt"
    texts.write_text("Ann saw Bob .\n", encoding="utf-8")
    answered = fake.run(tmp_path, "predict", "owner/names@v1", texts, "--to", "jsonl")
    assert answered.returncode == 0, answered.stderr
    (line,) = answered.stdout.splitlines()
    assert json.loads(line) == polyhead.load(run)("Ann saw Bob .").to_dict(confidence=False)
    kept = {path.name for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert "config.json" in kept
    assert not kept & {"evil.py", "pytorch_model.bin"}

    asked = len(fake.asked)
    again = fake.fetch(tmp_path, f"owner/names@{COMMIT}", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(fake.asked) == asked, "what is in the cache needs no network"


def told(fake: FakeHub, home: Path, *arguments: object, token: str | None = TOKEN, **more: str) -> str:
    """The error of a command that must fail, or of fetching, in one or two lines."""
    if arguments[0] == "fetch":
        done = fake.fetch(home, str(arguments[1]), **more)
    else:
        done = fake.run(home, *arguments, token=token, **more)
    assert done.returncode == 1, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "  "))]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return "\n".join(lines)


def test_faults_of_pushing(run: Path, fake: FakeHub, tmp_path: Path) -> None:
    message = told(fake, tmp_path, "push", run, "owner/names", token=None)
    assert message.startswith("error: Nobody is logged in to the Hub.\n  Log in with: hf auth login.")
    assert fake.asked == [], "nothing is asked before"
    message = told(fake, tmp_path, "push", run, "owner/names", token="hf_wrong")
    assert message.startswith("error: The Hub does not let you: owner/names cannot be pushed.")
    fake.models["owner/open"] = {}
    message = told(fake, tmp_path, "push", run, "owner/open", "--private")
    assert message.startswith("error: owner/open is on the Hub already, and public.")
    assert fake.models["owner/open"] == {}, "what should be private is not shown to anyone"
    fake.refuse = 503
    assert "owner/names cannot be pushed: " in told(fake, tmp_path, "push", run, "owner/names")


def test_faults_of_fetching(fake: FakeHub, tmp_path: Path) -> None:
    fake.models["owner/bert"] = {"config.json": b'{"model_type": "bert"}', "README.md": b"# Another model"}
    assert "owner/bert on the Hub is no polyhead model." in told(fake, tmp_path, "fetch", "owner/bert")
    message = told(fake, tmp_path, "fetch", "owner/none")
    assert message.startswith("error: There is no folder 'owner/none', and no such model on the Hub.")
    message = told(fake, tmp_path, "fetch", "owner/bert@v9")
    assert message.startswith("error: owner/bert has no revision 'v9' on the Hub.")


@pytest.mark.parametrize("arguments", [("push", "RUN", "owner/names"), ("fetch", "owner/names")])
def test_no_network(arguments: tuple[str, ...], run: Path, fake: FakeHub, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # nobody listens there
    given = [run if argument == "RUN" else argument for argument in arguments]
    message = told(fake, tmp_path, *given, HF_ENDPOINT=url)
    assert message.startswith("error: The Hub cannot be reached, so owner/names cannot be ")
    message = told(fake, tmp_path, *given, HF_HUB_OFFLINE="1")
    assert message.startswith("error: The Hub cannot be reached")


def test_what_cannot_be_pushed_is_told_before_anything_is_asked(run: Path, tmp_path: Path) -> None:
    for place, name, message in (
        (tmp_path / "none", "owner/name", "There is no run"),
        (tmp_path, "owner/name", "There is no model in"),
        (run, "name", "'name' is no id on the Hub"),
        (run, "owner/name@main", "is no id on the Hub"),
        (run, "a/b/c", "is no id on the Hub"),
    ):
        with pytest.raises(PolyheadError, match=message):
            push(place, name)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "scores.json").unlink()
    with pytest.raises(PolyheadError, match=r"has not finished\.\n  Go on: polyhead train --resume"):
        push(unfinished, "owner/name")
    shutil.copytree(run, tmp_path / "broken")
    (tmp_path / "broken" / "model" / "model.safetensors").unlink()
    with pytest.raises(PolyheadError, match="There is no model in"):
        push(tmp_path / "broken", "owner/name")


def test_a_model_from_the_hub_chooses_no_module_to_import(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "snapshot"
    shutil.copytree(run / "model", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tasks"][0]["type"] = "trap.Type"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(hub, "fetch", lambda _: folder)
    with pytest.raises(PolyheadError, match=r"a type of its own, trap\.Type, which is not loaded"):
        load_model("someone/model")
