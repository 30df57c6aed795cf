"""Studies: many runs on one question, and what they say together."""

from polyhead.studies.answers import Answers, answers
from polyhead.studies.best import Best, look_at_best
from polyhead.studies.folder import Study
from polyhead.studies.several import Studies, study_each
from polyhead.studies.study import study as run_study

__all__ = ["Answers", "Best", "Studies", "Study", "answers", "look_at_best", "run_study", "study_each"]
