"""Tiny runs for tests: data files, a recipe over them, and what of a run must not depend on how it came about."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from conftest import SENTENCES, cells

TIMES = {"time", "seconds", "evaluation_seconds", "words_per_second"}
"""What two logs of the same run may differ in."""


def write_conllu(path: Path, sentences: list[int]) -> Path:
    """Sentences of conftest by number, with lemma, UPOS, a tree, and ``# sentiment``."""
    blocks = []
    for number in sentences:
        sentence, sentiment = SENTENCES[number % len(SENTENCES)]
        words = cells(sentence)
        lines = [f"# text = {' '.join(word[0] for word in words)}", f"# sentiment = {sentiment}"]
        for i, (form, lemma, upos, head, relation, _) in enumerate(words, 1):
            lines.append("\t".join([str(i), form, lemma, upos, "_", "_", head, relation, "_", "_"]))
        blocks.append("\n".join(lines) + "\n\n")
    path.write_text("".join(blocks), encoding="utf-8")
    return path


def write_columns(path: Path, sentences: list[int]) -> Path:
    """Sentences of conftest by number, with entity tags."""
    found = [cells(SENTENCES[number % len(SENTENCES)][0]) for number in sentences]
    text = "\n".join("".join(f"{word[0]}\t{word[5]}\n" for word in words) for words in found)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def write_data(folder: Path) -> Path:
    """Two datasets with train and dev splits, and a test split of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_conllu(folder / "ud-train.conllu", list(range(8)))
    write_conllu(folder / "ud-dev.conllu", [0, 2, 3, 5, 6])
    write_conllu(folder / "ud-test.conllu", [1, 4, 7])
    write_columns(folder / "names-train.conll", list(range(8)))
    write_columns(folder / "names-dev.conll", [1, 3, 6])
    return folder


DATA = """\
[data.ud]
train = "ud-train.conllu"
dev = "ud-dev.conllu"
test = "ud-test.conllu"
comments = { sentiment = "sentiment" }

[data.names]
layers = ["words", "entities"]
train = "names-train.conll"
dev = "names-dev.conll"
"""

TASKS = """\
[tasks.pos]
type = "tagging"
data = "ud"
layer = "upos"

[tasks.syntax]
type = "parsing"
data = "ud"
arc_size = 8
relation_size = 4

[tasks.entities]
type = "ner"
data = "names"
layer = "entities"

[tasks.mood]
type = "classification"
data = "ud"
layer = "sentiment"
"""


def write_recipe(
    folder: Path,
    encoder: Path,
    stages: str,
    *,
    data: str = DATA,
    tasks: str = TASKS,
    top: str = "",
    name: str = "recipe.toml",
) -> Path:
    """A recipe over ``write_data``'s files, in their folder. Rates are high, so that few steps change much."""
    path = folder / name
    device = os.environ.get("POLYHEAD_DEVICE", "cpu")
    head = f'encoder = "{encoder}"\nprecision = "fp32"\ndevice = "{device}"\n{top}\n'
    path.write_text("\n".join([head, data, tasks, stages]), encoding="utf-8")
    return path


def outcome(run: Path) -> dict[str, Any]:
    """What two runs of one recipe must have in common: every byte of weights and scores, the log but for times."""
    facts = [run / name for name in ("scores.json", "stages.json", "intervals.json", "recipe.toml")]
    names = [*(run / "model").rglob("*"), *(run / "best").rglob("*"), *facts]
    files = {str(path.relative_to(run)): path.read_bytes() for path in names if path.is_file()}
    return {"log": log(run), **{name: without_times(run.name, name, content) for name, content in files.items()}}


def without_times(run: str, name: str, content: bytes) -> Any:
    """A file of a run without when, how long and what the run is called: the model's record and its card have these."""
    if name == "model/config.json":
        config = json.loads(content)
        for stage in config["info"]["lineage"]:
            del stage["date"], stage["seconds"]
        return config
    if name == "model/README.md":
        date_or_duration = r"\d{4}-\d\d-\d\d(T[\d:]+[+-]\d{4})?|\b(\d+ h )?(\d+ min )?\d+ (s|min)\b"
        text = re.sub(rf"(?m)^(# |- name: ){re.escape(run)}$", "NAME", content.decode())
        return re.sub(date_or_duration, "TIME", text)
    return content


def log(run: Path) -> list[dict[str, Any]]:
    """The records of a run's log without times."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs between two outcomes: short enough to print."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
