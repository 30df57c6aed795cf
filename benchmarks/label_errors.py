"""Are label errors found, and are chosen texts worth more labels than random ones? On sentiment (SST-2), with minilm.

    POLYHEAD_DATA=corpora python benchmarks/label_errors.py run --results errors.jsonl     # goes on where it stopped
    python benchmarks/label_errors.py table --results errors.jsonl

``errors``: of ``bench/sst2_2k.tsv``, 5 % of the labels are flipped, drawn with a seed. Parts of the training split are
answered by runs that learnt from the others, as a study does it: with the encoder fine-tuned (``tuned``) or as it is
(``frozen``). What counts is the share of the flipped labels among the most suspect tenth of all texts, how many labels
are said to be wrong, and how many of the flipped ones are among these.

``pool``: a model learns from the first 200 sentences of ``sst2/train.tsv``, and 200 more are labelled out of the next
4,800: those that the study would choose (``chosen``), or the first of a shuffle (``random``); a new model learns from
all 400 and is scored on the test split.

Each run is one line of the results; runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from results import add, arguments, cell, corpora, done, finished, machine, read

SHARE, TENTH = 0.05, 0.1
"""The share of labels that are flipped, and of texts that are looked at."""

SEED_TEXTS, MORE, POOL = 200, 200, 5000
"""Sentences that are labelled at first, that are labelled then, and where the pool ends."""

TASK = {"type": "classification", "data": "sst", "layer": "sentiment"}
WAYS = {"tuned": "fine-tuned", "frozen": "frozen"}
METHODS = {"errors": ["frozen", "tuned"], "pool": ["random", "chosen"]}


def main() -> None:
    parser = arguments(__doc__, "label-errors-runs", "where runs are kept, to go on with")
    parser.add_argument("--measure", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--methods", nargs="+", default=[one for every in METHODS.values() for one in every])
    parser.add_argument("--encoder", default="minilm")
    options = parser.parse_args()
    if options.what == "table":
        print_tables(read(options.results))
        return
    import torch

    torch.set_num_threads(1)
    for seed in options.seeds:
        for measure in options.measure:
            for method in [one for one in METHODS[measure] if one in options.methods]:
                once(options, {"measure": measure, "method": method, "seed": seed})


def once(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Measure once, unless it is among the results."""
    if done(options.results, job):
        return
    used = time.process_time()
    folder = options.work / f"{job['measure']}-{job['method']}-{job['seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    measured = (errors if job["measure"] == "errors" else pool)(options, job, folder)
    line = {**job, **measured, "processor_seconds": round(time.process_time() - used, 1), "machine": machine()}
    add(options.results, line)
    print(line, file=sys.stderr, flush=True)


