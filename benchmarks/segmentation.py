"""Words and sentences from raw text: polyhead's segmenter beside the libraries that it was chosen from.

    POLYHEAD_DATA=path/to/corpora python benchmarks/segmentation.py [test]

Reads ``ewt/en_ewt-ud-{dev,test}.conllu`` below POLYHEAD_DATA, joins its ``# text`` lines into raw text (a blank line
where a paragraph or document begins), and scores with the scorer of the CoNLL 2018 shared task (``udtools``). Libraries
that are not installed are left out and named: ``pip install spacy syntok somajo blingfire sentencex pysbd sacremoses``.
Each runs in a fresh process: the seconds are those from no library loaded to the first sentence, the best of three.
polyhead's settings were chosen on EWT's training and dev splits; none of the others has seen any of it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Sentences = list[list[tuple[int, int]]]
Segmenter = Callable[[str], Sentences]
Figures = dict[str, Any]


# --- the candidates: each loads its library and returns text -> sentences of (start, end) words ---


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for part in text.split("\n\n"):
        yield start, part
        start += len(part) + 2


def by_paragraph(sentences: Callable[[str], Iterator[list[tuple[int, int]]]]) -> Segmenter:
    """A segmenter from one that knows no blank lines."""

    def segment(text: str) -> Sentences:
        found = ((start, words) for start, part in paragraphs(text) for words in sentences(part))
        return [[(start + a, start + b) for a, b in words] for start, words in found if words]

    return segment


def located(text: str, start: int, words: list[str]) -> list[tuple[int, int]]:
    """The characters of words that a tokenizer returned without them."""
    offsets = []
    for word in words:
        at = text.index(word, start)
        start = at + len(word)
        offsets.append((at, start))
    return offsets


def polyhead() -> Segmenter:
    from polyhead.data.segment import split

    return split


def spacy() -> Segmenter:
    import spacy

    english = spacy.blank("en")
    english.add_pipe("sentencizer")

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        for sentence in english(text).sents:
            yield [(word.idx, word.idx + len(word)) for word in sentence if not word.is_space]

    return by_paragraph(sentences)


def sentencex() -> Segmenter:
    import sentencex
    import spacy

    tokenizer = spacy.blank("en").tokenizer

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        start = 0
        for sentence in sentencex.segment("en", text):
            start = text.index(sentence, start)
            yield [
                (start + word.idx, start + word.idx + len(word)) for word in tokenizer(sentence) if not word.is_space
            ]
            start += len(sentence)

    return by_paragraph(sentences)


def syntok() -> Segmenter:
    from syntok import segmenter
    from syntok.tokenizer import Tokenizer

    tokenizer = Tokenizer(emit_hyphen_or_underscore_sep=True, replace_not_contraction=False)

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        for sentence in segmenter.segment(tokenizer.tokenize(text)):
            yield [(word.offset, word.offset + len(word.value)) for word in sentence]

    return by_paragraph(sentences)


def somajo() -> Segmenter:
    from somajo import SoMaJo

    tokenizer = SoMaJo("en_PTB", character_offsets=True)

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        for sentence in tokenizer.tokenize_text([text]):
            yield [word.character_offset for word in sentence]

    return by_paragraph(sentences)


def blingfire() -> Segmenter:
    import blingfire

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        for start, end in blingfire.text_to_sentences_and_offsets(text)[1]:
            words = blingfire.text_to_words_with_offsets(text[start:end])[1]
            yield [(start + a, start + b) for a, b in words]

    return by_paragraph(sentences)


def moses() -> Segmenter:
    from pysbd import Segmenter as SentenceSegmenter
    from sacremoses import MosesTokenizer

    segmenter = SentenceSegmenter(language="en", clean=False, char_span=True)
    tokenizer = MosesTokenizer("en")

    def sentences(text: str) -> Iterator[list[tuple[int, int]]]:
        for sentence in segmenter.segment(text):
            yield located(text, sentence.start, tokenizer.tokenize(sentence.sent, escape=False))

    return by_paragraph(sentences)


CANDIDATES: dict[str, tuple[Callable[[], Segmenter], str, tuple[str, ...]]] = {
    "polyhead": (polyhead, "polyhead (spaCy, own settings and rules)", ("spacy",)),
    "spacy": (spacy, "spaCy, blank English and sentencizer", ("spacy",)),
    "sentencex": (sentencex, "spaCy words, sentencex sentences", ("spacy", "sentencex")),
    "syntok": (syntok, "syntok", ("syntok",)),
    "somajo": (somajo, "SoMaJo, en_PTB", ("somajo",)),
    "blingfire": (blingfire, "blingfire", ("blingfire",)),
    "moses": (moses, "sacremoses words, pySBD sentences", ("sacremoses", "pysbd")),
}


# --- measuring ---


def raw_text(conllu: Path) -> str:
    """The text of a treebank, as a reader of its documents would have seen it."""
    text = ""
    for block in conllu.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = block.split("\n")
        if any(line.startswith(("# newdoc", "# newpar")) for line in lines):
            text = text.rstrip() + "\n\n"
        text += next(line.removeprefix("# text = ") for line in lines if line.startswith("# text = "))
        # SpaceAfter=No of the last token is on its own line, or on the range that spans it.
        last = lines[-1].split("\t")
        ranges = [line.split("\t") for line in lines if re.match(rf"\d+-{last[0]}\t", line)]
        if "SpaceAfter=No" not in (ranges or [last])[0][9]:
            text += " "
    return text.strip()


def as_conllu(text: str, sentences: Sentences) -> str:
    """Segmented text for the scorer, which wants a tree: each word hangs from the one before."""
    blocks = []
    for words in sentences:
        rows = [
            f"{i}\t{text[a:b]}\t_\t_\t_\t_\t{i - 1}\t{'dep' if i > 1 else 'root'}\t_\t_"
            for i, (a, b) in enumerate(words, start=1)
        ]
        blocks.append("\n".join(rows) + "\n\n")
    return "".join(blocks)


def measure(name: str, conllu: Path) -> Figures:
    """The figures of one candidate, in this process."""
    text = raw_text(conllu)
    begin = time.perf_counter()
    segment = CANDIDATES[name][0]()
    segment("Hello, world.")
    loaded = time.perf_counter()
    sentences = segment(text)
    done = time.perf_counter()

    from udtools.udeval import UDError, evaluate, load_conllu, load_conllu_file

    try:
        scores = evaluate(load_conllu_file(str(conllu)), load_conllu(io.StringIO(as_conllu(text, sentences)), name, {}))
    except UDError:
        return {"error": "its words do not spell the text"}
    return {
        "words": 100 * scores["Words"].f1,
        "sentences": 100 * scores["Sentences"].f1,
        "load": loaded - begin,
        "speed": sum(map(len, sentences)) / (done - loaded),
    }


def in_fresh_process(name: str, conllu: Path) -> Figures:
    """The figures of one candidate, the best times of three runs."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name, str(conllu)]
    runs = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) for _ in range(3)]
    if "error" in runs[0]:
        return runs[0]
    return runs[0] | {"load": min(run["load"] for run in runs), "speed": max(run["speed"] for run in runs)}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    if "POLYHEAD_DATA" not in os.environ:
        sys.exit("Set POLYHEAD_DATA to the folder that holds ewt/ (see docs/benchmarks.md).")
    split = sys.argv[1] if sys.argv[1:] else "dev"
    conllu = Path(os.environ["POLYHEAD_DATA"]) / "ewt" / f"en_ewt-ud-{split}.conllu"
    print(f"| {conllu.stem} | words F1 | sentences F1 | load, s | words/s |")
    print("|---|---:|---:|---:|---:|")
    for name, (_, title, libraries) in CANDIDATES.items():
        missing = [library for library in libraries if importlib.util.find_spec(library) is None]
        if missing:
            print(f"| {title} | not installed: {', '.join(missing)} | | | |")
            continue
        run = in_fresh_process(name, conllu)
        if "error" in run:
            print(f"| {title} | {run['error']} | | | |")
            continue
        print(f"| {title} | {run['words']:.2f} | {run['sentences']:.2f} | {run['load']:.2f} | {run['speed']:,.0f} |")


if __name__ == "__main__":
    main()
