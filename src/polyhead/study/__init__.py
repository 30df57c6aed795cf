"""Studies: many runs on one question, and what they say together; and advice before any of them."""

from polyhead.study.advice import Advice, advise
from polyhead.study.answers import Answers, answers
from polyhead.study.study import Study
from polyhead.study.study import study as run_study

__all__ = ["Advice", "Answers", "Study", "advise", "answers", "run_study"]
