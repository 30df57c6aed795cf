"""Training: stages over tasks, from a recipe to a run."""

from polyhead.training.comparing import compare
from polyhead.training.run import Run, evaluate
from polyhead.training.separating import separate
from polyhead.training.start import resume, train

__all__ = ["Run", "compare", "evaluate", "resume", "separate", "train"]
