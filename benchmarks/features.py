"""What it brings to compute the outputs of frozen layers once: seconds of an epoch with and without, and disk use.

    POLYHEAD_DATA=corpora python benchmarks/features.py

The encoder is minilm, the corpora are those of ``benchmarks/train.py`` (``bench/`` in the folder that POLYHEAD_DATA
names). Each run is a process of its own with one thread; runs with and without take turns, and the table gives
medians. Those with begin with an empty cache, so that the time to fill it is measured, too. Seconds are the process's
own on a processor, which other work on the machine does not lengthen much.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from train import TASKS, make_recipe

LIGHT = ["upos", "entities", "sentiment"]
CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "light": ("three light heads, all frozen", LIGHT, {"freeze": "encoder"}),
    "parser": ("with the parser, all frozen", list(TASKS), {"freeze": "encoder"}),
    "half": ("three light heads, 3 of 6 layers frozen", LIGHT, {"freeze": 3}),
}
EPOCHS = 3
"""With the cache; without it one epoch is long enough."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=list(CASES), help=f"some of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run")
    parser.add_argument("--texts", type=int, help="only so many of each corpus, and a tenth of it as its dev split")
    parser.add_argument("--json", type=Path, help="write every run's figures here")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        worker(json.loads(options.job))
        return
    corpora = os.environ.get("POLYHEAD_DATA")
    if not corpora or not Path(corpora).is_dir():
        sys.exit("Set POLYHEAD_DATA to the folder of the corpora.")
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"with": [], "without": []} for name in options.what}
    for number in range(options.rounds):
        for name in options.what:
            for how in ("with", "without"):
                runs[name][how].append(start(Path(corpora).resolve(), name, how, options.texts))
                print(f"  round {number + 1}, {name}, {how}: {runs[name][how][-1]}", file=sys.stderr, flush=True)
    print_table(runs)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=2))


def start(corpora: Path, name: str, how: str, texts: int | None) -> dict[str, Any]:
    _, tasks, stage = CASES[name]
    settings = {**stage, "cache": how == "with"}
    epochs = EPOCHS if how == "with" else 1
    options = argparse.Namespace(what="joint", epochs=epochs, stage=json.dumps(settings))
    recipe = make_recipe(corpora, options, tasks, seed=1)
    for data in recipe["data"].values() if texts else ():
        data |= {"limit": texts, "dev": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        job = json.dumps({"recipe": {**recipe, "precision": "fp32"}, "run": str(Path(folder, "run"))})
        cache = Path(folder, "cache")
        done = subprocess.run(
            [sys.executable, __file__, "--job", job],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "POLYHEAD_CACHE": str(cache)},
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        result["mib"] = sum(file.stat().st_size for file in cache.glob("*")) / 2**20
    return result


def worker(job: dict[str, Any]) -> None:
    from polyhead.recipe import make_recipe as parse
    from polyhead.training import train
    from polyhead.training.records import EpochEnded, Record, StageStarted, Stepped

    marks: list[tuple[str, float]] = []  # what happened, and when
    means: list[float | None] = []

    def watch(record: Record) -> None:
        marks.append((type(record).__name__, time.process_time()))
        if isinstance(record, EpochEnded):
            means.append(record.mean)

    def tell(note: str) -> None:
        if "computed once" in note:
            marks.append(("fill", time.process_time()))

    train(parse(job["recipe"]), job["run"], watch=watch, tell=tell)
    spent = {kind.__name__: [0.0] * len(means) for kind in (Stepped, EpochEnded)}
    done = 0
    for (_, before), (kind, now) in pairwise(marks):
        if kind in spent:
            spent[kind][done] += now - before
        done += kind == EpochEnded.__name__
    fill = [now for kind, now in marks if kind in ("fill", StageStarted.__name__)]
    result = {
        "train": statistics.median(spent[Stepped.__name__]),
        "score": statistics.median(spent[EpochEnded.__name__]),
        "fill": fill[-1] - fill[0],
        "means": means,
    }
    print(json.dumps(result))


def print_table(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    print("| | training, without | with | times as fast | scoring, without | with | filling the cache | disk, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, both in runs.items():
        middle = {
            (how, what): statistics.median(run[what] for run in found)
            for how, found in both.items()
            for what in ("train", "score", "fill", "mib")
        }
        cells = [f"{middle[how, what]:.1f}" for what in ("train", "score") for how in ("without", "with")]
        cells.insert(2, f"{middle['without', 'train'] / middle['with', 'train']:.1f}")
        print(
            f"| {CASES[name][0]} | {' | '.join(cells)} | {middle['with', 'fill']:.1f} | {middle['with', 'mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
