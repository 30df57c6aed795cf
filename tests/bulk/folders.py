"""Folders of small files for tests of bulk prediction, and what must come of them."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polyhead
import polyhead.answering.annotator
import polyhead.bulk.following
import runs
from conftest import SENTENCES
from polyhead.annotate import annotate
from polyhead.bulk import How, Summary, predict_folder

TASKS = """\
[tasks.pos]
type = "tagging"
data = "ud"
layer = "upos"

[tasks.mood]
type = "classification"
data = "ud"
layer = "sentiment"
"""
ENDINGS = {".txt": ".conllu", ".tsv": ".jsonl", ".csv": ".jsonl"}
"""What the answers of a model about words are written as, where that is not as the input."""

CHUNK = 16
"""Texts of a chunk here, and ``polyhead.predict`` has 1024."""


def texts(count: int) -> list[str]:
    return [" ".join(word.split("|")[0] for word in SENTENCES[i % 8][0].split()) + f" {i}" for i in range(count)]


def write_inputs(folder: Path) -> Path:
    """Files of each kind, one of them empty, in folders of folders; together some hundred texts."""
    (folder / "deep" / "deeper").mkdir(parents=True)
    records = [json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(texts(70))]
    (folder / "a.jsonl").write_text("".join(records), encoding="utf-8")
    (folder / "deep" / "b.txt").write_text("\n".join(texts(40)) + "\n\n", encoding="utf-8")
    (folder / "deep" / "empty.txt").write_text("", encoding="utf-8")
    (folder / "deep" / "deeper" / "c.jsonl.gz").write_bytes(gzip.compress("".join(records[:50]).encode()))
    rows = ["text\tid\n", *(f"{text}\t{i}\n" for i, text in enumerate(texts(35)))]
    (folder / "deep" / "d.tsv").write_text("".join(rows), encoding="utf-8")
    runs.write_conllu(folder / "e.conllu", list(range(40)))
    (folder / "notes.md").write_text("no data\n", encoding="utf-8")
    (folder / "_SUCCESS").write_text("", encoding="utf-8")
    return folder


def answers_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder of answers but the manifest."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in ("manifest.json", ".polyhead/.lock")}


def plainly(run: Path, folder: Path, output: Path) -> dict[str, bytes]:
    """What ``polyhead predict`` makes of each file alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix().removesuffix(".gz")
        ending = ENDINGS.get(Path(name).suffix, Path(name).suffix)
        if path.is_file() and ending in (".jsonl", ".conllu", ".parquet"):
            name = str(Path(name).with_suffix(ending))
            annotate(run, [path], output / name)
            found[name] = (output / name).read_bytes()
    return found


def trained(encoder: Path, folder: Path) -> Path:
    """A run about words and whole texts, in a folder with its data."""
    runs.write_data(folder)
    recipe = runs.write_recipe(folder, encoder, "[[stages]]\nepochs = 1\n", tasks=TASKS)
    return polyhead.train(recipe, folder / "run").folder


@contextlib.contextmanager
def small_parts() -> Any:
    """Chunks of few texts, and parts of two chunks, so that small files are big ones."""
    before = polyhead.answering.annotator.CHUNK_TEXTS, polyhead.bulk.following.SMALL
    polyhead.answering.annotator.CHUNK_TEXTS, polyhead.bulk.following.SMALL = CHUNK, 100
    try:
        yield
    finally:
        polyhead.answering.annotator.CHUNK_TEXTS, polyhead.bulk.following.SMALL = before


def bulk(run: Path, folder: Path, output: Path, watch: Callable[[Any], None] = lambda _: None, **more: Any) -> Summary:
    """Answer for a folder, in parts of two chunks."""
    how = {key: more.pop(key) for key in list(more) if key in How.__dataclass_fields__}
    return predict_folder(
        How(str(run), **({"chunks": 2, "precision": "fp32"} | how)), folder, output, watch=watch, **more
    )
