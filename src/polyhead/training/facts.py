"""What a run's own record says of how it was made: versions, machine, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from polyhead import ranks
from polyhead.version import __version__


def run_facts(device: torch.device) -> dict[str, Any]:
    """The facts about a run that starts now; plain data for JSON, without paths of this machine.

    Args:
        device: Where it trains.
    """
    return {
        "polyhead": __version__,
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processor": processor(),
        "memory": memory(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "processes": ranks.world(),
        "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command(sys.argv),
    }


def processor() -> str:
    """The processor's name; of Linux as the kernel has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def memory() -> float | None:
    """The machine's memory in GiB, if the system tells."""
    with suppress(AttributeError, ValueError, OSError):
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None


def command(arguments: list[str]) -> str | None:
    """The polyhead command of this process, files by their names alone; ``None`` if it is a program of the user's."""
    program = Path(arguments[0]) if arguments else Path()
    if program.stem != "polyhead" and program.parts[-2:] != ("polyhead", "__main__.py"):
        return None
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments[1:]]
    return shlex.join(["polyhead", *words])
