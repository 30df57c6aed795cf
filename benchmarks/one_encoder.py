"""One encoder for three unlike tasks, beside a model for each: part of speech, entities, translation.

    POLYHEAD_DATA=corpora python benchmarks/one_encoder.py run --results one_encoder.jsonl   # goes on where it stopped
    python benchmarks/one_encoder.py table --results one_encoder.jsonl

minilm learns, with a head for each, from 2,000 sentences of EWT (UPOS), 1,500 of WNUT17 (entities) and the first 5,000
English and French pairs of Multi30k: all three in one stage (``together``), or each in a model of its own, with the
same settings and as many epochs. Nothing is chosen on dev: the weights are those of the last epoch, averaged. EWT's
and WNUT17's dev splits are scored, and Multi30k's test split of 2016 (flickr) with five beams. Each run is one line of
the results; runs that are there already are not repeated, and a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import defaultdict
from typing import Any

from results import add, arguments, cell, corpora, done, finished, machine, read
from train import datasets
from translation import decoder, pairs

PAIRS = 5000
TASKS: dict[str, dict[str, Any]] = {
    "upos": {"type": "tagging", "data": "ewt", "layer": "upos"},
    "entities": {"type": "ner", "data": "wnut", "layer": "entities"},
    "fr": decoder("fr", PAIRS),
}
FIGURES = {"upos": "accuracy", "entities": "f1", "fr": "bleu"}
NAMES = {"upos": "UPOS accuracy, EWT dev", "entities": "span F1, WNUT17 dev", "fr": "BLEU, English to French"}
STAGE = {"epochs": 10, "keep": "last", "cosines": 0}


def main() -> None:
    parser = arguments(__doc__, "one-encoder-runs", "where runs are until they end", seeds=[1])
    options = parser.parse_args()
    if options.what == "table":
        print_table(read(options.results))
        return
    for seed in options.seeds:
        for tasks in (list(TASKS), *([task] for task in TASKS)):
            once(options, {"tasks": tasks, "seed": seed})


def once(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Train and score one run, unless it is among the results."""
    if done(options.results, job):
        return
    folder = options.work / "-".join([*job["tasks"], str(job["seed"])])
    data = datasets(corpora(), whole=False, scored="test") | {"fr": pairs(corpora() / "multi30k", "fr", PAIRS)}
    tasks = {name: TASKS[name] for name in job["tasks"]}
    recipe = {
        "seed": job["seed"],
        "encoder": "minilm",
        "data": {task["data"]: data[task["data"]] for task in tasks.values()},
        "tasks": tasks,
        "stages": [STAGE],
    }
    start = time.process_time()
    run = finished(recipe, folder)
    line = {
        **job,
        "scores": {name: run.scores["test"][name] for name in tasks},
        "processor_seconds": round(time.process_time() - start, 1),
        "weights": sum(p.numel() for p in run.model().parameters()),
        "machine": machine(),
    }
    add(options.results, line)
    figures = "  ".join(f"{name} {100 * line['scores'][name][FIGURES[name]]:.2f}" for name in tasks)
    print(f"seed {job['seed']}: {figures}  ({line['processor_seconds']} s)", file=sys.stderr, flush=True)
    shutil.rmtree(folder)


def print_table(lines: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    weights: dict[str, int] = {}
    for line in lines:
        weights["+".join(line["tasks"])] = line["weights"]
        for task, scores in line["scores"].items():
            found[task, len(line["tasks"]) > 1].append(100 * scores[FIGURES[task]])
    print("| | a model for each | together |\n|---|---|---|")
    for task, name in NAMES.items():
        print(f"| {name} | {cell(found[task, False])} | {cell(found[task, True])} |")
    alone = sum(weights.get(task, 0) for task in TASKS)
    print(f"| weights, millions | {alone / 1e6:.1f} | {weights.get('+'.join(TASKS), 0) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
