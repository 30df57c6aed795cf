"""What several processes bring: words per second, the share of the time in exchanges, and a model up to 64 devices.

    POLYHEAD_DATA=corpora python benchmarks/scaling.py
    python benchmarks/scaling.py --sample --pieces 1536     # on the corpus that polyhead carries

Trains the joint recipe of ``benchmarks/train.py`` (or the demo's) for a few steps with 1 process and with 2, each with
one thread, at several sizes of a batch. Then it prints the model's table. A step on N devices takes

    passes * filled(N) / N + update + 2 (N - 1) / N * bytes / bandwidth + latency * 2 * log2(N)

where ``passes`` (forwards and backwards) and ``update`` (the optimizer, which each device does whole) are measured with
one process, ``bytes`` are 4 for each weight that learns, and ``filled`` is what the largest share of a batch has of
pieces over an equal share, as the sampler cuts the batches. Nothing of the exchange is taken to be hidden behind the
backward pass. The network is given by --bandwidth and --latency; those of this machine are measured with 2 processes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from train import TASKS, make_recipe

NETWORKS = {
    "devices of one machine, 150 GB/s": (150e9, 20e-6),
    "machines on 100 Gbit/s": (10e9, 40e-6),
    "machines on 10 Gbit/s": (1e9, 60e-6),
}
"""Bandwidth in bytes per second, as a program gets it, and latency in seconds, of kinds of networks; assumed."""

DEVICES = (1, 2, 4, 8, 16, 32, 64)
WARM = 3
"""Steps that set things up, and are not counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", action="store_true", help="the corpus that polyhead carries, not POLYHEAD_DATA")
    parser.add_argument("--pieces", type=int, nargs="+", default=[384, 1536, 6144], help="sizes of a batch")
    parser.add_argument("--steps", type=int, default=40, help="steps of each run")
    parser.add_argument("--bandwidth", type=float, help="another network for the table, in bytes per second")
    parser.add_argument("--latency", type=float, default=50e-6, help="its latency in seconds")
    parser.add_argument("--passes", type=float, help="seconds of a step's passes on another device, for the table")
    parser.add_argument("--update", type=float, help="seconds of the optimizer's update there")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        worker(json.loads(options.job))
        return
    networks = dict(NETWORKS)
    if options.bandwidth:
        networks["given"] = (options.bandwidth, options.latency)
    found = []
    print(
        "| pieces in a batch | processes | words/s | times as fast | passes, s | update, s | exchange | fullest share |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for pieces in options.pieces:
        both = {count: start(options, pieces, count) for count in (1, 2)}
        found.append({"pieces": pieces, "runs": both})
        for count, run in both.items():
            times = run["words_per_second"] / both[1]["words_per_second"]
            share, filled = run["exchange"] / run["seconds"], run["filled"][str(count)]
            print(
                f"| {pieces} | {count} | {run['words_per_second']:,.0f} | {times:.2f} | {run['passes']:.3f} | "
                f"{run['update']:.3f} | {100 * share:.1f} % | {filled:.2f} |"
            )
    for one in found:
        networks_here = {"this machine, as measured": measured_network(one["runs"][2]), **networks}
        print_model(one["pieces"], one["runs"][1], networks_here, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def recipe_of(options: argparse.Namespace, pieces: int) -> dict[str, Any]:
    stage = {"epochs": 1, "batch_pieces": pieces, "cosines": 0}
    if options.sample:
        import tomllib

        import polyhead

        folder = Path(polyhead.__file__).parent / "sample"
        recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
        for name in ("train", "dev", "test"):
            recipe["data"]["reviews"][name] = str(folder / recipe["data"]["reviews"][name])
        epochs = 1 + options.steps * pieces // 4000  # the sample has about so many pieces
        recipe["stages"] = [stage | {"epochs": epochs, "score_every": 1000}]
    else:
        corpora = os.environ.get("POLYHEAD_DATA")
        if not corpora or not Path(corpora).is_dir():
            sys.exit("Set POLYHEAD_DATA to the folder of the corpora, or take --sample.")
        given = argparse.Namespace(what="joint", epochs=1, stage=json.dumps(stage))
        recipe = make_recipe(Path(corpora).resolve(), given, list(TASKS), seed=1)
    return {**recipe, "precision": options.precision}


def start(options: argparse.Namespace, pieces: int, count: int) -> dict[str, Any]:
    """Train with so many processes; returns what the first one measured."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        job = {"recipe": recipe_of(options, pieces), "run": str(Path(folder, "run")), "steps": options.steps}
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        subprocess.run(
            [sys.executable, *launcher, __file__, "--job", json.dumps({**job, "result": str(result)})],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return measured


def worker(job: dict[str, Any]) -> None:
    """Train for a few steps, and measure where the time goes."""
    import polyhead
    from polyhead import ranks
    from polyhead.recipe import make_recipe as parse
    from polyhead.training.passes import Passes

    steps: list[tuple[float, float, float, int]] = []  # when passes began and ended, the waits in them, words
    own = Passes.step
    known: dict[str, Any] = {}

    def step(passes: Passes, batches: Any, number: int, *rest: Any, **named: Any) -> Any:
        began, waited = time.perf_counter(), ranks.waited()
        named["wishes"] = (len(steps) >= job["steps"], False)
        out = own(passes, batches, number, *rest, **named)
        words = sum(len(passes.examples.items[row].words) or 1 for rows in batches for row in rows)
        steps.append((began, time.perf_counter(), ranks.waited() - waited, words))
        known["passes"] = passes
        return out

    Passes.step = step  # type: ignore[method-assign]
    with ranks.joined():
        with suppress(KeyboardInterrupt):  # enough steps
            polyhead.train(parse(job["recipe"]), job["run"], stop=lambda: len(steps) >= job["steps"])
        passes = known["passes"]
        counted = steps[WARM:]
        seconds = [after[0] - before[0] for before, after in pairwise(counted)]
        waits = statistics.median(wait for _, _, wait, _ in counted)
        # Who has the smaller share waits for the other: what all wait is the exchange itself.
        exchange = min(ranks.shared(waits))
        result = {
            "words_per_second": sum(words for *_, words in counted[:-1]) / sum(seconds),
            "seconds": statistics.median(seconds),
            "passes": statistics.median(end - began for began, end, _, _ in counted) - waits,
            "update": statistics.median(b[0] - a[1] for a, b in pairwise(counted)),
            "exchange": exchange,
            "bytes": 4 * sum(weight.numel() for weight in known["passes"].model.parameters() if weight.requires_grad),
            "filled": filled(passes, job["recipe"]["stages"][0]["batch_pieces"]),
        }
        if ranks.first():
            Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


def filled(passes: Any, pieces: int) -> dict[int, float]:
    """For each number of devices the pieces of the largest share over those of an equal one, over an epoch."""
    from polyhead.training.sampling import epoch_batches, share_out

    examples = passes.examples
    lengths, heights = examples.lengths, examples.rows
    batches = epoch_batches(examples.sizes, lengths, heights, budget=pieces, sampling="proportional", seed=(1, 0, 0))
    found = {}
    for count in DEVICES:
        largest = sum(
            max(
                int(lengths[part].max() * heights[part].sum())
                for part in share_out(rows, lengths, heights, count)
                if len(part)
            )
            for rows in batches
        )
        whole = sum(int(lengths[rows].max() * heights[rows].sum()) for rows in batches)
        found[count] = largest * count / whole
    return found


def measured_network(run: dict[str, Any]) -> tuple[float, float]:
    """Bandwidth between two processes here, if all of the exchange were bandwidth."""
    return run["bytes"] / max(run["exchange"], 1e-6), 0.0


def print_model(
    pieces: int, one: dict[str, Any], networks: dict[str, tuple[float, float]], options: argparse.Namespace
) -> None:
    passes, update = options.passes or one["passes"], options.update or one["update"]
    print(f"\nA batch of {pieces} pieces: passes {passes:.4f} s, update {update:.4f} s, {one['bytes'] / 2**20:.0f} MiB")
    print("(times as fast as one device; share of the time in the exchange)\n")
    print(f"| network | {' | '.join(map(str, DEVICES))} |\n|---|{'---:|' * len(DEVICES)}")
    for name, (bandwidth, latency) in networks.items():
        cells = []
        for count in DEVICES:
            work = passes * one["filled"][str(count)] / count + update
            exchange = 2 * (count - 1) / count * one["bytes"] / bandwidth + latency * 2 * math.log2(count)
            cells.append(f"{(passes + update) / (work + exchange):.1f} ({100 * exchange / (work + exchange):.0f} %)")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
