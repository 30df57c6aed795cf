"""What pretraining on plain text of a domain is worth: entities in social media (WNUT17), two sizes, several seeds.

    POLYHEAD_DATA=corpora python benchmarks/domain.py run --results domain.jsonl     # goes on where it stopped
    python benchmarks/domain.py table --results domain.jsonl

The encoder (minilm) first learns from the words of WNUT17's whole training split, 3,394 texts without their labels
(masked-lm, once, seed 1); then entities from the first 100 or 1,500 labelled ones. Beside it stands the same without
the first step. The dev split is scored once, with the weights of the last epoch, and the two models of a seed are
compared on it by the paired bootstrap. Each pair is one line of the results; pairs that are there already are not
repeated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from results import add, arguments, corpora, done, finished, read
from train import datasets

EPOCHS = {100: 20, 1500: 5}
"""Epochs by the number of labelled sentences."""
ADAPT = {"epochs": 10, "batch_pieces": 2048, "learning_rate": 3e-4, "keep": "last"}
"""The stage of pretraining."""


def main() -> None:
    parser = arguments(__doc__, "domain-runs", "where the pretrained run is kept")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(EPOCHS), choices=list(EPOCHS))
    options = parser.parse_args()
    if options.what == "table":
        print_table(read(options.results))
        return
    for size in options.sizes:
        for seed in options.seeds:
            once(options, {"size": size, "seed": seed})


def once(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Train both, compare them, and write what came out, unless it is among the results."""
    from polyhead import compare

    if done(options.results, job):
        return
    starts = {"plain": {"encoder": "minilm"}, "adapted": {"start": {"run": str(adapted(options.work).resolve())}}}
    folders = {}
    for name, start in starts.items():
        labelled = {**datasets(corpora(), whole=False, scored="test")["wnut"], "limit": job["size"]}
        recipe = {
            "seed": job["seed"],
            "data": {"wnut": labelled},
            "tasks": {"entities": {"type": "ner", "data": "wnut", "layer": "entities"}},
            "stages": [{"epochs": EPOCHS[job["size"]], "keep": "last"}],
            **start,
        }
        folders[name] = finished(recipe, options.work / "-".join([name, *map(str, job.values())])).folder
    found = compare(folders["plain"], folders["adapted"])["entities"].figures["f1"]
    add(options.results, {**job, **found.to_dict()})
    print(f"{job}: {100 * found.first:.2f}, then {100 * found.second:.2f}", file=sys.stderr, flush=True)
    for folder in folders.values():
        shutil.rmtree(folder)


def adapted(work: Path) -> Path:
    """The folder of the run of pretraining; made when first asked for."""
    texts = {"format": "columns", "layers": ["words", "entities"], "train": str(corpora() / "wnut17" / "train.conll")}
    recipe = {
        "data": {"texts": texts},
        "tasks": {"text": {"type": "masked-lm", "data": "texts"}},
        "stages": [ADAPT],
    }
    return Path(finished(recipe, work / "adapted").folder)


def print_table(lines: list[dict[str, Any]]) -> None:
    print("| sentences | seed | without | with | gain (95 % interval) |\n|---:|---:|---:|---:|---|")
    for line in lines:
        low, high = line["interval"]
        gain = f"{100 * line['difference']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        print(
            f"| {line['size']:,} | {line['seed']} | {100 * line['first']:.2f} | {100 * line['second']:.2f} | {gain} |"
        )


if __name__ == "__main__":
    main()
