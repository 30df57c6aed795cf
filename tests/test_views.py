"""What the command line shows, where a terminal is narrow and where there is none."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from polyhead.views import show_stages

MAIN = {"pos": "accuracy", "text": "perplexity"}
STAGES: list[dict[str, Any]] = [
    {
        "stage": f"stage-number-{number}",
        "scores": {"pos": {"accuracy": (50 + 3.125 * number) / 100}, "text": {"perplexity": 364.01 - number}},
    }
    for number in range(8)
]


@pytest.mark.parametrize("terminal", [True, False])
def test_no_figure_of_many_stages_is_cut_off(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    show_stages(STAGES, MAIN)
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "…" not in told
    for number in range(8):
        assert f"stage-number-{number}" in told and f"{50 + 3.125 * number:.2f}" in told
    assert "(+3.12)" in told and "357.010 (-1.000)" in told
    assert not terminal or max(map(len, told.splitlines())) <= 80
