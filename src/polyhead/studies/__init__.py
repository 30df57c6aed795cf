"""Studies: many runs on one question, and what they say together."""

from polyhead.studies.answers import Answers, answers
from polyhead.studies.study import Study
from polyhead.studies.study import study as run_study

__all__ = ["Answers", "Study", "answers", "run_study"]
