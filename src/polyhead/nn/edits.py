"""Lemmas as edit scripts: what to do with a form to get its lemma, in words that many forms share.

``script("Running", "run")`` and ``script("sitting", "sit")`` are both ``"l|----"``, so a lemmatiser is a
classifier over a few hundred scripts (Chrupała 2006; Straka 2018, whose rules UDify and MaChAmp use too).

A script is text, of one of two kinds:

- ``CASE PREFIX | SUFFIX``, without blanks. CASE says how to recase the form first: ``l`` lower, ``k`` keep,
  ``t`` first letter upper and the rest lower, ``u`` upper. PREFIX and SUFFIX edit the two ends around a kept
  middle: ``=`` keeps a character, ``-`` drops one, ``+c`` puts in the character c. Each consumes as many
  characters from its end as it has ``=`` and ``-``; the middle is what is left. ``l|-`` makes *dog* of *Dogs*,
  ``k=-+a|--`` makes *Haus* of *Häuser*.
- ``a`` and the lemma itself, for forms that share too little with it: ``abe`` makes *be* of *is* and *was*.

Characters are Unicode code points as given; nothing is normalised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TypeAlias

ABSOLUTE = "a"

RECASE: Mapping[str, Callable[[str], str]] = {
    "l": str.lower,
    "k": str,
    "t": lambda form: form[:1].upper() + form[1:].lower(),
    "u": str.upper,
}
"""Ways to recase a form, most general first: of equally short scripts the first wins."""

Edits: TypeAlias = tuple[str, ...]
"""The edits of one end: each ``=``, ``-`` or ``+c``."""

EDIT = re.compile(r"[=-]|\+.", re.DOTALL)
RULE = re.compile(rf"(?P<case>[lktu])(?P<prefix>(?:{EDIT.pattern})*)\|(?P<suffix>(?:{EDIT.pattern})*)", re.DOTALL)


@lru_cache(maxsize=1 << 16)
def script(form: str, lemma: str) -> str:
    """The script that turns ``form`` into ``lemma``: ``apply(script(form, lemma), form) == lemma``, always.

    The edits stand around the longest common substring; of the ways to recase the one that makes the shortest
    script is taken. Where the common substring is less than half of the lemma, the lemma itself is the script.
    """
    rules = []
    for case, recase in RECASE.items():
        cased = recase(form)
        if cased == lemma:
            return f"{case}|"
        at, to, size = _common(cased, lemma)
        # A lemma that shares little is a word to learn, not a rule: as one script it serves all its forms.
        if 2 * size >= len(lemma) > 0:
            prefix = _edits(cased[:at], lemma[:to])
            suffix = _edits(cased[at + size :], lemma[to + size :])
            rules.append(f"{case}{prefix}|{suffix}")
    return min(rules, key=len, default=ABSOLUTE + lemma)


def apply(script: str, form: str) -> str:
    """The lemma that ``script`` makes of ``form``.

    Total: a script that does not fit the form (too short to leave a middle) or is no script gives the form itself.
    """
    if script.startswith(ABSOLUTE):
        return script[len(ABSOLUTE) :]
    rule = _parse(script)
    if rule is None:
        return form
    recase, prefix, suffix = rule
    cased = recase(form)
    start, end = _consumed(prefix), len(cased) - _consumed(suffix)
    if start >= end and (prefix or suffix):
        return form
    return _edit(prefix, cased[:start]) + cased[start:end] + _edit(suffix, cased[end:])


def _common(a: str, b: str) -> tuple[int, int, int]:
    """Start in ``a``, start in ``b`` and length of the longest common substring; the earliest of several."""
    match = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return match.a, match.b, match.size


def _edits(old: str, new: str) -> str:
    """The fewest drops and insertions that turn ``old`` into ``new``; of several, drops come first."""
    # cost[i][j]: edits that turn old[i:] into new[j:].
    cost = [[len(old) - i + len(new) - j for j in range(len(new) + 1)] for i in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            kept = cost[i + 1][j + 1] if old[i] == new[j] else len(old) + len(new)
            cost[i][j] = min(kept, 1 + cost[i + 1][j], 1 + cost[i][j + 1])
    i = j = 0
    edits = ""
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and old[i] == new[j] and cost[i][j] == cost[i + 1][j + 1]:
            edits, i, j = edits + "=", i + 1, j + 1
        elif i < len(old) and cost[i][j] == 1 + cost[i + 1][j]:
            edits, i = edits + "-", i + 1
        else:
            edits, j = edits + "+" + new[j], j + 1
    return edits


@lru_cache(maxsize=1 << 16)
def _parse(script: str) -> tuple[Callable[[str], str], Edits, Edits] | None:
    """How to recase, and the edits of both ends; None for text that is no such script."""
    rule = RULE.fullmatch(script)
    if rule is None:
        return None
    return RECASE[rule["case"]], tuple(EDIT.findall(rule["prefix"])), tuple(EDIT.findall(rule["suffix"]))


def _consumed(edits: Edits) -> int:
    """How many characters of the form these edits use up."""
    return sum(not edit.startswith("+") for edit in edits)


def _edit(edits: Edits, old: str) -> str:
    """The characters that the edits make of ``old``, which is just as long as they consume."""
    characters = iter(old)
    new = ""
    for edit in edits:
        if edit.startswith("+"):
            new += edit[1:]
        elif edit == "=":
            new += next(characters)
        else:
            next(characters)
    return new
