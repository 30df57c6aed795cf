"""The yardstick of ``translation.py``: JoeyNMT's published small transformer on Multi30k, English to German, all pairs.

    python -m venv joey && joey/bin/pip install joeynmt importlib_metadata 'sentencepiece<0.2.1'
    POLYHEAD_DATA=corpora joey/bin/python benchmarks/joey.py --results joey.jsonl --work joey-runs

JoeyNMT pins libraries that polyhead cannot have, so it runs in an environment of its own; this script needs nothing of
polyhead. Settings are those of its ``configs/transformer_small.yaml``: three layers each for encoder and decoder, width
64, Noam's schedule, batches of 250 pieces, ten epochs, the checkpoint that is best on dev, five beams. What that file
leaves to its user is set here: pieces by sentencepiece as they are written (no lower-casing), dev and test files, no
limit on length. ``--width 256`` takes the sizes of ``configs/transformer_iwslt14_deen_bpe.yaml`` with three layers
each: dropout 0.3, label smoothing, plateau schedule, batches of 4,096 pieces.

The test split is scored with sacrebleu's defaults. Each run is one line of the results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from results import add, corpora, done, machine

PIECES = 4000
"""The size of each side's vocabulary."""

SMALL = {
    "training": {
        "adam_betas": [0.9, 0.98],
        "learning_rate": 0.001,
        "learning_rate_min": 1e-6,
        "learning_rate_factor": 0.5,
        "learning_rate_warmup": 1000,
        "batch_size": 250,
        "scheduling": "noam",
        "label_smoothing": 0.0,
    },
    "shape": {"hidden_size": 64, "ff_size": 128, "dropout": 0.1},
}
WIDE = {
    "training": {
        "adam_betas": [0.9, 0.999],
        "learning_rate": 0.0003,
        "learning_rate_min": 1e-8,
        "patience": 5,
        "decrease_factor": 0.7,
        "batch_size": 4096,
        "scheduling": "plateau",
        "normalization": "tokens",
        "label_smoothing": 0.1,
    },
    "shape": {"hidden_size": 256, "ff_size": 1024, "dropout": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="one JSON object a line")
    parser.add_argument("--work", type=Path, default=Path("joey-runs"))
    parser.add_argument("--width", type=int, default=64, choices=[64, 256])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    for seed in options.seeds:
        once(
            options, {"way": "joeynmt", "target": "de", "width": options.width, "epochs": options.epochs, "seed": seed}
        )


def once(options: argparse.Namespace, job: dict[str, Any]) -> None:
    """Train and score one run, unless it is among the results."""
    if done(options.results, job):
        return
    import sacrebleu
    import torch
    import yaml

    folder = (options.work / "-".join(map(str, job.values()))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    corpus = corpora() / "multi30k"
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings(corpus, folder, job)), encoding="utf-8")
    log = folder / "output.log"
    start, used = time.perf_counter(), children()
    command([sys.executable, "-m", "joeynmt", "train", str(config), "--skip-test"], log)
    seconds, used = time.perf_counter() - start, children() - used
    output = folder / "translations"
    command([sys.executable, "-m", "joeynmt", "test", str(config), "-o", str(output)], log)
    written = Path(f"{output}.test").read_text(encoding="utf-8").splitlines()
    gold = (corpus / "test_2016_flickr.de").read_text(encoding="utf-8").splitlines()
    metrics = {"bleu": sacrebleu.metrics.BLEU(), "chrf": sacrebleu.metrics.CHRF()}
    model = torch.load(folder / "model" / "best.ckpt", map_location="cpu")["model_state"]
    line = {
        **job,
        "scores": {name: metric.corpus_score(written, [gold]).score / 100 for name, metric in metrics.items()},
        "signature": str(metrics["bleu"].get_signature()),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "weights": sum({value.data_ptr(): value.numel() for value in model.values()}.values()),
        "machine": machine(),
    }
    add(options.results, line)
    print(f"{job}: BLEU {100 * line['scores']['bleu']:.2f} ({seconds:.0f} s)", file=sys.stderr, flush=True)


def settings(corpus: Path, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """JoeyNMT's configuration."""
    published = SMALL if job["width"] == 64 else WIDE
    sides = {
        side: {"lang": language, **pieces(corpus, folder, language)}
        for side, language in (("src", "en"), ("trg", "de"))
    }
    half = {
        "type": "transformer",
        "num_layers": 3,
        "num_heads": 4,
        "embeddings": {"embedding_dim": job["width"], "scale": True},
        **published["shape"],
    }
    return {
        "name": "multi30k",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "random_seed": job["seed"],
        "data": {
            "train": str(corpus / "train"),
            "dev": str(corpus / "val"),
            "test": str(corpus / "test_2016_flickr"),
            "dataset_type": "plain",
            **sides,
        },
        "testing": {
            "beam_size": 5,
            "beam_alpha": 1.0,
            "batch_size": 50,
            "eval_metrics": ["bleu"],
            "max_output_length": 100,
        },
        "training": {
            "optimizer": "adam",
            "weight_decay": 0.0,
            "batch_type": "token",
            "epochs": job["epochs"],
            "validation_freq": steps(published["training"]["batch_size"]),
            "logging_freq": steps(published["training"]["batch_size"]),
            "early_stopping_metric": "bleu",
            "overwrite": True,
            "keep_best_ckpts": 3,
            **published["training"],
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "bias_initializer": "zeros",
            "tied_softmax": True,
            "encoder": half,
            "decoder": half,
        },
    }


def steps(batch: int) -> int:
    """About the steps of an epoch: the corpus has nearly half a million pieces a side."""
    return max(1, round(480_000 / batch / 100)) * 100 if batch < 1000 else round(480_000 / batch)


def pieces(corpus: Path, folder: Path, language: str) -> dict[str, Any]:
    """A vocabulary learnt from one side of the training pairs."""
    import sentencepiece

    name = folder / f"pieces-{language}"
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus / f"train.{language}"),
        model_prefix=str(name),
        vocab_size=PIECES,
        model_type="bpe",
        character_coverage=1.0,
        minloglevel=2,
    )
    vocabulary = [line.split("\t")[0] for line in Path(f"{name}.vocab").read_text(encoding="utf-8").splitlines()]
    listed = folder / f"vocabulary-{language}.txt"
    listed.write_text("\n".join(vocabulary[3:]) + "\n", encoding="utf-8")  # its own special pieces lead
    return {
        "level": "bpe",
        "lowercase": False,
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": f"{name}.model"},
        "voc_file": str(listed),
        "max_length": 250,
    }


def command(words: list[str], log: Path) -> None:
    """Run a program, its output behind that of earlier ones; ends this one if it fails."""
    with log.open("a", encoding="utf-8") as stream:
        if subprocess.run(words, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode:
            sys.exit(f"{' '.join(words)} failed: see {log}")


def children() -> float:
    """Seconds of processor time that programs begun here have used."""
    spent = os.times()
    return spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
