"""What README.md, CONTRIBUTING.md and docs/ show is true: every command, recipe and Python block is run.

Each page gets a folder of its own, with ``examples`` and the sample corpus in it as they are in a checkout. Its blocks
are run from the top:

- A block with a ``title="NAME"`` is a file, and is written to the folder; if the project has such a file, the block
  must be the same as the file.
- In a ``console`` block each line that begins with ``$ `` is a command. What follows it is what it prints: compared
  word for word (a line ``...`` stands for any lines) unless the figures of a trained model are in it (``train``,
  ``evaluate``, ``predict``, ``demo``). A command that shows ``error:`` must fail, any other must not.
- A server that a page starts (``polyhead serve RUN &``) runs to its end, at a free port in the place of 8000.
- A ``python`` block is executed, all those of one page in one namespace.
- A ``toml`` block without a title is a piece of a recipe, and must pass the recipe's own check.

To keep this short, the name ``minilm`` stands here for a tiny encoder with random weights and minilm's own tokenizer,
and every stage has one epoch. ``EXEMPT`` lists the commands that are not run.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from polyhead import cli
from polyhead.recipe import load_recipe, make_recipe
from serving.real import running
from studies.inline import Inline

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXEMPT = ("make ", "pip ", "git ", "cd ", "python3 -m venv ", "source ", ".venv/bin/pre-commit ", "polyhead demo")
PORT = "8000"
"""The port of servers that pages start."""

TRAINED = ("train", "evaluate", "predict", "demo", "study")
"""Commands that print the figures or answers of a trained model, which are another one here."""

FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<to>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info else ""

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.info)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 1, found["info"].strip(), found["text"])
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what it is said to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = re.sub(r"\\\n *", "", part).partition("\n")
        yield command.strip(), shown.strip("\n")


def one_epoch(folder: Path) -> None:
    for recipe in folder.rglob("*.toml"):
        text = recipe.read_text(encoding="utf-8")
        recipe.write_text(re.sub(r"(?m)^epochs = \d+", "epochs = 1", text), encoding="utf-8")


# --- running commands without a process for each: importing torch takes longer than all the rest ---


def polyhead(arguments: list[str], stdin: bytes, out: io.BytesIO, err: io.BytesIO) -> int:
    def wrapped(stream: io.BytesIO) -> io.TextIOWrapper:
        return io.TextIOWrapper(stream, encoding="utf-8", newline="\n", write_through=True)

    before = sys.argv, sys.stdin, list(sys.path)
    sys.argv, sys.stdin = ["polyhead", *arguments], wrapped(io.BytesIO(stdin))
    outer, inner = wrapped(out), wrapped(err)
    code: object = 0
    try:
        with contextlib.redirect_stdout(outer), contextlib.redirect_stderr(inner):
            cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, sys.stdin, sys.path[:] = before
        for stream in (outer, inner):
            stream.detach()
    return int(code or 0) if isinstance(code, int | None) else 1


def run(command: str, folder: Path) -> tuple[int, str]:
    """The exit status of a pipeline, and what would stand on the terminal."""
    data, code, shown = b"", 0, ""
    parts = command.split(" | ")
    for part in parts:
        words = shlex.split(part, comments=True)
        paths = []
        while words and (found := re.fullmatch(r"PYTHONPATH=(.+)", words[0])):
            paths.append(str(folder / found[1]))
            words.pop(0)
        if words and words[0] == "polyhead":
            out = io.BytesIO()
            err = out if part is parts[-1] else io.BytesIO()
            sys.path[:0] = paths
            code = polyhead(words[1:], data, out, err)
            del sys.path[: len(paths)]
            data, shown = out.getvalue(), out.getvalue().decode()
        else:
            done = subprocess.run(
                ["bash", "-c", part], input=data, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            data, code, shown = done.stdout, done.returncode, done.stdout.decode()
    return code, shown


def same(expected: str, actual: str) -> bool:
    """Whether an output is as shown, spaces at line ends aside, where a line ``...`` stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"\n"
        for line in expected.strip().splitlines()
    )
    printed = "\n".join(line.rstrip() for line in actual.splitlines()).strip("\n") + "\n"
    return re.fullmatch(pattern, printed) is not None


