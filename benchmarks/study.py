"""Two studies with five sizes, four ways and three seeds: sentiment (SST-2), and entities (WNUT17, EWT as the source).

    POLYHEAD_DATA=corpora python benchmarks/study.py run --results study.jsonl --work studies
    python benchmarks/study.py table --results study.jsonl

Each is one call of ``polyhead study``, timed from outside, beside the sum of its runs' own times. A study that was
ended goes on; the time of the calls is then added up, but for what a killed one had spent. The pages are in the folder
of ``--work``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from results import add, arguments, corpora, machine, read

STUDIES: dict[str, dict[str, Any]] = {
    "sentiment": {"ways": "scratch,frozen,fine-tuned,lora", "sizes": "50,100,200,500,all"},
    "entities": {"ways": "scratch,fine-tuned,from:upos,from:syntax", "sizes": "50,100,200,500,all"},
}
EPOCHS, SOURCE_EPOCHS = 4, 3
"""Of a run with all examples; fewer examples of the target get more of them."""


def main() -> None:
    parser = arguments(__doc__, "studies", "where the studies are")
    parser.add_argument("--only", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    options = parser.parse_args()
    if options.what == "table":
        print_table(read(options.results))
        return
    for name in options.only:
        folder = options.work / name
        options.work.mkdir(parents=True, exist_ok=True)
        recipe = options.work / f"{name}.toml"
        recipe.write_text(recipe_of(corpora(), name), encoding="utf-8")
        wish = STUDIES[name]
        command = [sys.executable, "-m", "polyhead", "study", str(recipe), "--target", name, "--output", str(folder)]
        command += ["--ways", wish["ways"], "--sizes", wish["sizes"], "--seeds", str(len(options.seeds))]
        command += ["--keep", "best"]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        add(options.results, {"study": name, "seconds": time.perf_counter() - began, **spent(folder)})


def recipe_of(corpora: Path, name: str) -> str:
    """The recipe of a study, as a user would write it; the test split is the corpus's own."""
    if name == "sentiment":
        data = {"sst": ("tsv", ["text", "sentiment"], corpora / "bench" / "sst2_2k.tsv", corpora / "sst2")}
        tasks = {"sentiment": {"type": "classification", "data": "sst", "layer": "sentiment"}}
    else:
        data = {"wnut": ("columns", ["words", "entities"], corpora / "bench" / "wnut1500.conll", corpora / "wnut17")}
        tasks = {
            "entities": {"type": "ner", "data": "wnut", "layer": "entities"},
            "upos": {"type": "tagging", "data": "ewt", "layer": "upos"},
            "syntax": {"type": "parsing", "data": "ewt"},
        }
    lines = ['encoder = "minilm"']
    for key, (form, layers, train, folder) in data.items():
        ending = train.suffix
        lines += [f"[data.{key}]", f'format = "{form}"', f"layers = {json.dumps(layers)}"]
        lines += [f"{split} = {json.dumps(str(folder / split) + ending)}" for split in ("dev", "test")]
        lines += [f"train = {json.dumps(str(train))}"]
    if name == "entities":
        lines += ["[data.ewt]", f"train = {json.dumps(str(corpora / 'bench' / 'ewt2k.conllu'))}"]
        lines += [f"dev = {json.dumps(str(corpora / 'bench' / 'ewt_dev.conllu'))}"]
    for key, task in tasks.items():
        lines += [f"[tasks.{key}]", *(f"{word} = {json.dumps(value)}" for word, value in task.items())]
    stages = {source: SOURCE_EPOCHS for source in tasks if source != name} | {name: EPOCHS}
    for key, epochs in stages.items():
        lines += ["[[stages]]", f"tasks = [{json.dumps(key)}]", f"epochs = {epochs}"]
    return "\n".join([*lines, ""])


def spent(folder: Path) -> dict[str, Any]:
    """How many runs a study has trained, what they took one by one, and how many results it has."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/*/study.json")]
    return {
        "trainings": len(runs),
        "one_by_one": sum(run["seconds"] for run in runs),
        "results": len((folder / "results.jsonl").read_text(encoding="utf-8").splitlines()),
        "machine": machine(),
    }


def print_table(lines: list[dict[str, Any]]) -> None:
    print("| study | results | trainings | minutes | its runs' minutes, summed | machine |\n|---|--:|--:|--:|--:|---|")
    for name in STUDIES:
        found = [line for line in lines if line["study"] == name]
        if found:
            last, minutes = found[-1], sum(line["seconds"] for line in found) / 60
            cells = [last["results"], last["trainings"], f"{minutes:.0f}", f"{last['one_by_one'] / 60:.0f}"]
            print(f"| {name} |", " | ".join(map(str, cells)), f"| {last['machine']} |")


if __name__ == "__main__":
    main()
