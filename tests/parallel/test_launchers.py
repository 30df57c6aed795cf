"""The command as torchrun and accelerate start it, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import polyhead
import runs

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STAGE = "[[stages]]\nepochs = 2\nbatch_pieces = 64\n"


def start(launcher: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    source = str(Path(polyhead.__file__).parents[1])
    given = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, "-m", "polyhead", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=given, timeout=300)


def test_torchrun(tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, STAGE)
    done = start(TORCHRUN, "train", recipe, "-o", tmp_path / "run", "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2: ") == 1, "one speaks"
    assert done.stdout.count("scores on test") == 1
    assert json.loads((tmp_path / "scores.json").read_text()) == polyhead.Run.open(tmp_path / "run").scores


def test_accelerate_with_fsdp(tiny_encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, STAGE)
    launcher = ["-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--main_process_port", "0"]
    done = start(launcher, "train", recipe, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "\nsharded = true\n" in (tmp_path / "run" / "recipe.toml").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
