"""Trained models as folders that need no torch: graphs for onnxruntime, and what their scores mean."""

from polyhead.exporting.folder import export

__all__ = ["export"]
