"""Studies: many runs on one question, and what they say together."""

from polyhead.study.answers import Answers, answers
from polyhead.study.best import Best, look_at_best
from polyhead.study.study import Study
from polyhead.study.study import study as run_study

__all__ = ["Answers", "Best", "Study", "answers", "look_at_best", "run_study"]
