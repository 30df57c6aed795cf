"""Methods that join the gradients of several tasks into one, where these pull apart: all of them torchjd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from polyhead.errors import PolyheadError

AGGREGATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "pcgrad": ("PCGrad", {}),
    "cagrad": ("CAGrad", {"c": 0.5}),
    "mgda": ("MGDA", {}),
    "upgrad": ("UPGrad", {}),
    "dualproj": ("DualProj", {}),
    "aligned-mtl": ("AlignedMTL", {}),
    "imtl-g": ("IMTLG", {}),
    "config": ("ConFIG", {}),
    "graddrop": ("GradDrop", {}),
}
"""By our name torchjd's, and its settings. Those that carry a state from step to step are left out: their state could
not be saved with a checkpoint, and their shape would change with the tasks that a batch happens to carry."""

_PROJECTING = ("upgrad", "dualproj")


def make_aggregator(name: str) -> Callable[[Tensor], Tensor]:
    """From the gradients of tasks, shape (tasks, weights), to one, shape (weights,).

    Raises:
        PolyheadError: torchjd, or the solver that this method takes, is not installed.
    """
    kind, settings = AGGREGATORS[name]
    try:
        from torchjd import aggregation

        if name in _PROJECTING:
            settings = {"projector": project}
        made: Callable[[Tensor], Tensor] = getattr(aggregation, kind)(**settings)
    except ImportError as error:
        raise PolyheadError(
            f'combine = "{name}" needs torchjd and its solvers.',
            remedy="Install them: pip install 'polyhead[conflicts]'",
        ) from error
    return made


def project(vectors: Tensor, gramian: Tensor) -> Tensor:
    """Weights of the projection of J^T u onto the dual cone of J's rows: argmin of v^T G v over v >= u.

    torchjd's own solver is under the GPL, which a project under the MIT licence does not want to bring along. With
    G = L L^T and v = u + z this is a least-squares problem over z >= 0, which SciPy solves (Lawson and Hanson 1974).

    Args:
        vectors: Each u. Shape (..., tasks).
        gramian: J J^T. Shape (tasks, tasks).
    """
    matrix = gramian.detach().double().cpu().numpy()
    matrix = matrix / max(float(np.trace(matrix)), 1e-12) + 1e-6 * np.eye(len(matrix))
    root = np.linalg.cholesky(matrix).T
    u = vectors.detach().double().cpu().numpy().reshape(-1, len(matrix))
    found = np.stack([row + nnls(root, -root @ row)[0] for row in u])
    return torch.as_tensor(found.reshape(vectors.shape), device=gramian.device, dtype=gramian.dtype)
