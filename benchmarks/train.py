"""Quality, speed and memory of training and prediction on real corpora, one encoder (minilm), fixed recipes.

    POLYHEAD_DATA=corpora python benchmarks/train.py                 # joint, three seeds
    POLYHEAD_DATA=corpora python benchmarks/train.py single          # one task at a time, three seeds
    POLYHEAD_DATA=corpora python benchmarks/train.py full --seeds 1  # all of EWT's training split

POLYHEAD_DATA names a folder with ``bench/`` (2,000 sentences of EWT, 1,500 of WNUT17, 2,000 of SST-2, full dev
splits) and ``ewt/``. Every run is a process of its own, so that its peak memory is its own. The machine's matrix rate
is measured in the same process, before and after, so that speeds can be stated as shares of it: 6 operations
(training) or 2 (prediction) for each weight of the transformer's layers and each real piece.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import machine

TASKS: dict[str, dict[str, Any]] = {
    "upos": {"type": "tagging", "data": "ewt", "layer": "upos"},
    "syntax": {"type": "parsing", "data": "ewt"},
    "entities": {"type": "ner", "data": "wnut", "layer": "entities"},
    "sentiment": {"type": "classification", "data": "sst", "layer": "sentiment", "weight": 0.3},
}
FULL_TASKS: dict[str, dict[str, Any]] = {
    "upos": TASKS["upos"],
    "features": {"type": "tagging", "data": "ewt", "layer": "feats"},
    "lemmas": {"type": "lemmatization", "data": "ewt"},
    "syntax": TASKS["syntax"],
}
FIGURES = [
    ("UPOS accuracy", "upos", "accuracy"),
    ("features accuracy", "features", "accuracy"),
    ("lemma accuracy", "lemmas", "accuracy"),
    ("UAS", "syntax", "uas"),
    ("LAS (with subtypes)", "syntax", "las"),
    ("LAS (official scorer)", "syntax", "las_universal"),
    ("CLAS", "syntax", "clas"),
    ("span F1 (strict)", "entities", "f1"),
    ("sentiment accuracy", "sentiment", "accuracy"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="joint", choices=["joint", "single", "full", "worker"])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed; the others count up from it")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--stage", default="{}", help="further stage settings, as JSON")
    parser.add_argument("--json", type=Path, help="write every run's figures here")
    parser.add_argument("--keep", type=Path, help="keep the run of the first seed in this folder")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "worker":
        worker(json.loads(options.job))
        return
    corpora = os.environ.get("POLYHEAD_DATA")
    if not corpora or not Path(corpora).is_dir():
        sys.exit("Set POLYHEAD_DATA to the folder of the corpora.")
    groups = {"joint": [list(TASKS)], "single": [[name] for name in TASKS], "full": [list(FULL_TASKS)]}[options.what]
    results = []
    for tasks in groups:
        runs = []
        for seed in range(options.first, options.first + options.seeds):
            recipe = make_recipe(Path(corpora).resolve(), options, tasks, seed)
            keep = str(options.keep) if options.keep and seed == options.first else None
            runs.append(start(recipe, keep))
            print(f"  {', '.join(tasks)}, seed {seed}: {runs[-1]['wall']:.0f} s", file=sys.stderr, flush=True)
        results.append({"tasks": tasks, "runs": runs})
        print_table(options.what, tasks, runs)
        if options.json:
            options.json.write_text(json.dumps(results, indent=2))


def make_recipe(corpora: Path, options: argparse.Namespace, tasks: list[str], seed: int) -> dict[str, Any]:
    full = options.what == "full"
    data = datasets(corpora, whole=full, scored="dev")
    if full:
        data["ewt"]["test"] = str(corpora / "ewt" / "en_ewt-ud-test.conllu")
    known = FULL_TASKS if full else TASKS
    chosen = {name: known[name] for name in tasks}
    used = {task["data"] for task in chosen.values()}
    stage = {"epochs": options.epochs, "keep": "last", **json.loads(options.stage)}  # nothing is chosen on dev
    return {"seed": seed, "data": {k: v for k, v in data.items() if k in used}, "tasks": chosen, "stages": [stage]}


def datasets(corpora: Path, *, whole: bool, scored: str) -> dict[str, dict[str, Any]]:
    """The three corpora, with whole training splits or small ones; the dev files are the split ``scored``."""
    bench = corpora / "bench"
    return {
        "ewt": {
            "format": "conllu",
            "train": str(corpora / "ewt" / "en_ewt-ud-train.conllu" if whole else bench / "ewt2k.conllu"),
            scored: str(bench / "ewt_dev.conllu"),
        },
        "wnut": {
            "format": "columns",
            "layers": ["words", "entities"],
            "train": str(corpora / "wnut17" / "train.conll" if whole else bench / "wnut1500.conll"),
            scored: str(bench / "wnut_dev.conll"),
        },
        "sst": {
            "format": "tsv",
            "layers": ["text", "sentiment"],
            "train": str(corpora / "sst2" / "train.tsv" if whole else bench / "sst2_2k.tsv"),
            scored: str(bench / "sst2_dev.tsv"),
        },
    }


def start(recipe: dict[str, Any], keep: str | None) -> dict[str, Any]:
    job = json.dumps({"recipe": recipe, "keep": keep})
    done = subprocess.run(
        [sys.executable, __file__, "worker", "--job", job], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def worker(job: dict[str, Any]) -> None:
    import torch

    from polyhead.nn.precision import matrix_rate
    from polyhead.predict import load
    from polyhead.recipe import make_recipe as parse
    from polyhead.training import train
    from polyhead.training.records import EpochEnded, Record, Stepped

    def rates() -> dict[str, float]:
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
        return {
            name: statistics.median(matrix_rate(dtype, rows=4096, repeats=1) for _ in range(15))
            for name, dtype in kinds.items()
        }

    before = rates()
    words = pieces = 0
    seconds = 0.0
    evaluation = 0.0

    def watch(record: Record) -> None:
        nonlocal words, pieces, seconds, evaluation
        if isinstance(record, Stepped):
            words, pieces, seconds = words + record.words, pieces + record.pieces, seconds + record.seconds
        elif isinstance(record, EpochEnded):
            evaluation += record.evaluation_seconds

    started = time.perf_counter()
    recipe = parse(job["recipe"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(job["keep"] or Path(temporary) / "run")
        run = train(recipe, folder, watch=watch)
        wall = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        model = run.model()
        precision = run.recipe.precision
        result = {
            "scores": run.scores,
            "precision": precision,
            "wall": wall,
            "train_words_per_second": words / seconds,
            "train_operations": 6 * model.encoder.layer_weights * pieces / seconds,
            "train_seconds": seconds,
            "evaluation_seconds": evaluation,
            "peak_gib": peak,
        }
        if "ewt" in recipe.data:
            result |= time_prediction(load(folder), Path(str(recipe.data["ewt"].dev)))
    after = rates()
    result["matrix_rate"] = {name: (before[name] + after[name]) / 2 for name in before}
    result["machine"] = f"{machine()}, torch {torch.__version__}"
    print(json.dumps(result))


def time_prediction(annotate: Any, file: Path) -> dict[str, float]:
    """From words in Python to typed answers of all heads, over EWT's dev split; the median of five."""
    from polyhead.data import DataSpec, read

    texts = [example.words for example in read(file, DataSpec(format="conllu"), {})]
    pieces = sum(
        len(item.ids) for item in annotate.backend.model.encoder.tokenise(list(read(file, DataSpec(format="conllu"))))
    )
    times = []
    for _ in range(5):
        start = time.perf_counter()
        docs = annotate.words(texts)
        times.append(time.perf_counter() - start)
    assert len(docs) == len(texts)
    took = statistics.median(times)
    return {
        "predict_words_per_second": sum(map(len, texts)) / took,
        "predict_operations": 2 * annotate.backend.model.encoder.layer_weights * pieces / took,
    }


