"""What a study says in words: no more than its data do."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.drawing.rows import Gain, draw_gains
from polyhead.studies import answers
from polyhead.studies.answers import Answers, Saved
from polyhead.studies.curves import Needed
from polyhead.studies.view import show_answers
from polyhead.studies.words import headline, more_lines, needed_words, saved_words
from studies.simulated import simulate


def studied(folder: Path, starts: dict[str, float], examples: int = 600) -> Answers:
    """A study at one size, where ways differ by these log odds."""
    found = answers(simulate(folder, ways=tuple(starts), sizes=(50,), starts=starts, examples=examples))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ({"fine-tuned": 1.0}, "There is nothing yet to compare with: fine-tuned has"),
        ({"scratch": 1.0}, "There is nothing yet to compare with: from scratch has"),
        ({"scratch": 2.0, "fine-tuned": -1.0}, "Transfer has not helped: from scratch has"),
        ({"fine-tuned": 2.0, "from:pos": -1.0}, "Nothing else helped more than fine-tuned: fine-tuned has"),
        ({"scratch": -1.0, "fine-tuned": 2.0}, "Transfer helped: fine-tuned has"),
    ],
)
def test_the_first_line_answers_the_question(tmp_path: Path, starts: dict[str, float], said: str) -> None:
    found = studied(tmp_path, starts)
    assert headline(found).startswith(said)
    assert len(starts) > 1 or not list(more_lines(found))


@pytest.mark.parametrize(
    ("base", "other", "question"),
    [("scratch", "frozen", "transfer helped"), ("fine-tuned", "from:pos", "anything helps more than fine-tuned")],
)
def test_what_may_be_chance_is_no_answer_whoever_is_ahead(tmp_path: Path, base: str, other: str, question: str) -> None:
    ahead = set()
    for place, lead in enumerate((-0.5, 0.2)):
        found = studied(tmp_path / str(place), {base: 0.5, other: 0.5 + lead}, examples=60)
        assert headline(found).startswith(f"The data cannot tell whether {question}: "), headline(found)
        ahead.add(found.best(50))
    assert ahead == {base, other}, "both cases are there"


def test_what_is_saved_has_an_interval_at_the_ends_too() -> None:
    assert needed_words(Needed(None, 230.0, None, below=False)) == "more than all (230 to more than all)"
    assert needed_words(Needed(None, None, None, below=False)) == "more than all"
    assert needed_words(Needed(20.0, 20.0, 75.0, below=True)) == "20 or fewer (at most 75)"
    assert needed_words(Needed(20.0, 20.0, None, below=True)) == "20 or fewer (no upper end)"
    assert needed_words(Needed(20.0, 20.0, 20.0, below=True)) == "20 or fewer"
    said = saved_words(Saved("joint", 50, "fine-tuned", Needed(None, 230.0, None, below=False)))
    assert said.endswith("the data do not rule out that 230 would.")


def test_chance_has_no_colour() -> None:
    def drawn(value: float, sign: int) -> str:
        return draw_gains(["pos"], ["50"], {("pos", "50"): Gain(value, "x", sign)})

    assert drawn(0.3, 0) == drawn(-0.3, 0)
    assert len({drawn(0.3, 0), drawn(0.3, 1), drawn(-0.3, -1)}) == 3


def test_the_terminal_announces_no_tests_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_answers(studied(tmp_path, {"fine-tuned": 1.0}))
    assert "corrected" not in capsys.readouterr().out
    found = answers(simulate(tmp_path / "two", ways=("scratch", "fine-tuned"), sizes=(1,)))
    assert found is not None
    show_answers(found)
    assert "With 1 example (p corrected for 1 test):" in capsys.readouterr().out
