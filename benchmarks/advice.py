"""Whether advice is worth following: encoders ranked before any training, against what each is worth fine-tuned.

    POLYHEAD_DATA=corpora python benchmarks/advice.py run --results advice.jsonl     # goes on where it stopped
    python benchmarks/advice.py table --results advice.jsonl

Candidates: minilm cut after each of its layers (``cut-1`` to ``cut-6``, the last of which is minilm itself), its
architecture with random weights (``random``), a small encoder from scratch that learnt from the plain text of WNUT17
and SST-2 (``scratch``), and minilm after masked-lm on the text of WNUT17 (``social``) or of SST-2 (``films``). Each is
fine-tuned on the first sentences of SST-2 and of WNUT17 and scored on the dev split, with the weights of the last
epoch. The advice sees the same training sentences, and no score. The tables have the rank correlation (Spearman) of
each measure with the scores, and what share of the fine-tuning's processor time the advice took. Each training, and
each advice, is one line of the results; lines that are there already are not computed again. Scores are means over
seeds, advice is of one draw of examples each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import add, arguments, corpora, done, finished, machine, read
from train import datasets

TASKS: dict[str, dict[str, Any]] = {
    "sentiment": {"type": "classification", "data": "sst", "layer": "sentiment"},
    "entities": {"type": "ner", "data": "wnut", "layer": "entities"},
}
FIGURES = {"sentiment": "accuracy", "entities": "f1"}
LAYERS = 6
CANDIDATES = [*(f"cut-{layers}" for layers in range(1, LAYERS + 1)), "random", "scratch", "social", "films"]
EPOCHS = 5
PRETRAINING: dict[str, dict[str, Any]] = {
    "scratch": {"epochs": 2, "batch_pieces": 1024, "keep": "last"},
    "social": {"epochs": 1, "batch_pieces": 1024, "learning_rate": 3e-4, "keep": "last"},
    "films": {"epochs": 1, "batch_pieces": 1024, "learning_rate": 3e-4, "keep": "last"},
}
"""The stage of the candidates that learn from plain text."""
SMALL = {"layers": 2, "width": 256, "vocabulary": 8000, "lowercase": True}
"""The encoder of ``scratch``."""


def main() -> None:
    parser = arguments(__doc__, "advice-runs", "where the candidates are kept", seeds=[1])
    parser.add_argument("--size", type=int, default=1000, help="training sentences")
    parser.add_argument("--examples", type=int, default=500, help="how many of them the advice looks at")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES, choices=CANDIDATES)
    options = parser.parse_args()
    if options.what == "table":
        print_tables(read(options.results))
        return
    for seed in options.seeds:
        for name in options.candidates:
            for task in options.tasks:
                tune(options, {"what": "tuned", "candidate": name, "task": task, "size": options.size, "seed": seed})
        for task in options.tasks:
            judge(options, {"what": "advice", "task": task, "size": options.size, "seed": seed})


def tune(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Fine-tune a candidate and score it, unless it is among the results."""
    if done(options.results, job):
        return
    encoder = candidate(options.work, job["candidate"])
    folder = options.work / "-".join(map(str, job.values()))
    start, used = time.perf_counter(), time.process_time()
    recipe = recipe_of(job["task"], job["size"], job["seed"]) | {"encoder": str(encoder.resolve())}
    scores = finished(recipe, folder).scores["test"][job["task"]]
    line = {
        **job,
        "score": scores[FIGURES[job["task"]]],
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "machine": machine(),
    }
    add(options.results, line)
    said = f"{job['candidate']} {job['task']} {100 * line['score']:.2f} ({line['processor_seconds']} s)"
    print(said, file=sys.stderr, flush=True)
    shutil.rmtree(folder)