def print_table(what: str, tasks: list[str], runs: list[dict[str, Any]]) -> None:
    print(f"\n### {what}: {', '.join(tasks)}; {len(runs)} seeds; {runs[0]['precision']}; {runs[0]['machine']}\n")
    print("| figure | mean | range |\n|---|---|---|")
    for split in runs[0]["scores"]:
        for title, task, name in FIGURES:
            if task in runs[0]["scores"][split]:
                row(f"{title}, {split}", [100 * run["scores"][split][task][name] for run in runs], 2)
    row("training, words/s", [run["train_words_per_second"] for run in runs], 0)
    row("training, share of matrix rate (%)", [share(run, "train") for run in runs], 1)
    if "predict_operations" in runs[0]:
        row("prediction, words/s", [run["predict_words_per_second"] for run in runs], 0)
        row("prediction, share of matrix rate (%)", [share(run, "predict") for run in runs], 1)
    row("peak memory, GiB", [run["peak_gib"] for run in runs], 2)
    row("matrix rate fp32, GFLOP/s", [run["matrix_rate"]["fp32"] / 1e9 for run in runs], 0)
    row("matrix rate bf16, GFLOP/s", [run["matrix_rate"]["bf16"] / 1e9 for run in runs], 0)
    row("whole run, s", [run["wall"] for run in runs], 0)
    sys.stdout.flush()


def share(run: dict[str, Any], what: str) -> float:
    return 100 * run[f"{what}_operations"] / run["matrix_rate"][run["precision"]]


def row(title: str, values: list[float], digits: int) -> None:
    low, high = min(values), max(values)
    print(f"| {title} | {statistics.mean(values):.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |")


if __name__ == "__main__":
    main()
