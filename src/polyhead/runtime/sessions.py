"""Graphs of an exported model, each opened when it is first asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyhead.answering.chooser import Array
from polyhead.errors import PolyheadError


class Graphs:
    """The graphs of a folder, by name.

    Args:
        folder: The exported model's.
        described: What config.json says of them.
    """

    def __init__(self, folder: Path, described: Mapping[str, Any]) -> None:
        self.folder = folder
        self.described = described
        self._open: dict[str, Any] = {}

    def inputs(self, name: str) -> list[str]:
        """What a graph reads."""
        return list(self.described[name]["inputs"])

    def run(self, name: str, given: Mapping[str, Array]) -> dict[str, Array]:
        """What a graph gives for arrays by name; what it does not read may be among them.

        Raises:
            PolyheadError: onnxruntime is not installed, or cannot read the graph.
        """
        session = self._session(name)
        wanted = {key: given[key] for key in self.described[name]["inputs"]}
        outputs = list(self.described[name]["outputs"])
        return dict(zip(outputs, session.run(outputs, wanted), strict=True))

    def open(self, name: str) -> None:
        """Open a graph now, so that what is wrong with it is told before there is work."""
        self._session(name)

    def _session(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = _opened(self.folder / self.described[name]["file"])
        return self._open[name]


def threads() -> int:
    """How many threads compute: what ``OMP_NUM_THREADS`` says, which onnxruntime does not read by itself, else as many
    as there are processors that this process may use; 0 for all of the machine's, as onnxruntime counts them."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said):
        return int(said)
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if mine == os.cpu_count() else int(mine or 0)


def _opened(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PolyheadError(
            "An exported model needs onnxruntime, which is not installed.",
            remedy="Install it: pip install 'polyhead[onnx]'",
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads()
    # The graph was optimised when it was exported; what would be found again now costs a cold start its time.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PolyheadError(
            f"onnxruntime cannot read this graph: {said}",
            file=path,
            remedy="Put it back from a copy, update onnxruntime, or export the run again.",
        ) from error