# --- a page ---


@dataclass
class Visit:
    """A page being gone through, in a folder of its own."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    servers: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    port: str = PORT

    def block(self, block: Block) -> None:
        if block.title is not None:
            self.file(block, block.title)
        elif block.language == "console":
            for command, shown in commands(block):
                self.command(block, command, shown)
        elif block.language == "python":
            one_epoch(self.folder)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, str(block), "exec"), self.names)
        elif block.language == "toml":
            make_recipe(completed(tomllib.loads(block.text)))

    def file(self, block: Block, title: str) -> None:
        if (ROOT / title).exists():
            assert block.text == (ROOT / title).read_text(encoding="utf-8"), f"{block} is not what {title} holds"
        path = self.folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def command(self, block: Block, command: str, shown: str) -> None:
        if command.startswith(EXEMPT):
            return
        if command.startswith("polyhead serve") and command.endswith("&"):
            self.serve(command, shown)
            return
        command = command.replace(PORT, self.port)
        if "polyhead train" in command or "polyhead study" in command:
            one_epoch(self.folder)
        code, printed = run(command, self.folder)
        failing = shown.startswith("error:")
        assert (code != 0) == failing, f"{block}: {command} ends with {code}:\n{printed}"
        name = re.search(r"\bpolyhead (\w+)", command)
        if shown and (failing or name is None or name[1] not in TRAINED):
            assert same(shown, printed), f"{block}: {command} prints\n{printed}"

    def serve(self, command: str, shown: str) -> None:
        """Start a server as a process of its own."""
        started = self.servers.enter_context(running(self.folder, *shlex.split(command)[2:-1]))
        self.port = started.url.rpartition(":")[2]
        assert same(shown, started.log.read_text(encoding="utf-8").replace(self.port, PORT))


def completed(table: dict[str, Any]) -> dict[str, Any]:
    """A piece of a recipe with what it leaves out."""
    tasks = table.setdefault("tasks", {})
    for stage in table.get("stages", []):
        for name in [*stage.get("tasks", []), *stage.get("weights", {})]:
            tasks.setdefault(name, {"type": "tagging", "layer": "upos"})
    if not tasks:
        tasks["pos"] = {"type": "tagging", "layer": "upos"}
    for task in tasks.values():
        task.setdefault("data", next(iter(table.get("data", ["corpus"]))))
        table.setdefault("data", {}).setdefault(task["data"], {})
    return table


@pytest.fixture(scope="module")
def small_minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights that cuts texts into the same pieces as minilm."""
    from transformers import BertConfig, BertModel

    from polyhead.nn.loading import find_encoder, quiet_transformers

    quiet_transformers()
    folder = tmp_path_factory.mktemp("encoder")
    for file in Path(find_encoder("minilm")).glob("*token*.json"):
        shutil.copy(file, folder)
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    # Of other weights some decoders write nothing after their one epoch, and what follows on a page wants texts.
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@contextlib.contextmanager
def here(*_: Any) -> Iterator[Inline]:
    """The runs of a study in this process, where ``minilm`` is tiny."""
    yield Inline()


