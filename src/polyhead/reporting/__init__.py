"""A run as one page to look at."""

from polyhead.reporting.page import report

__all__ = ["report"]