def judge(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Ask for advice on all candidates, with nothing kept from before, unless it is among the results."""
    from polyhead import advise
    from polyhead.recipe import make_recipe

    job = {**job, "candidates": options.candidates, "examples": options.examples}
    if done(options.results, job):
        return
    names = {str(candidate(options.work, name).resolve()): name for name in options.candidates}
    recipe = make_recipe(recipe_of(job["task"], job["size"], job["seed"]))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POLYHEAD_CACHE"] = folder
        start, used = time.perf_counter(), time.process_time()
        found = advise(recipe, job["task"], encoders=list(names), examples=job["examples"], seed=job["seed"])
        spent = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - used}
    line = {
        **job,
        "logme": {names[one.name]: one.logme.value for one in found.encoders},
        "h_score": {names[one.name]: one.h_score for one in found.encoders},
        "tied": [names[one.name] for one in found.encoders if one.tied],
        **{key: round(value, 1) for key, value in spent.items()},
        "machine": machine(),
    }
    add(options.results, line)
    print(f"advice on {job['task']}: {line['processor_seconds']} s", file=sys.stderr, flush=True)


def recipe_of(task: str, size: int, seed: int) -> dict[str, Any]:
    """A recipe for one task; without an encoder, so minilm's."""
    name = TASKS[task]["data"]
    spec = datasets(corpora(), whole=False, scored="test")[name]
    return {
        "seed": seed,
        "data": {name: {**spec, "limit": size}},
        "tasks": {task: TASKS[task]},
        "stages": [{"epochs": EPOCHS, "keep": "last", "cosines": 0}],
    }


def candidate(work: Path, name: str) -> Path:
    """The folder of an encoder; made when first asked for."""
    from polyhead.nn.loading import load_encoder

    if name in PRETRAINING:
        folder = work / f"pretrained-{name}"
        finished(pretraining(name), folder)
        return Path(folder / "model" / "encoder")
    folder = work / name
    if not folder.exists():
        encoder = load_encoder("minilm", draw=1 if name == "random" else None)
        layers = LAYERS if name == "random" else int(name.removeprefix("cut-"))
        del encoder.layers[layers:]
        encoder.config.num_hidden_layers = layers
        encoder.save(work / f"{name}.unfinished")
        (work / f"{name}.unfinished").rename(folder)
    return folder


def pretraining(name: str) -> dict[str, Any]:
    """The recipe of a candidate that learns from plain text."""
    known = {data: {**spec, "test": None} for data, spec in datasets(corpora(), whole=True, scored="test").items()}
    texts = {"scratch": ["wnut", "sst"], "social": ["wnut"], "films": ["sst"]}[name]
    return {
        "encoder": SMALL if name == "scratch" else "minilm",
        "data": {data: {key: value for key, value in known[data].items() if value is not None} for data in texts},
        "tasks": {f"text-{data}": {"type": "masked-lm", "data": data} for data in texts},
        "stages": [PRETRAINING[name]],
    }


def print_tables(lines: list[dict[str, Any]]) -> None:
    tuned = [line for line in lines if line["what"] == "tuned"]
    for advice in (line for line in lines if line["what"] == "advice"):
        here = [line for line in tuned if all(line[key] == advice[key] for key in ("task", "size"))]
        found = {name: [line for line in here if line["candidate"] == name] for name in advice["candidates"]}
        scores, spent = (
            {name: statistics.mean(line[key] for line in some) for name, some in found.items() if some}
            for key in ("score", "processor_seconds")
        )
        print_table(advice, {name: 100 * score for name, score in scores.items()}, sum(spent.values()))


def print_table(advice: dict[str, Any], scores: dict[str, float], spent: float) -> None:
    from scipy.stats import spearmanr

    measures = ("logme", "h_score")
    draw = f"{advice['examples']:,} drawn with seed {advice['seed']}"
    print(f"\n### {advice['task']}, {advice['size']:,} sentences, advice on {draw}\n")
    print(
        f"| encoder | {FIGURES[advice['task']]} | LogME | H-score | not told from the first |\n|---|---:|---:|---:|---|"
    )
    for name in sorted(scores, key=lambda name: -scores[name]):
        values = " | ".join(f"{advice[measure][name]:.4f}" for measure in measures)
        print(f"| {name} | {scores[name]:.2f} | {values} | {'yes' if name in advice['tied'] else ''} |")
    ranks = [
        float(spearmanr(list(scores.values()), [advice[measure][name] for name in scores]).statistic)
        for measure in measures
    ]
    print(f"\nRank correlation: LogME {ranks[0]:.2f}, H-score {ranks[1]:.2f}.")
    share = advice["processor_seconds"] / spent
    print(f"Processor time: {advice['processor_seconds']:.0f} s for {spent:.0f} s of fine-tuning, {share:.1%}.")


if __name__ == "__main__":
    main()
