"""Training: stages over tasks, from a recipe to a run."""

from polyhead.train.run import Run, evaluate
from polyhead.train.start import resume, train

__all__ = ["Run", "evaluate", "resume", "train"]
