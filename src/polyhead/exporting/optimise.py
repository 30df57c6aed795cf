"""Graphs as onnxruntime likes them: its own fusions, made once and written down, so that no cold start makes them."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def optimise(raw: Path, path: Path) -> None:
    """Write what onnxruntime makes of a graph on any processor: fused layer norms, GELUs, biases and scales.

    Args:
        raw: The graph as it was traced.
        path: Where to write the other.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(raw), options, providers=["CPUExecutionProvider"])
