"""What a trained head keeps when it is taught one more label from 200 sentences: WNUT17, several ways, several seeds.

    POLYHEAD_DATA=corpora python benchmarks/new_label.py run --results new_label.jsonl     # goes on where it stopped
    python benchmarks/new_label.py table --results new_label.jsonl

One of WNUT17's six labels is held out. The first model learns from 1,500 sentences in which the other five are marked.
The second lesson are 200 further sentences that have the label held out, and in which it alone is marked. All of the
dev split is scored: the five old labels together (span F1), and the new one.

Ways: ``plain`` (the 200 sentences as if all were marked), ``only`` (what is not marked there is not held for nothing),
``replay`` (half of the examples are of the old data), ``both``, ``more`` (both, four of five examples being of the old
data), ``taught`` (``only``, and the first model's soft labels for the 200 sentences, in the place of its data), and
``at once`` (one model, from the pretrained encoder, on all 1,700 sentences).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results import add, arguments, cell, corpora, done, read

LABELS = ["corporation", "creative-work", "group", "location", "person", "product"]
TRAINING, LESSON = 1500, 200
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "only": {"only": True},
    "replay": {"stage": {"replay": 0.5}},
    "both": {"only": True, "stage": {"replay": 0.5}},
    "more": {"only": True, "stage": {"replay": 0.8}},
    "taught": {"only": True, "distil": 0.5},
    "at once": {"only": True},
}
STAGE: dict[str, Any] = {"epochs": 5, "keep": "last", "cosines": 0}

Sentence = list[tuple[str, str]]


def main() -> None:
    parser = arguments(__doc__, "new-label-runs", "where runs and their data are kept")
    parser.add_argument("--labels", nargs="+", default=["location"], choices=LABELS, help="which to hold out")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    if options.what == "table":
        print_tables(read(options.results))
        return
    for label in options.labels:
        work = options.work.resolve() / label
        write_data(corpora() / "wnut17", work, label)
        for seed in options.seeds:
            for way in ["first", *options.ways]:
                once(work, options.results, {"label": label, "seed": seed, "way": way})


def write_data(corpus: Path, work: Path, label: str) -> None:
    """The old and the new training sentences, and dev twice: each with the marks that belong to it alone."""
    work.mkdir(parents=True, exist_ok=True)
    train, dev = (list(sentences(corpus / f"{split}.conll")) for split in ("train", "dev"))
    lesson = [one for one in train[TRAINING:] if any(tag.endswith(f"-{label}") for _, tag in one)][:LESSON]
    old = [one for one in LABELS if one != label]
    for name, found, kept in (
        ("old-train", train[:TRAINING], old),
        ("new-train", lesson, [label]),
        ("old-dev", dev, old),
        ("new-dev", dev, [label]),
    ):
        blocks = ["".join(f"{word}\t{tag if tag[2:] in kept else 'O'}\n" for word, tag in one) for one in found]
        (work / f"{name}.conll").write_text("\n".join(blocks) + "\n", encoding="utf-8")


def sentences(path: Path) -> Iterator[Sentence]:
    sentence: Sentence = []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        if line.strip():
            word, tag = line.split("\t")
            sentence.append((word, tag))
        elif sentence:
            yield sentence
            sentence = []


def once(work: Path, results: Path, job: dict[str, Any]) -> None:
    """Train and score one run, unless it is among the results."""
    from polyhead import evaluate
    from polyhead.recipe import make_recipe
    from polyhead.training import train

    folder = work / f"{job['way'].replace(' ', '-')}-{job['seed']}"
    if done(results, job):
        return
    if folder.exists():
        shutil.rmtree(folder)
    train(make_recipe(recipe_of(work, job)), folder)
    say_what_is_marked(folder, job["label"])
    scores = evaluate(folder)
    line = {**job, "scores": scores}
    add(results, line)
    figures = "  ".join(f"{task} {100 * found['f1']:.2f}" for task, found in scores.items())
    print(f"{job['way']} {job['label']} seed {job['seed']}: {figures}", file=sys.stderr, flush=True)
    if job["way"] != "first":
        shutil.rmtree(folder)


def say_what_is_marked(folder: Path, label: str) -> None:
    """However a model learnt, the labels that a dev file does not mark are not counted as wrong answers."""
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for task in config["tasks"]:
        task["only"] = [label] if task["name"] == "new" else [one for one in LABELS if one != label]
    path.write_text(json.dumps(config), encoding="utf-8")


def recipe_of(work: Path, job: dict[str, Any]) -> dict[str, Any]:
    way = WAYS.get(job["way"], {})
    first = str(work / f"first-{job['seed']}")
    data = {
        name: {
            "format": "columns",
            "layers": ["words", "entities"],
            "train": str(work / f"{name}-train.conll"),
            "test": str(work / f"{name}-dev.conll"),
        }
        for name in ("old", "new")
    }
    marked = [label for label in LABELS if label != job["label"]]
    old: dict[str, Any] = {"type": "ner", "data": "old", "layer": "entities", "only": marked}
    new: dict[str, Any] = {"head_of": "old", "data": "new", "only": [job["label"]]}
    if not way.get("only"):
        del old["only"], new["only"]
    recipe: dict[str, Any] = {"seed": job["seed"], "data": data, "tasks": {"old": old, "new": new}}
    if job["way"] == "first":
        del data["new"], recipe["tasks"]["new"]
        return recipe | {"stages": [STAGE]}
    if job["way"] == "at once":
        return recipe | {"stages": [STAGE]}
    stage = STAGE | {"tasks": ["new"]} | way.get("stage", {})
    if "distil" in way:
        stage["distil"] = {"teachers": [first], "share": way["distil"]}
    return recipe | {"start": {"run": first}, "stages": [stage]}


def print_tables(lines: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    for line in lines:
        figures = {task: 100 * scores["f1"] for task, scores in line["scores"].items()}
        found[line["label"], line["way"]][line["seed"]] = figures
    for label in dict.fromkeys(label for label, _ in found):
        first = found[label, "first"]
        seeds = ", ".join(map(str, sorted(first)))
        print(f"\n### {label}: span F1 on dev, mean (range) over the seeds {seeds}\n")
        print("| way | the old labels | what they lost | the new label |\n|---|---|---|---|")
        print(f"| first model | {cell([one['old'] for one in first.values()])} | | |")
        for way in WAYS:
            runs = found.get((label, way), {})
            if runs:
                lost = [first[seed]["old"] - one["old"] for seed, one in runs.items()]
                old, new = ([one[task] for one in runs.values()] for task in ("old", "new"))
                print(f"| {way} | {cell(old)} | {cell(lost)} | {cell(new)} |")


if __name__ == "__main__":
    main()
