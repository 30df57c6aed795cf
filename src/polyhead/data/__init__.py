"""Examples, and the files that they come from."""

from polyhead.data.dataset import Dataset, DataSpec, load_dataset, stream_dataset
from polyhead.data.example import (
    KIND_NAMES,
    WORDS,
    Confidence,
    Example,
    Frame,
    Labels,
    Prediction,
    Span,
    Spans,
    Text,
    Tree,
    Value,
    WordLabels,
)
from polyhead.data.readers import FORMATS, format_of, read
from polyhead.data.text import lines

__all__ = [
    "FORMATS",
    "KIND_NAMES",
    "WORDS",
    "Confidence",
    "DataSpec",
    "Dataset",
    "Example",
    "Frame",
    "Labels",
    "Prediction",
    "Span",
    "Spans",
    "Text",
    "Tree",
    "Value",
    "WordLabels",
    "format_of",
    "lines",
    "load_dataset",
    "read",
    "stream_dataset",
]
