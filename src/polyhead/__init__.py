"""polyhead: one pretrained encoder, many heads. Transfer learning and multi-task learning for NLP.

import polyhead

run = polyhead.train("recipe.toml", output="runs/first")
annotate = polyhead.load("runs/first")
doc = annotate("Angela Merkel visited Paris.")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from polyhead.errors import PolyheadError
from polyhead.version import __version__

if TYPE_CHECKING:
    from polyhead.advice import Advice, advise
    from polyhead.answering.annotator import Annotator
    from polyhead.doc import Doc, Sentence
    from polyhead.exporting import export
    from polyhead.hub import push
    from polyhead.loading import load
    from polyhead.recipe import Recipe, load_recipe
    from polyhead.reporting import report
    from polyhead.serving import serve
    from polyhead.studies.answers import Answers
    from polyhead.studies.folder import Study
    from polyhead.studies.several import Studies, study_each
    from polyhead.studies.study import study
    from polyhead.training import Run, compare, evaluate, resume, separate, train

__all__ = [
    "Advice",
    "Annotator",
    "Answers",
    "Doc",
    "PolyheadError",
    "Recipe",
    "Run",
    "Sentence",
    "Studies",
    "Study",
    "__version__",
    "advise",
    "compare",
    "evaluate",
    "export",
    "load",
    "load_recipe",
    "push",
    "report",
    "resume",
    "separate",
    "serve",
    "study",
    "study_each",
    "train",
]

_HOMES = {
    "Advice": "polyhead.advice",
    "Annotator": "polyhead.answering.annotator",
    "Answers": "polyhead.studies.answers",
    "Doc": "polyhead.doc",
    "Recipe": "polyhead.recipe",
    "Run": "polyhead.training",
    "Sentence": "polyhead.doc",
    "Studies": "polyhead.studies.several",
    "Study": "polyhead.studies.folder",
    "advise": "polyhead.advice",
    "compare": "polyhead.training",
    "evaluate": "polyhead.training",
    "export": "polyhead.exporting",
    "load": "polyhead.loading",
    "load_recipe": "polyhead.recipe",
    "push": "polyhead.hub",
    "report": "polyhead.reporting",
    "resume": "polyhead.training",
    "separate": "polyhead.training",
    "serve": "polyhead.serving",
    "study": "polyhead.studies.study",
    "study_each": "polyhead.studies.several",
    "train": "polyhead.training",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds that ``--help`` need not wait for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'polyhead' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
