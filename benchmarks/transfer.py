"""What each way to transfer is worth: four tasks, several training sizes, several seeds, one encoder (minilm).

    POLYHEAD_DATA=corpora python benchmarks/transfer.py run --results transfer.jsonl     # goes on where it stopped
    python benchmarks/transfer.py table --results transfer.jsonl

Ways: ``scratch`` (an encoder of two layers, with random weights and pieces learnt from the training texts), ``random``
(minilm's architecture and pieces, random weights), ``frozen`` (a pretrained encoder that does not learn), ``tuned``
(all of it learns), ``lora`` and ``lora24`` (adapters of rank 8 and 24), ``joint`` (all four tasks in one stage),
``gentle`` (as ``joint``, at half the rate), ``special`` (as ``tuned``, with a new head, but from the encoder of
``gentle``), ``taught`` (as ``gentle``, with the four ``tuned`` models of the same size and seed as teachers). The first
n sentences of each training file are used, so that smaller sets lie within larger ones; a size beyond what ``bench/``
holds takes the first n of a whole training split. Nothing is chosen on the dev splits: the weights are those of the
last epoch, and the dev splits are scored once. Each run is one line of the results; runs that are there already are not
repeated, so the command can be ended and given again, or given twice at a time with different ``--seeds``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from results import add, arguments, cell, corpora, done, finished, machine, read
from train import datasets

TASKS: dict[str, dict[str, Any]] = {
    "upos": {"type": "tagging", "data": "ewt", "layer": "upos", "unseen": "count"},
    "syntax": {"type": "parsing", "data": "ewt"},
    "entities": {"type": "ner", "data": "wnut", "layer": "entities"},
    "sentiment": {"type": "classification", "data": "sst", "layer": "sentiment"},
}
FIGURES = {"upos": "accuracy", "syntax": "las", "entities": "f1", "sentiment": "accuracy"}
WAYS = ["scratch", "random", "frozen", "tuned", "lora", "lora24", "joint", "gentle", "special", "taught"]
TOGETHER = ("joint", "gentle", "taught")
"""Ways in which all tasks are in one run."""
EPOCHS = {100: 20, 500: 10, 2000: 5}
"""Epochs of a pretrained encoder by the number of training sentences; a size in between takes the next lower one's."""
SCRATCH_EPOCHS = {100: 30, 500: 20, 2000: 12, 8000: 6}
"""The same from scratch, where there is more to learn."""
MORE = {"frozen": 2.0, "lora24": 2.0}
"""How many times as many epochs a way takes."""
SCRATCH = {"layers": 2, "width": 256, "vocabulary": 8000, "lowercase": True}
"""The encoder of ``scratch``."""
STAGE: dict[str, dict[str, Any]] = {
    "frozen": {"freeze": "encoder", "head_learning_rate": 3e-3},
    "lora": {"adapter": {"kind": "lora", "rank": 8}, "learning_rate": 1e-3},
    "lora24": {"adapter": {"kind": "lora", "rank": 24}, "learning_rate": 1e-3},
    "gentle": {"learning_rate": 1e-4},
    "taught": {"learning_rate": 1e-4},
}
"""What a way sets beside the defaults."""


def main() -> None:
    parser = arguments(__doc__, "transfer-runs", "where joint models are kept")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 500, 2000])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options = parser.parse_args()
    if options.what == "table":
        print_tables(read(options.results))
        return
    for size in options.sizes:
        for seed in options.seeds:
            for way in options.ways:
                for tasks in [options.tasks] if way in TOGETHER else [[task] for task in options.tasks]:
                    once(corpora(), options, {"way": way, "size": size, "seed": seed, "tasks": tasks})


def once(corpora: Path, options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Train and score one run, unless it is among the results."""
    from polyhead.recipe import make_recipe
    from polyhead.training import train

    if done(options.results, job):
        return
    folder = folder_of(options.work, job)
    if (folder / "recipe.toml").exists():
        shutil.rmtree(folder)
    recipe = make_recipe(recipe_of(corpora, options.work, job))
    start, used = time.perf_counter(), time.process_time()
    run = train(recipe, folder)
    learning = next(json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())["learning"]
    line = {
        **job,
        "scores": {task: run.scores["test"][task] for task in job["tasks"]},
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "learning": learning,
        "machine": machine(),
    }
    add(options.results, line)
    figures = "  ".join(f"{task} {100 * run.scores['test'][task][FIGURES[task]]:.2f}" for task in job["tasks"])
    print(
        f"{job['way']} {job['size']} seed {job['seed']}: {figures}  ({line['seconds']} s)", file=sys.stderr, flush=True
    )
    if job["way"] != "gentle":
        shutil.rmtree(folder)


def folder_of(work: Path, job: dict[str, Any]) -> Path:
    return Path(work, "-".join([job["way"], str(job["size"]), str(job["seed"]), *job["tasks"]]))


def recipe_of(corpora: Path, work: Path, job: dict[str, Any]) -> dict[str, Any]:
    size, way = job["size"], job["way"]
    data = datasets(corpora, whole=size > 2000, scored="test")
    used = {TASKS[task]["data"] for task in job["tasks"]}
    table = SCRATCH_EPOCHS if way in ("scratch", "random") else EPOCHS
    epochs = table[max(known for known in table if known <= size)] * MORE.get(way, 1)
    stage = {"epochs": round(epochs), "keep": "last", "cosines": 0, **STAGE.get(way, {})}
    recipe: dict[str, Any] = {
        "seed": job["seed"],
        "data": {name: {**spec, "limit": size} for name, spec in data.items() if name in used},
        "tasks": {task: TASKS[task] for task in job["tasks"]},
        "stages": [stage],
    }
    if way == "scratch":
        recipe["encoder"] = SCRATCH
    if way == "random":
        recipe["encoder"] = {"name": "minilm", "weights": "random"}
    if way == "special":
        joint = folder_of(work, {**job, "way": "gentle", "tasks": list(TASKS)})
        recipe["start"] = {"run": str(joint.resolve()), "fresh": job["tasks"]}
    if way == "taught":
        stage["distil"] = {"teachers": [str(teacher(corpora, work, job, task)) for task in job["tasks"]]}
    return recipe


def teacher(corpora: Path, work: Path, job: dict[str, Any], task: str) -> Path:
    """The folder of a ``tuned`` run, which is kept; made when first asked for."""
    folder = (work / "-".join(["teacher", task, str(job["size"]), str(job["seed"])])).resolve()
    finished(recipe_of(corpora, work, {**job, "way": "tuned", "tasks": [task]}), folder)
    return folder


def print_tables(lines: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for line in lines:
        for task, scores in line["scores"].items():
            found[task, line["way"], line["size"]].append(100 * scores[FIGURES[task]])
    for task in TASKS:
        sizes = sorted({size for one, _, size in found if one == task})
        print(f"\n### {task}, {FIGURES[task]} (mean and range over seeds)\n")
        print("| way | " + " | ".join(f"{size:,}" for size in sizes) + " |\n|---|" + "---|" * len(sizes))
        for way in WAYS:
            cells = [cell(found.get((task, way, size), [])) for size in sizes]
            if any(cells):
                print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
