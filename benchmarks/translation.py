"""Translation from few pairs: Multi30k, English to French, by where the model starts; sizes, ways, seeds.

    POLYHEAD_DATA=corpora python benchmarks/translation.py run --results translation.jsonl   # goes on where it stopped
    python benchmarks/translation.py table --results translation.jsonl

Ways:

- ``scratch``: an encoder of three layers and a decoder of two, width 256, with random weights and pieces of their own.
- ``minilm``: the pretrained English encoder, first frozen, then all of it; a decoder with random weights.
- ``tuned``: the same, but all of it from the first step on.
- ``denoise``: the network of ``scratch``, which first restores masked English and French text: both sides of all the
  training pairs, as plain text, without what belongs to what.
- ``parent``: the network of ``scratch``, which first translates English to German (29,000 pairs); the French pieces
  begin from the German ones.
- ``both``: as ``parent``, but the decoder restores masked French text at the same time.
- ``joint``: the network of ``scratch`` learns both pairs of languages at once, with one decoder.
- ``back``: as ``both``, and beside the pairs at hand it learns from back-translation (Sennrich et al. 2016): the second
  half of the French text, with English that a model made of it, which learnt French to English from the pairs at hand
  and, jointly, German to English from the first half of the other pairs. All three languages of Multi30k say the same,
  so with the second half it would have learnt to write the very sentences that it is to make.
- ``again``: ``back`` once more (Hoang et al. 2018). A model trained as ``back`` translates the first half of the
  English text into French; with these pairs beside its others, the model into English learns anew and translates anew.
- ``tuned-back``: the encoder and the new decoder of ``tuned`` learn from pairs that were translated back a third time,
  from the French that a model trained as ``again`` makes.
- ``tuned-all``: the same, after they have learnt English to German.
- ``tuned-wide``: as ``tuned-all``, and beside it the first half of the French text, translated back by a model that
  learnt from the second half of the other pairs, and of the English with the French that ``both`` makes of it.

The first n pairs of the training files are used. What comes before the pairs at hand is trained once, with seed 1.
Nothing is chosen on dev: the weights are those of the last epoch, averaged, and the test split of 2016 (flickr) is
translated once, with five beams. Each run is one line of the results; runs that are there already are not repeated,
and a run that was killed goes on where it was. Seconds are those of the epochs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import add, arguments, cell, corpora, done, finished, machine, read

WAYS = ["scratch", "minilm", "tuned", "denoise", "parent", "both", "joint", "back", "again"]
WAYS += ["tuned-back", "tuned-all", "tuned-wide"]
PRETRAINED = ("minilm", "tuned", "tuned-back", "tuned-all", "tuned-wide")
"""Those with a pretrained encoder."""
TURNS = {"back": 1, "again": 2, "tuned-back": 3, "tuned-all": 3, "tuned-wide": 3}
"""How often the text of the target language is translated back."""
ALL = 29_000
EPOCHS = {1000: 40, 2000: 30, 5000: 20, 10_000: 12, ALL: 8}
"""Epochs of a new decoder by the number of pairs; a size in between takes the next lower one's."""
GOING_ON = {1000: 20, 2000: 15, 5000: 10, 10_000: 8, ALL: 5}
"""The same of a decoder that has learnt before."""
LIKE_JOEY = 14
"""Epochs with JoeyNMT's sizes: about what half the time of its ten epochs is enough for."""
FIRST = 5
"""Epochs of what comes before the pairs at hand, of ``joint``, and those of minilm after it was frozen."""
PIECES = {1000: 2000, 10_000: 4000}
"""The most pieces of encoder and decoder each: few pairs want a small vocabulary (Sennrich and Zhang 2019)."""
HALF = ALL // 2
"""Where the second half of the text begins."""
BACK_EPOCHS = 8
"""Those of ways that translate back, over the pairs at hand and the synthetic ones."""
BEAMS = 5
SAMPLES = 5
"""So many translations of each run are kept with its figures: the first of the test split, none picked."""
STAGE: dict[str, Any] = {"batch_pieces": 512, "keep": "last", "cosines": 0}
SMALL: dict[str, Any] = {"layers": 3, "width": 64, "heads": 4, "feed_forward": 128}
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "usual": {
        "encoder": {"layers": 3, "width": 256},
        "decoder": {"layers": 2, "width": 256, "dropout": 0.3},
        "stage": {"dropout": 0.2},
    },
    "joey": {"encoder": SMALL, "decoder": SMALL | {"dropout": 0.1}, "stage": {"dropout": 0.1}},
}
"""The sizes of what begins from scratch; ``joey`` is that of JoeyNMT's published small transformer (``joey.py``)."""


