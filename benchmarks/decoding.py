"""How fast translations are written: polyhead beside transformers on the same weights, greedy and with five beams.

    POLYHEAD_DATA=corpora python benchmarks/decoding.py [--work decoding-run]

An encoder-decoder of the BART kind (three layers each, width 256, 8,000 pieces) with random weights is written down as
a folder, polyhead trains it on Multi30k (English to French, the first pairs) with ``decoder = "pretrained"``, and the
weights go back into a folder that transformers reads. Then both translate the test split of 2016 (flickr) in fp32 and
in bf16, in turns, several times: polyhead from the saved run, transformers as its pipelines for translation did it
(they are gone since version 5): texts in the order that they come in, so many at a time, tokenizer, ``generate``,
decoded texts. polyhead also says how sure it is of each text, which transformers does not; its time is in the figure.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from results import corpora, machine

SHAPE = {"d_model": 256, "encoder_layers": 3, "decoder_layers": 3, "max_position_embeddings": 256, "dropout": 0.2}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024}
PIECES = 8000
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
LONGEST = 60
"""The most pieces that are written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("decoding-run"), help="where the model is kept")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 128], help="of transformers, in texts")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    run, whole = options.work / "run", options.work / "whole"
    if not (run / "scores.json").exists():
        train(options, run)
    if not (whole / "config.json").exists():
        assemble(options.work / "start", run, whole)
    texts = (corpora() / "multi30k" / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()
    print(f"{machine()}, {len(texts)} sentences, medians of {options.rounds}\n")
    print("| | beams | sentences/s | range | the same text |\n|---|---:|---:|---|---:|")
    for beams in (1, 5):
        ways: dict[str, Callable[[], list[str]]] = {}
        for precision in ("fp32", "bf16"):
            ways[f"polyhead, {precision}"] = ours(run, beams, texts, precision)
            for batch in options.batches:
                ways[f"transformers, {precision}, {batch} at a time"] = theirs(whole, beams, texts, batch, precision)
        measure(ways, beams, options.rounds)


def measure(ways: dict[str, Callable[[], list[str]]], beams: int, rounds: int) -> None:
    """Run all ways in turns, and print a row for each."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    written: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            written[name] = way()
            speeds[name].append(len(written[name]) / (time.perf_counter() - start))
    first = next(iter(written.values()))
    for name, found in speeds.items():
        same = sum(a.strip() == b.strip() for a, b in zip(first, written[name], strict=True)) / len(first)
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"| {name} | {beams} | {statistics.median(found):.1f} | {spread} | {same:.1%} |", flush=True)


def ours(run: Path, beams: int, texts: list[str], precision: Any) -> Callable[[], list[str]]:
    """polyhead's translations."""
    from polyhead.model import load_model
    from polyhead.predict import annotator

    translate = annotator(load_model(run, only_answers=True).use(precision)).searching(beams=beams)
    return lambda: [str(doc["target"]) for doc in translate.texts(texts)]


def theirs(folder: Path, beams: int, texts: list[str], batch: int, precision: str) -> Callable[[], list[str]]:
    """transformers' translations."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.bfloat16 if precision == "bf16" else None)

    def translate() -> Iterator[str]:
        for start in range(0, len(texts), batch):
            read = tokenizer(texts[start : start + batch], return_tensors="pt", padding=True, truncation=True)
            read.pop("token_type_ids", None)
            found = network.generate(
                **read, num_beams=beams, do_sample=False, early_stopping=beams > 1, max_length=LONGEST + 1
            )
            yield from tokenizer.batch_decode(found, skip_special_tokens=True)

    return lambda: list(translate())


def train(options: argparse.Namespace, run: Path) -> None:
    """Write the random network down, and let polyhead train it."""
    from polyhead.recipe import make_recipe
    from polyhead.training import train

    corpus = corpora() / "multi30k"
    start = options.work / "start"
    write_random(corpus, start)
    pairs = {"train": str(corpus / "train.{en,fr}"), "test": str(corpus / "test_2016_flickr.{en,fr}")}
    stage: dict[str, Any] = {"epochs": options.epochs, "batch_pieces": 512, "keep": "last", "learning_rate": 5e-4}
    recipe = {
        "encoder": str(start.resolve()),
        "data": {"pairs": {**pairs, "limit": options.pairs, "language": ["en", "fr"]}},
        "tasks": {"fr": {"type": "seq2seq", "data": "pairs", "decoder": "pretrained", "longest": LONGEST}},
        "stages": [stage],
    }
    train(make_recipe(recipe), run)


def write_random(corpus: Path, folder: Path) -> None:
    """An encoder-decoder with random weights and pieces learnt from the training texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    pieces.train([str(corpus / "train.en"), str(corpus / "train.fr")], learner)
    pieces.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIALS, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=256, **names).save_pretrained(folder)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    torch.manual_seed(1)
    config = BartConfig(
        vocab_size=len(pieces.get_vocab()), forced_eos_token_id=None, init_std=0.06, **SHAPE, **HEADS, **ids
    )
    BartForConditionalGeneration(config).save_pretrained(folder)


def assemble(start: Path, run: Path, folder: Path) -> None:
    """The trained weights as one encoder-decoder of transformers."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from polyhead.model import load_model

    model = load_model(run)
    head = model.head("fr").decoder.network.state_dict()
    head["lm_head.weight"] = head["model.decoder.embed_tokens.weight"]
    # Each side has learnt vectors of its own, so that they are tied no more.
    network = AutoModelForSeq2SeqLM.from_pretrained(start, tie_word_embeddings=False)
    found = network.load_state_dict(head, strict=False)
    assert not found.unexpected_keys, found.unexpected_keys
    network.model.encoder.load_state_dict(model.encoder.transformer.state_dict())
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(start).save_pretrained(folder)


if __name__ == "__main__":
    main()
