"""Which numbers to compute with: bf16 where this machine gains from it, else fp32."""

from __future__ import annotations

import os
import textwrap
import time
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Literal

import torch
from torch import nn

from polyhead.errors import PolyheadError

Precision = Literal["fp32", "bf16"]

GAIN = 1.3
"""bf16 is taken where its matrix products are faster than fp32's by at least this factor."""


def matrix_rate(dtype: torch.dtype, *, rows: int = 512, repeats: int = 5, device: str = "cpu") -> float:
    """Operations per second of a (rows, 384) by (384, 1536) product, the best of a few; torch's random state stays."""
    own = torch.Generator().manual_seed(0)  # constants would be multiplied faster than real numbers are
    left = torch.randn(rows, 384, generator=own).to(device, dtype)
    right = torch.randn(1536, 384, generator=own).to(device, dtype)
    best = float("inf")
    for _ in range(repeats + 2):  # the first ones set things up
        start = time.perf_counter()
        nn.functional.linear(left, right)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * rows * 384 * 1536 / best


def choose_precision(device: torch.device) -> Precision:
    """What this device gains from: a GPU that knows bf16 takes it; a CPU is measured."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return _measured()


@lru_cache
def _measured() -> Precision:
    """What this CPU gains from, measured once in a process; a few hundredths of a second."""
    half, single = (matrix_rate(dtype, rows=256, repeats=3) for dtype in (torch.bfloat16, torch.float32))
    return "bf16" if half > GAIN * single else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Compute in this precision inside the block; weights that are bf16 already are not cast again."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def halve_linear_weights(module: nn.Module) -> None:
    """Hold the matrices of linear layers as bf16, so that no step casts them; what is summed up stays fp32."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            child.to(torch.bfloat16)


def find_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the one that ``POLYHEAD_DEVICE`` names, else a GPU where there is one.

    Raises:
        PolyheadError: It is not to be had here.
    """
    name = os.environ.get("POLYHEAD_DEVICE", name) if name == "auto" else name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        said = textwrap.shorten(str(error), 120, placeholder=" ...")
        raise PolyheadError(
            f"device = {name!r} is not to be had here: {said}", remedy='Take "auto" or "cpu".'
        ) from error
    return device
