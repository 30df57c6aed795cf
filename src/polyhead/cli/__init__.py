"""The command line: a thin layer over the public functions. Only its files and the views print or exit."""

from polyhead.cli import beginning, runs, serving, studying
from polyhead.cli.shared import app, main

__all__ = ["app", "beginning", "main", "runs", "serving", "studying"]
