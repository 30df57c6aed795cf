"""What benchmarks of many runs share: results as JSON lines, where the corpora are, means and ranges for tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def corpora() -> Path:
    """The folder that POLYHEAD_DATA names; ends the program if there is none."""
    named = os.environ.get("POLYHEAD_DATA")
    if not named or not Path(named).is_dir():
        sys.exit("Set POLYHEAD_DATA to the folder of the corpora.")
    return Path(named).resolve()


def arguments(doc: str | None, work: str, kept: str, *, seeds: Sequence[int] = (1, 2, 3)) -> argparse.ArgumentParser:
    """The command line of a benchmark of many runs, to which it adds what is its own.

    Args:
        doc: The script's.
        work: The usual folder of its runs.
        kept: What is in that folder.
        seeds: The usual ones.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--results", type=Path, required=True, help="one JSON object a line")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--work", type=Path, default=Path(work), help=kept)
    return parser


def machine() -> str:
    """What the figures of a run were measured on: the processor, whether it multiplies matrices in bf16, its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name") or platform.processor() or platform.machine()
    return f"{name}{' with AMX' if 'amx_bf16' in told.get('flags', '').split() else ''}, {os.cpu_count()} cores"


def read(results: Path) -> list[dict[str, Any]]:
    """The lines written so far."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def add(results: Path, line: Mapping[str, Any]) -> None:
    """Write one line more."""
    with results.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def done(results: Path, job: Mapping[str, Any]) -> bool:
    """Whether a run is among the results."""
    return any(all(line[key] == job[key] for key in job) for line in read(results))


def finished(recipe: Mapping[str, Any], folder: Path) -> Any:
    """The run of a recipe in a folder: trained if it is not there, gone on with where it was killed."""
    from polyhead.recipe import make_recipe
    from polyhead.training import resume, train

    return resume(folder) if (folder / "recipe.toml").exists() else train(make_recipe(dict(recipe)), folder)


def cell(values: list[float]) -> str:
    """The mean, and the range if there are several; empty if there is none."""
    if not values:
        return ""
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
