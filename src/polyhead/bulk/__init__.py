"""Answers for folders of files, by one process or many, that go on where they were ended."""

from polyhead.bulk.following import Progress, Summary
from polyhead.bulk.jobs import How
from polyhead.bulk.run import failures, predict_folder

__all__ = ["How", "Progress", "Summary", "failures", "predict_folder"]