def errors(options: argparse.Namespace, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How many flipped labels are found."""
    from polyhead.recipe import make_recipe
    from polyhead.studies.asking import ask
    from polyhead.studies.learn import Order, learn
    from polyhead.studies.suspects import gather, parts_of
    from polyhead.studies.ways import part
    from polyhead.training.prepare import load_datasets, prepare_tasks

    bench = corpora() / "bench"
    texts, labels = sentences(bench / "sst2_2k.tsv")
    rng = np.random.default_rng(job["seed"])
    wrong = set(rng.choice(len(labels), size=round(SHARE * len(labels)), replace=False).tolist())
    noisy = [str(1 - int(label)) if place in wrong else label for place, label in enumerate(labels)]
    data = write(folder / "train.tsv", texts, noisy)
    recipe = make_recipe(recipe_of(options, job, data, test=bench / "sst2_dev.tsv"))
    question = ask(recipe, "sentiment", lambda _: None)
    count = parts_of(question.whole)
    lessons = [part(question, WAYS[job["method"]], number, count, job["seed"]) for number in range(1, count + 1)]
    for lesson in lessons:
        order = Order(folder / lesson.key, lesson.recipe, folder, "sentiment", "test", 1, part=True)
        outcome = learn(order)
        print(f"  {lesson.name}: {outcome.get('error') or outcome['seconds']}", file=sys.stderr, flush=True)
    tasks = recipe.make_tasks()
    datasets = load_datasets(recipe, tasks, ("train", "test"))
    prepare_tasks(tasks, datasets)
    found = gather(folder, folder, lessons, tasks["sentiment"], datasets["sst"].splits["train"])
    order_of = [line["line"] - 1 for line in read(folder / "suspects.jsonl")]
    first = set(order_of[: round(TENTH * len(labels))])
    said = set(order_of[: found.errors or 0])
    return {
        "found": len(wrong & first) / len(wrong),
        "said": found.errors,
        "right": len(wrong & said) / max(1, len(said)),
        "training_seconds": sum(learn_seconds(folder / lesson.key) for lesson in lessons),
    }


def learn_seconds(run: Path) -> float:
    """What a part took."""
    from polyhead.files import read_json

    return float(read_json(run / "study.json")["seconds"])


def pool(options: argparse.Namespace, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a model scores that learnt from more labels, chosen in one of two ways."""
    from polyhead.data import load_dataset
    from polyhead.model import load_model
    from polyhead.studies.pool import choose

    texts, labels = sentences(corpora() / "sst2" / "train.tsv")
    test = corpora() / "sst2" / "test.tsv"
    shuffled = np.random.default_rng(job["seed"]).permutation(len(texts))
    known, rest = shuffled[:SEED_TEXTS].tolist(), shuffled[SEED_TEXTS:POOL].tolist()
    before = write(folder / "before.tsv", [texts[i] for i in known], [labels[i] for i in known])
    first = finished(recipe_of(options, job, before, test), folder.with_name(f"pool-before-{job['seed']}"))
    more = rest[:MORE]
    if job["method"] == "chosen":
        path = folder / "pool.txt"
        path.write_text("".join(f"{texts[i]}\n" for i in rest), encoding="utf-8")
        spec = first.recipe.data["sst"]
        labelled = load_dataset("sst", spec, folder, {"sentiment": str})
        given, _ = choose(load_model(first.folder), "sentiment", path, MORE, labelled)
        place = {texts[i]: i for i in rest}
        more = [place[example.raw] for example, _ in given]
    both = [*known, *more]
    after = write(folder / "after.tsv", [texts[i] for i in both], [labels[i] for i in both])
    run = finished(recipe_of(options, job, after, test), folder / "after")
    scores = [one.scores["test"]["sentiment"]["accuracy"] for one in (first, run)]
    return {"before": scores[0], "accuracy": scores[1]}


def recipe_of(options: argparse.Namespace, job: dict[str, Any], train: Path, test: Path) -> dict[str, Any]:
    layers = ["text", "sentiment"]
    epochs = 5 if job["measure"] == "errors" else 15
    return {
        "seed": job["seed"],
        "encoder": options.encoder,
        "device": "cpu",
        "data": {"sst": {"layers": layers, "train": str(train.resolve()), "test": str(test.resolve())}},
        "tasks": {"sentiment": TASK},
        "stages": [{"epochs": epochs, "keep": "last", "cosines": 0}],
    }


def sentences(path: Path) -> tuple[list[str], list[str]]:
    """The texts and labels of a file."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], [label for _, label in rows]


def write(path: Path, texts: list[str], labels: list[str]) -> Path:
    lines = [f"{text}\t{label}\n" for text, label in zip(texts, labels, strict=True)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def print_tables(lines: list[dict[str, Any]]) -> None:
    print("\n### Flipped labels that are found, in per cent (mean and range over seeds)\n")
    print("| runs of parts | among the most suspect tenth | labels said to be wrong | of these flipped | minutes |")
    print("|---|---|---|---|---|")
    for method in METHODS["errors"]:
        here = [line for line in lines if (line["measure"], line["method"]) == ("errors", method)]
        if here:
            shares = [cell([100 * line[key] for line in here]) for key in ("found", "right")]
            said = cell([float(line["said"]) for line in here])
            minutes = cell([line["training_seconds"] / 60 for line in here])
            print(f"| {method} | {shares[0]} | {said} | {shares[1]} | {minutes} |")
    print(f"\n### Accuracy with {SEED_TEXTS} labels and {MORE} more (mean and range over seeds)\n")
    print("| the others | accuracy |\n|---|---|")
    pools = [line for line in lines if line["measure"] == "pool"]
    if pools:
        print(f"| none | {cell([100 * line['before'] for line in pools if line['method'] == 'random'])} |")
    for method in METHODS["pool"]:
        here = [100 * line["accuracy"] for line in pools if line["method"] == method]
        print(f"| {method} | {cell(here)} |")


if __name__ == "__main__":
    main()
