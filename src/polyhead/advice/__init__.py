"""Advice before training: encoders and source tasks ranked for a target, and which tasks to train together."""

from polyhead.advice.ranking import Advice, advise

__all__ = ["Advice", "advise"]
