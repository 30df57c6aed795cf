"""How fast a trained model answers: torch in fp32 and bf16 beside exports in fp32 and int8, and what each scores.

    POLYHEAD_DATA=corpora python benchmarks/prediction.py [--work prediction-run]

The joint recipe of ``train.py`` is trained, unless the folder has it already, and exported twice. All ways then answer
EWT's dev split with all four heads, in turns, several times: from words in Python to typed answers. A share of the
machine's matrix rate says how much of the time is products: those of the encoder's layers with their weights, over the
rate of one large product in the same precision, measured in the same process. Scores are those on all dev splits. Last,
``polyhead predict`` answers one sentence from a cold process, for the run and for both exports.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from results import corpora, finished
from train import TASKS, datasets

PROCESSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("prediction-run"), help="where the run and exports are kept")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    run = options.work / "run"
    recipe = {
        "seed": 1,
        "data": datasets(corpora(), whole=False, scored="dev"),
        "tasks": TASKS,
        "stages": [{"epochs": options.epochs, "keep": "last"}],
    }
    finished(recipe, run)
    exports = {"ONNX fp32": exported(run, None), "ONNX int8": exported(run, "int8")}
    print(f"{platform.machine()}, medians of {options.rounds} rounds in turns\n")
    speeds(run, exports, options.rounds)
    scores(run, exports)
    cold(run, exports)


def exported(run: Path, quantise: str | None) -> Path:
    """The run's export, made if it is not there."""
    import polyhead

    folder = run / ("onnx" if quantise is None else f"onnx-{quantise}")
    return folder if folder.exists() else polyhead.export(run, quantise=quantise, tell=print)


def models(run: Path, exports: dict[str, Path]) -> dict[str, Any]:
    """Each way's model, as scoring takes it."""
    from polyhead.model import load_model
    from polyhead.predict import ExportedModel

    ways: dict[str, Any] = {f"torch {kind}": load_model(run, only_answers=True).use(kind) for kind in ("fp32", "bf16")}
    return ways | {name: ExportedModel(folder) for name, folder in exports.items()}


def speeds(run: Path, exports: dict[str, Path], rounds: int) -> None:
    """Run all ways in turns, and print a row for each."""
    import polyhead
    from polyhead.data import DataSpec, read
    from polyhead.predict import annotator

    file = corpora() / "bench" / "ewt_dev.conllu"
    texts = [example.words for example in read(file, DataSpec(format="conllu"), {})]
    ways = {name: annotator(model) for name, model in models(run, {}).items()}
    encoder = ways["torch fp32"].backend.model.encoder
    pieces = sum(len(item.ids) for item in encoder.tokenise(list(read(file, DataSpec(format="conllu")))))
    operations = 2 * encoder.layer_weights * pieces
    ways |= {name: polyhead.load(folder) for name, folder in exports.items()}
    words = sum(map(len, texts))
    found: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in RATES}
    for number in range(rounds + 1):
        for name, annotate in ways.items():
            start = time.perf_counter()
            docs = annotate.words(texts)
            if number:  # the first round sets things up
                found[name].append(time.perf_counter() - start)
        assert len(docs) == len(texts)
        for name, rate in RATES.items():
            rates[name].append(rate())
    took = {name: statistics.median(times) for name, times in found.items()}
    print("| way | words/s | range | beside torch bf16 | share of matrix rate (%) |\n|---|---:|---|---:|---:|")
    for name, seconds in took.items():
        rate = statistics.median(rates[name.split()[1]])
        low, high = words / max(found[name]), words / min(found[name])
        print(
            f"| {name} | {words / seconds:.0f} | {low:.0f} to {high:.0f} | {took['torch bf16'] / seconds:.2f}"
            f" | {100 * operations / seconds / rate:.1f} |"
        )
    print("\nmatrix rates: " + ", ".join(f"{name} {statistics.median(r) / 1e9:.0f} GOP/s" for name, r in rates.items()))
    sys.stdout.flush()


def torch_rate(kind: str) -> Callable[[], float]:
    """Measures the rate of torch's products in one precision."""

    def rate() -> float:
        import torch

        from polyhead.nn.precision import matrix_rate

        return matrix_rate(getattr(torch, kind), rows=4096, repeats=1)

    return rate


def whole_rate() -> float:
    """Operations per second of a (4096, 384) by (384, 1536) product of whole numbers, the best of a few."""
    best = float("inf")
    session, given = _whole_product()
    for _ in range(3):
        start = time.perf_counter()
        session.run(None, given)
        best = min(best, time.perf_counter() - start)
    return 2 * 4096 * 384 * 1536 / best


def _whole_product(made: list[Any] = []) -> Any:  # noqa: B006 - made once
    if not made:
        import onnx
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        random = np.random.default_rng(0)
        weight = numpy_helper.from_array(random.integers(-127, 128, (384, 1536), dtype=np.int8), "weight")
        left = helper.make_tensor_value_info("left", TensorProto.UINT8, [4096, 384])
        out = helper.make_tensor_value_info("out", TensorProto.INT32, [4096, 1536])
        node = helper.make_node("MatMulInteger", ["left", "weight"], ["out"])
        graph = helper.make_graph([node], "product", [left], [out], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        session = onnxruntime.InferenceSession(onnx.ModelProto.SerializeToString(model))
        made += [session, {"left": random.integers(0, 256, (4096, 384), dtype=np.uint8)}]
    return made[0], made[1]


RATES = {"fp32": torch_rate("float32"), "bf16": torch_rate("bfloat16"), "int8": whole_rate}
"""By precision what measures the machine's matrix rate."""


def scores(run: Path, exports: dict[str, Path]) -> None:
    """The main figure of each task on dev, by each way."""
    from polyhead.scoring import score
    from polyhead.training.run import Where, open_gold

    _, gold, names = open_gold(run, Where("dev"), lambda _: None)
    found = {name: score(model, gold, names) for name, model in models(run, exports).items()}
    mains = {name: task.metric for name, task in models(run, {})["torch fp32"].tasks.items()}
    print(f"\n| way | {' | '.join(f'{task} {mains[task]}' for task in names)} |\n|---|{'---:|' * len(names)}")
    for way, one in found.items():
        print(f"| {way} | {' | '.join(f'{100 * one[task][mains[task]]:.2f}' for task in names)} |")
    sys.stdout.flush()


def cold(run: Path, exports: dict[str, Path]) -> None:
    """Seconds from a command to its answer, for one sentence, in turns."""
    ways = {"torch": run, **exports}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "text.txt"
        text.write_text("Maria from Lindqvist Travel rebooked my flight to Porto.\n", encoding="utf-8")
        for number in range(PROCESSES + 1):
            for name, folder in ways.items():
                start = time.perf_counter()
                command = [sys.executable, "-m", "polyhead", "predict", str(folder), str(text)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                if number:  # the first reads files from the disk
                    times[name].append(time.perf_counter() - start)
    print(f"\n| cold start | seconds, median of {PROCESSES} | range |\n|---|---:|---|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.2f} | {min(found):.2f} to {max(found):.2f} |")


if __name__ == "__main__":
    main()