@pytest.fixture
def checkout(tmp_path: Path, small_minilm: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a checkout, where ``minilm`` is tiny."""
    for part in ("examples", "src/polyhead/sample"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("polyhead.nn.loading._bundled_folder", lambda _: small_minilm)
    monkeypatch.setattr("polyhead.studies.study.workers", here)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delitem(sys.modules, "ordinal", raising=False)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_everything_that_a_page_shows_works(page: Path, checkout: Path) -> None:
    visit = Visit(checkout)
    with visit.servers:
        for block in blocks(page):
            visit.block(block)


@pytest.mark.parametrize("recipe", sorted((ROOT / "examples").glob("*.toml")), ids=lambda recipe: recipe.name)
def test_the_command_in_an_example_recipe_works(recipe: Path, checkout: Path) -> None:
    found = re.findall(r"^# +((?:PYTHONPATH=\S+ )?polyhead train .*)$", recipe.read_text(encoding="utf-8"), re.M)
    assert found and recipe.name in found[-1]
    one_epoch(checkout)
    for command in found:
        code, printed = run(f"{command} --json scores.json", checkout)
        assert code == 0, printed
    scores = json.loads((checkout / "scores.json").read_text(encoding="utf-8"))
    loaded = load_recipe(recipe)
    tested = {name for name, table in loaded.tasks.items() if loaded.data[table["data"]].test is not None}
    assert scores.get("test", {}).keys() == tested


def test_every_recipe_that_a_page_writes_is_used_on_it() -> None:
    for page in PAGES:
        found = blocks(page)
        for block in found:
            if block.title is not None and not (ROOT / block.title).exists():
                assert any(block.title in other.text for other in found if other is not block), block


def test_no_block_goes_unchecked() -> None:
    for page in PAGES:
        for block in blocks(page):
            known = ("console", "python", "toml", "text")
            assert block.title is not None or block.language in known, f"{block}: nothing checks ```{block.info}"
            assert block.language != "console" or block.text.startswith("$ "), f"{block} begins with no command"


# --- pages as a whole ---


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for found in LINK.finditer(text):
        to = found["to"]
        if to.startswith(("https://", "http://")):
            continue
        path, _, anchor = to.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {to}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {to}"


def test_the_readme_maps_every_source_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## The source, file by file")[2]
    mapped = {line.split()[0] for line in next(FENCE.finditer(section))["text"].splitlines() if line.strip()}
    source = ROOT / "src" / "polyhead"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    files -= {name for name in files if name.endswith("__init__.py") and name not in mapped}
    assert mapped - {"sample/"} == files
    assert (source / "sample").is_dir()


def test_the_recipe_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_recipe_page.py"))["page"]()
    assert made == (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8"), "run: make docs"


def test_every_key_of_a_recipe_is_explained() -> None:
    for line in (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            assert re.search(r"\w.*\. \|$", line), f"no sentence: {line}"


def test_pages_name_no_place_on_a_machine() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md", *(ROOT / "examples").glob("*.*")]:
        if page.is_file():
            found = re.search(r"(?<![\w.])/(?:tmp|root|home|work|Users)/", page.read_text(encoding="utf-8"))
            assert found is None, f"{page.name}: {found}"


def test_the_own_type_of_the_docs_scores_as_scikit_learn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import cohen_kappa_score

    from polyhead.data.example import Example

    monkeypatch.syspath_prepend(ROOT / "examples")
    ordinal = __import__("ordinal")
    task = ordinal.Ordinal(name="stars", data="d", layer="stars")
    gold, ours = list("12345123451"), list("12345211355")
    task.prepare([Example(text="x", layers={"stars": label}) for label in gold])
    examples = [Example(text="x", layers={"stars": label}) for label in gold]
    expected = cohen_kappa_score(gold, ours, labels=task.labels, weights="quadratic")
    assert task.score(examples, ours)["kappa"] == pytest.approx(expected)
    assert task.score(examples, gold) == {"accuracy": 1.0, "kappa": 1.0}


def test_the_own_type_of_the_docs_learns(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from polyhead.data.example import Example
    from polyhead.model import Model, Targets
    from polyhead.nn.loading import load_encoder

    monkeypatch.syspath_prepend(ROOT / "examples")
    torch.manual_seed(0)
    texts = ["a good cat", "the bad cat sat", "cats in the sea", "see the good and the bad", "a cat was bad"]
    examples = [Example(text=text, layers={"stars": str(n)}) for n, text in enumerate(texts, 1)]
    task = __import__("ordinal").Ordinal(name="stars", data="d", layer="stars", dropout=0.0)
    task.prepare(examples)
    model = Model(load_encoder(str(tiny_encoder)), {"stars": task})
    model.encoder.set_dropout(0.0)
    batch = model.encoder.collate(model.encoder.tokenise(examples))
    gold = Targets(list(range(len(texts))), [task.target(example) for example in examples])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(batch, {"stars": gold})["stars"].total.backward()
        optimizer.step()
    answers = model.eval().predict(batch, {"stars": gold.rows})["stars"]
    assert [answer.value for answer in answers] == ["1", "2", "3", "4", "5"]
    assert all(isinstance(answer.confidence, float) and 0 < answer.confidence <= 1 for answer in answers)