def main() -> None:
    parser = arguments(__doc__, "translation-runs", "where parents are kept")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 2000, 5000, ALL])
    parser.add_argument("--target", default="fr", choices=["fr", "de"])
    parser.add_argument("--shape", default="usual", choices=list(SHAPES))
    options = parser.parse_args()
    if options.what == "table":
        print_tables(read(options.results))
        return
    for size in options.sizes:
        for seed in options.seeds:
            for way in options.ways:
                if way in TURNS and size > HALF:  # then there is little to be made
                    continue
                job = {"way": way, "target": options.target, "shape": options.shape, "size": size, "seed": seed}
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
        "samples": samples(corpus, folder, name),
        "machine": machine(),
    }
    add(options.results, line)
    print(f"{job}: BLEU {100 * line['scores']['bleu']:.2f} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    shutil.rmtree(folder)


def samples(corpus: Path, folder: Path, task: str) -> list[str]:
    """What a run makes of the first sentences of the test split."""
    import polyhead

    texts = (corpus / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()[:SAMPLES]
    translate = polyhead.load(folder).only(task)
    return [str(doc[translate.names[task]]) for doc in translate.texts(texts)]


def train(recipe: dict[str, Any], folder: Path) -> tuple[Any, float]:
    """The run of a recipe, and the seconds that its epochs took; a run that was killed goes on."""
    run = finished(recipe, folder)
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return run, sum(line["seconds"] for line in lines if line["record"] == "EpochEnded")


def recipe_of(corpus: Path, options: argparse.Namespace, job: dict[str, Any]) -> dict[str, Any]:
    size, way, target, shape = job["size"], job["way"], job["target"], job["shape"]
    stage = STAGE | SHAPES[shape]["stage"]
    epochs = by_size(EPOCHS if way in ("scratch", *PRETRAINED) else GOING_ON, size)
    if shape == "joey":
        epochs = LIKE_JOEY
    recipe: dict[str, Any] = {
        "seed": job["seed"],
        "encoder": small(size, shape),
        "data": {target: pairs(corpus, target, size)},
        "tasks": {target: decoder(target, size, shape)},
        "stages": [stage | {"epochs": epochs}],
    }
    if way in PRETRAINED:
        recipe["encoder"] = "minilm"
    if way == "minilm":
        recipe["stages"] = [stage | {"epochs": epochs, "freeze": "encoder"}, stage | {"epochs": FIRST}]
    if way == "joint":
        other = OTHER[target]
        recipe["encoder"] = small(ALL, shape)
        recipe["tasks"][target] = decoder(target, ALL, shape) | {"language": target}
        recipe["data"][other] = pairs(corpus, other, ALL)
        recipe["tasks"][other] = {"head_of": target, "data": other, "language": other}
        recipe["stages"] = [stage | {"epochs": FIRST, "sampling": 5.0}]
    if way in TURNS:
        recipe["data"]["synthetic"] = translated_back(corpus, options, job, TURNS[way])
        recipe["tasks"]["synthetic"] = {"head_of": target, "data": "synthetic"}
        recipe["stages"] = [stage | {"epochs": BACK_EPOCHS, "sampling": 2.0}]
    if way == "tuned-back":
        recipe["tasks"][target] = decoder(target, ALL, shape)
    if way == "tuned-wide":
        recipe["data"]["first"] = other_half(corpus, options, job)
        recipe["tasks"]["first"] = {"head_of": target, "data": "first"}
        recipe["stages"][0]["epochs"] = FIRST  # as many steps as the others, over more pairs
    if way in AFTER:
        del recipe["encoder"]
        run = before(corpus, options, AFTER[way], target, shape)
        recipe["start"] = {"run": str(run.resolve()), "heads": {target: "first"}}
        if BEFORE[AFTER[way]] is parent:
            recipe["start"]["labels"] = "data"
        else:  # its decoder writes several languages
            for task in recipe["tasks"].values():
                task["language"] = target
    return recipe


def before(corpus: Path, options: argparse.Namespace, way: str, target: str, shape: str) -> Path:
    """A run that others begin from; made when first asked for."""
    folder = Path(options.work) / f"before-{way}-{target}-{shape}"
    if not (folder / "scores.json").exists():
        data, tasks = BEFORE[way](corpus, target, shape)
        stage = STAGE | SHAPES[shape]["stage"] | {"epochs": FIRST, "sampling": "uniform"}
        encoder = "minilm" if way in PRETRAINED else small(ALL, shape)
        recipe = {"seed": 1, "encoder": encoder, "data": data, "tasks": tasks, "stages": [stage]}
        _, seconds = train(recipe, folder)
        print(f"before {way}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return folder


def translated_back(corpus: Path, options: argparse.Namespace, job: dict[str, Any], turn: int) -> dict[str, Any]:
    """The second half of the target text, beside the English that a model makes of it."""
    others = aligned(corpus, OTHER[job["target"]], "en", HALF)
    recipe = backward(corpus, job, others, translated(corpus, options, job, turn - 1) if turn > 1 else None)
    return synthetic(corpus, options, job, f"back-{turn}", recipe, job["target"], "en", slice(HALF, ALL))


def other_half(corpus: Path, options: argparse.Namespace, job: dict[str, Any]) -> dict[str, Any]:
    """The rest of the first half of the target text, beside the English that a model makes of it."""
    target, other = job["target"], OTHER[job["target"]]
    half = Path(options.work) / f"second-half-{other}"
    half.mkdir(parents=True, exist_ok=True)
    for language in (other, "en"):
        lines = (corpus / f"train.{language}").read_text(encoding="utf-8").splitlines()[HALF:ALL]
        (half / f"train.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    both = recipe_of(corpus, options, job | {"way": "both", "seed": 1})
    forward = synthetic(corpus, options, job, "forward-0", both, "en", target, slice(HALF, ALL))
    recipe = backward(corpus, job, aligned(half.resolve(), other, "en", HALF), forward)
    return synthetic(corpus, options, job, "back-0", recipe, target, "en", slice(job["size"], HALF))


def translated(corpus: Path, options: argparse.Namespace, job: dict[str, Any], turn: int) -> dict[str, Any]:
    """The first half of the English text, beside what a model makes of it that learnt with texts translated back."""
    way = next(way for way, turns in TURNS.items() if turns == turn)
    recipe = recipe_of(corpus, options, job | {"way": way, "seed": 1})
    return synthetic(corpus, options, job, f"forward-{turn}", recipe, "en", job["target"], slice(HALF))


def synthetic(
    corpus: Path,
    options: argparse.Namespace,
    job: dict[str, Any],
    name: str,
    recipe: dict[str, Any],
    source: str,
    made: str,
    part: slice,
) -> dict[str, Any]:
    """Pairs whose sources are what a recipe's model makes of a part of the text of one language, which is their target.

    The model is trained, and the pairs are written, when first asked for. They are made greedily.
    """
    import polyhead

    target = job["target"]
    folder = Path(options.work) / f"{name}-{target}-{job['shape']}-{job['size']}"
    if not (folder / f"text.{made}").exists():
        run, seconds = train(recipe, folder / "run")
        print(f"before {name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        texts = (corpus / f"train.{source}").read_text(encoding="utf-8").splitlines()[:ALL][part]
        start = time.perf_counter()
        translate = polyhead.load(run.folder).only(target)
        translate.searching(beams=1)
        answers = [str(doc[translate.names[target]]).strip() or "?" for doc in translate.texts(texts)]
        print(f"{len(texts)} texts for {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        (folder / f"text.{source}").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (folder / f"text.{made}").write_text("\n".join(answers) + "\n", encoding="utf-8")
        shutil.rmtree(folder / "run")
    return {"train": str(folder.resolve() / f"text.{{{made},{source}}}"), "language": [made, source]}


def backward(
    corpus: Path, job: dict[str, Any], others: dict[str, Any], forward: dict[str, Any] | None
) -> dict[str, Any]:
    """Into English, from the target's pairs at hand and, jointly, the other language's and those that were made."""
    target, other = job["target"], OTHER[job["target"]]
    stage = STAGE | SHAPES[job["shape"]]["stage"] | {"epochs": FIRST, "sampling": 5.0}
    data = {target: aligned(corpus, target, "en", job["size"]), other: others}
    data |= {"forward": forward} if forward else {}
    heads = {name: {"head_of": target, "data": name} for name in data if name != target}
    return {
        "seed": 1,
        "encoder": small(ALL, job["shape"]),
        "data": data,
        "tasks": {target: decoder(target, ALL, job["shape"]), **heads},
        "stages": [stage],
    }


def parent(corpus: Path, target: str, shape: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other pair of languages."""
    other = OTHER[target]
    return {"first": pairs(corpus, other, ALL)}, {"first": decoder("first", ALL, shape)}


def denoise(corpus: Path, target: str, shape: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain text of both languages."""
    first = decoder("first", ALL, shape) | {"type": "denoising", "language": target}
    del first["beams"]
    second = {"type": "denoising", "head_of": "first", "data": "english", "language": "en"}
    return (
        {"first": plain(corpus, target), "english": plain(corpus, "en")},
        {"first": first, "english": second},
    )


def both(corpus: Path, target: str, shape: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other pair of languages, and plain text of the one to be written."""
    data, tasks = parent(corpus, target, shape)
    tasks["first"]["language"] = OTHER[target]
    data["plain"] = plain(corpus, target)
    tasks["plain"] = {"type": "denoising", "head_of": "first", "data": "plain", "language": target}
    return data, tasks


BEFORE = {"parent": parent, "denoise": denoise, "both": both, "tuned-all": parent}
"""What comes before the pairs at hand."""
AFTER = {way: way for way in BEFORE} | {"back": "both", "again": "both", "tuned-wide": "tuned-all"}
"""Which of these the runs of a way begin from."""
OTHER = {"fr": "de", "de": "fr"}


def by_size(table: dict[int, int], size: int) -> int:
    return table[max(known for known in table if known <= size)]


def small(size: int, shape: str) -> dict[str, Any]:
    """An encoder from scratch."""
    return {**SHAPES[shape]["encoder"], "vocabulary": by_size(PIECES, size), "lowercase": True}


def decoder(data: str, size: int, shape: str = "usual") -> dict[str, Any]:
    known = {"vocabulary": by_size(PIECES, size), "beams": BEAMS}
    return {"type": "seq2seq", "data": data, **known, **SHAPES[shape]["decoder"]}


def plain(corpus: Path, language: str) -> dict[str, Any]:
    return {"format": "text", "train": str(corpus / f"train.{language}")}


def aligned(corpus: Path, source: str, target: str, size: int) -> dict[str, Any]:
    return {"train": str(corpus / f"train.{{{source},{target}}}"), "language": [source, target], "limit": size}


def pairs(corpus: Path, target: str, size: int) -> dict[str, Any]:
    """English to a language, with the test split."""
    return aligned(corpus, "en", target, size) | {"test": str(corpus / f"test_2016_flickr.{{en,{target}}}")}


def print_tables(lines: list[dict[str, Any]]) -> None:
    for target, shape in dict.fromkeys((line["target"], line["shape"]) for line in lines):
        here = [line for line in lines if (line["target"], line["shape"]) == (target, shape)]
        weights = max(line["weights"] for line in here if line["way"] not in PRETRAINED)
        print(f"\n### English to {target}, {shape} size ({weights / 1e6:.1f} million weights)\n\nBLEU:\n")
        print_table(here, lambda line: 100 * line["scores"]["bleu"])
        print("\nchrF:\n")
        print_table(here, lambda line: 100 * line["scores"]["chrf"])
        print("\nMinutes of the epochs, without what comes before:\n")
        print_table(here, lambda line: line["seconds"] / 60)
    print("\n" + "\n".join(sorted({line["signature"] for line in lines})))


def print_table(lines: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> None:
    """A row for each way, a column for each number of pairs; means and ranges over seeds."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in lines:
        found[line["way"], line["size"]].append(figure(line))
    sizes = sorted({size for _, size in found})
    print("| way | " + " | ".join(f"{size:,}" for size in sizes) + " |\n|---|" + "---|" * len(sizes))
    for way in WAYS:
        cells = [cell(found.get((way, size), [])) for size in sizes]
        if any(cells):
            print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
