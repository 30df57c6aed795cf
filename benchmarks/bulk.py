"""How fast folders are answered: file by file, by one process, by two, and on a Ray cluster on this machine.

    python benchmarks/bulk.py RUN TEXTS --results bulk.jsonl

TEXTS is a file of plain text, a text on each line, of which copies are written to each of some files. Each way answers
for all of them in a process of its own; the time is that of the whole command, with loading the model (and beginning
the cluster). The answers of all ways are compared line by line.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from results import add, machine

WAYS = {"plain": [], "one": [], "two": ["--workers", "2"], "ray": ["--on", "ray", "--workers", "2"]}
"""The options of each way; ``plain`` is a command for each file."""


def write_inputs(folder: Path, texts: Path, copies: int, files: int) -> int:
    """Files of texts; returns how many there are in all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = texts.read_text(encoding="utf-8").rstrip("\n") + "\n"
    for number in range(files):
        (folder / f"{number:03d}.txt").write_text(text * copies, encoding="utf-8")
    return text.count("\n") * copies * files


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "polyhead", "predict", *arguments], check=True)


def answer(way: str, run: Path, inputs: Path, output: Path) -> float:
    """Answer for all files; returns the seconds that it took."""
    shutil.rmtree(output, ignore_errors=True)
    start = time.perf_counter()
    if way == "plain":
        output.mkdir()
        for path in sorted(inputs.iterdir()):
            command(str(run), str(path), "-o", str(output / f"{path.stem}.conllu"), "--to", "conllu")
    else:
        command(str(run), str(inputs), "-o", str(output), "--to", "conllu", *WAYS[way])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--results", type=Path, required=True, help="one JSON object a line")
    parser.add_argument("--work", type=Path, default=Path("runs/bulk"), help="texts and answers, written anew")
    options = parser.parse_args()
    texts = write_inputs(options.work / "inputs", options.texts, options.copies, options.files)
    facts = {"texts": texts, "files": options.files, "machine": machine()}
    first: list[str] | None = None
    for way in options.ways:
        seconds = answer(way, options.run, options.work / "inputs", options.work / way)
        answers = [
            line
            for path in sorted((options.work / way).glob("*.conllu"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        first = answers if first is None else first
        other = sum(a != b for a, b in zip(first, answers, strict=True))
        line = {"way": way, "seconds": seconds, "texts_per_second": texts / seconds, "other_lines": other}
        add(options.results, facts | line)
        print(f"{way:6}{seconds:8.1f} s{texts / seconds:10.1f} texts/s  {other} of {len(first):,} lines differ")


if __name__ == "__main__":
    main()
