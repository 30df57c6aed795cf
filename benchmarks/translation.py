"""Translation from few pairs: Multi30k, English to French, by where the model starts; sizes, ways, seeds.

    POLYHEAD_DATA=corpora python benchmarks/translation.py run --results translation.jsonl   # goes on where it stopped
    python benchmarks/translation.py table --results translation.jsonl

Ways: ``scratch`` (an encoder of three layers and a decoder of two, with random weights), ``minilm`` (the pretrained
English encoder, a decoder with random weights), ``warm`` (a decoder that begins with layers of minilm's), ``parent``
(first English to German, all 29,000 pairs, then the pairs at hand, whose new pieces begin from the parent's), ``joint``
(both pairs at once, one decoder, each text begun with its language). The first n pairs of the training files are used.
Nothing is chosen on dev: the weights are those of the last epoch, and the test split of 2016 (flickr) is translated
once, with five beams. Each run is one line of the results; runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from results import add, cell, corpora, done, read

WAYS = ["scratch", "minilm", "warm", "parent", "joint"]
ALL = 29_000
EPOCHS = {1000: 60, 2000: 40, 5000: 25, 10000: 15, ALL: 8}
"""Epochs by the number of pairs; a size in between takes the next lower one's."""
BEAMS = 5
SMALL = {"layers": 3, "width": 256, "vocabulary": 6000, "lowercase": True}
"""The encoder of ``scratch``."""
STAGE: dict[str, Any] = {"batch_pieces": 2048, "keep": "last", "cosines": 0, "dropout": 0.2}
DECODER: dict[str, Any] = {"dropout": 0.3, "vocabulary": 6000, "beams": BEAMS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--results", type=Path, required=True, help="one JSON object a line")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 2000, 5000, ALL])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--target", default="fr", choices=["fr", "de"])
    parser.add_argument("--work", type=Path, default=Path("translation-runs"), help="where parents are kept")
    options = parser.parse_args()
    if options.what == "table":
        print_table(read(options.results))
        return
    for size in options.sizes:
        for seed in options.seeds:
            for way in options.ways:
                job = {"way": way, "target": options.target, "size": size, "seed": seed}
                once(corpora() / "multi30k", options, job)


def once(corpus: Path, options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Train and score one run, unless it is among the results."""
    if done(options.results, job):
        return
    folder = options.work / "-".join(map(str, job.values()))
    recipe = recipe_of(corpus, options, job)
    used = time.process_time()
    run, seconds = train(recipe, folder)
    name = job["target"]
    line = {
        **job,
        "scores": run.scores["test"][name],
        "interval": run.intervals["test"][name].figures["bleu"],
        "signature": run.signatures[name]["bleu"],
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "weights": sum(p.numel() for p in run.model().parameters()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    add(options.results, line)
    print(f"{job}: BLEU {100 * line['scores']['bleu']:.2f} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    shutil.rmtree(folder)


def train(recipe: dict[str, Any], folder: Path) -> tuple[Any, float]:
    """The run of a recipe, and the seconds that it took."""
    from polyhead.recipe import make_recipe
    from polyhead.training import train

    if folder.exists():
        shutil.rmtree(folder)
    start = time.perf_counter()
    run = train(make_recipe(recipe), folder)
    return run, time.perf_counter() - start


def recipe_of(corpus: Path, options: argparse.Namespace, job: dict[str, Any]) -> dict[str, Any]:
    size, way, target, seed = job["size"], job["way"], job["target"], job["seed"]
    epochs = EPOCHS[max(known for known in EPOCHS if known <= size)]
    recipe: dict[str, Any] = {
        "seed": seed,
        "encoder": SMALL if way == "scratch" else "minilm",
        "data": {target: pairs(corpus, target, size)},
        "tasks": {target: {"type": "seq2seq", "data": target, **DECODER}},
        "stages": [STAGE | {"epochs": epochs}],
    }
    if way == "warm":
        recipe["tasks"][target] |= {"decoder": "warm", "layers": 3}
    other = "de" if target == "fr" else "fr"
    if way == "parent":
        del recipe["encoder"]
        run = parent(corpus, options, other, seed)
        recipe["start"] = {"run": str(run.resolve()), "heads": {target: other}}
    if way == "joint":
        recipe["data"][other] = pairs(corpus, other, ALL)
        recipe["tasks"][target]["language"] = target
        recipe["tasks"][other] = {"head_of": target, "data": other, "language": other}
        recipe["stages"][0] |= {"epochs": EPOCHS[ALL], "sampling": 5.0}
    return recipe


def parent(corpus: Path, options: argparse.Namespace, target: str, seed: int) -> Path:
    """A run of the other pair, all of it; made when first asked for."""
    folder = Path(options.work) / f"parent-{target}-{seed}"
    if not (folder / "scores.json").exists():
        train(recipe_of(corpus, options, {"way": "minilm", "size": ALL, "target": target, "seed": seed}), folder)
    return folder


def pairs(corpus: Path, target: str, size: int) -> dict[str, Any]:
    return {
        "train": str(corpus / f"train.{{en,{target}}}"),
        "test": str(corpus / f"test_2016_flickr.{{en,{target}}}"),
        "language": ["en", target],
        "limit": size,
    }


def print_table(lines: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in lines:
        found[line["way"], line["size"]].append(100 * line["scores"]["bleu"])
    sizes = sorted({size for _, size in found})
    print("| way | " + " | ".join(f"{size:,}" for size in sizes) + " |\n|---|" + "---|" * len(sizes))
    for way in WAYS:
        cells = [cell(found.get((way, size), [])) for size in sizes]
        if any(cells):
            print(f"| {way} | " + " | ".join(cells) + " |")
    print("\n" + "\n".join(sorted({line["signature"] for line in lines})))


if __name__ == "__main__":
    main()
