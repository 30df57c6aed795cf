"""Raw text to sentences and words: spaCy's rule tokenizer, set for English treebanks, and sentence rules of our own.

A head that was trained on gold words must meet words of the same cut. So the tokenizer follows the English Web Treebank
of Universal Dependencies (version 2.15): ``don't`` is ``do n't``, ``well-known`` is three words but ``e-mail`` is one,
``!!!`` is one. The settings were chosen on its training and dev splits; ``benchmarks/segmentation.py`` measures them,
on the test split too, beside other libraries.

How spaCy uses the patterns below: https://spacy.io/usage/linguistic-features#how-tokenizer-works
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from polyhead.errors import PolyheadError

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer

Offsets: TypeAlias = tuple[int, int]
"""The first character of a word and the one after its last, counted from 0 in the whole text."""


def split(text: str) -> list[list[Offsets]]:
    """The sentences of an English text, each a list of the (start, end) characters of its words.

    A blank line ends a sentence; a single line end is white space. Words do not overlap, hold no white space, and
    together hold every other character of the text, in order. A text of white space alone has no sentences.

    Raises:
        PolyheadError: spaCy, which splits the words, is not installed.
    """
    with _remembering_little():
        return _split(text)


def _split(text: str) -> list[list[Offsets]]:
    sentences: list[list[Offsets]] = []
    for start, paragraph in _paragraphs(text):
        words = list(_words(paragraph))
        begin = 0
        for end in _sentence_ends(paragraph, words):
            sentences.append([(start + a, start + b) for a, b in words[begin:end]])
            begin = end
    return sentences


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Each stretch between blank lines, with the number of its first character."""
    start = 0
    for blank in re.finditer(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)\s*", text):
        yield start, text[start : blank.start()]
        start = blank.end()
    yield start, text[start:]


# --- words ---

# A run of one sign is one word, and so is a mix of `!`, `?` and `.`.
_RUN = r"(?:\*{2,}|={2,}|_{2,}|~{2,}|\${2,}|<{2,}|>{2,}|-{2,}|[!?][!?.]+|\.\.+)"

_WHOLE = re.compile(
    r"""
    (?: anti|co|counter|cross|e|ex|extra|inter|intra|micro|mid|mini|multi|neo|non|over|post|pre|pro|pseudo
      | psycho|re|semi|socio|sub|super|ultra|un ) -[^\W_]+      # a prefix and its hyphen: e-mail, mid-2004
  | (?: \d - )? (?: \d{3} - ){1,2} \d{4}                        # a telephone number: 713-853-3989
  | [a-z] / [a-z]                                               # b/c, w/o, I/O
  | \d{2,} ['’] s                                               # the 1980's
  | [\w#-]+ \. (?: docx?|xlsx?|pptx?|pdf|txt|csv|html?|jpe?g|png|gif|zip )   # a file's name
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Words that stay whole, where spaCy's own patterns would cut them."""

_PREFIXES = (_RUN, r"-(?=[^\W\d_])")
_SUFFIXES = (
    _RUN,
    r"(?<=\w)-",
    r"(?<=[^\W\d_])(?i:n['’]t|['’](?:s|ll|re|ve|d|m))",  # spaCy lists don't, but not DON'T
    r"(?<=\d)(?:[ap]m|[AP]M|[kmx]|[KM]|mm|MM)",  # 5pm, 10k, 35mm
)
_INFIXES = (_RUN, r"(?<=[^\W\d_])-(?=\d)", r"(?<=\w)[(\[;](?=\w)")

_ABBREVIATIONS = (
    "etc. Ft. Lt. Capt. Col. Sgt. Maj. Reps. Sens. Drs. Attn. Dept. Ave. Blvd. Mt. "
    "Sept. Mon. Tue. Tues. Wed. Thu. Thur. Thurs. Fri. Sat. Sun."
)
# Words that spaCy lists, but English treebanks cut by the patterns.
_NOT_WHOLE = frozenset({"and/or", "):"})


@functools.cache
def _tokenizer() -> Tokenizer:
    try:
        import spacy  # not at the top: it takes a second, and only raw text needs it
        from spacy.symbols import ORTH
        from spacy.tokenizer import Tokenizer
        from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
    except ImportError as error:
        raise PolyheadError(
            f"splitting raw text into words needs spaCy, which cannot be imported ({error})",
            remedy="Install it with `pip install spacy`, or give the text as words.",
        ) from error
    english = spacy.blank("en")
    own = english.Defaults
    tokenizer = Tokenizer(
        english.vocab,
        rules={word: parts for word, parts in (own.tokenizer_exceptions or {}).items() if word not in _NOT_WHOLE},
        prefix_search=compile_prefix_regex([*_PREFIXES, *(own.prefixes or ())]).search,
        suffix_search=compile_suffix_regex([*_SUFFIXES, *(own.suffixes or ())]).search,
        infix_finditer=compile_infix_regex([*_INFIXES, *(own.infixes or ())]).finditer,
        token_match=_WHOLE.fullmatch,
        url_match=own.url_match,
    )
    for word in _ABBREVIATIONS.split():
        tokenizer.add_special_case(word, [{ORTH: word}])
    tokenizer.add_special_case("wanna", [{ORTH: "wan"}, {ORTH: "na"}])
    return tokenizer


LEXEMES = 100_000
"""How many words the tokenizer remembers, which is about 50 MB. It would remember each that it ever saw."""

_alone = threading.Lock()


@contextmanager
def _remembering_little() -> Iterator[None]:
    """One text at a time; once many words are known, what it adds to them is forgotten (spaCy's memory zones)."""
    with _alone, ExitStack() as stack:
        vocabulary = _tokenizer().vocab
        if len(vocabulary) > LEXEMES:
            stack.enter_context(vocabulary.memory_zone())
        yield


def _words(paragraph: str) -> Iterator[Offsets]:
    # The tokenizer takes quadratic time over characters without a space between; no word of use is this long.
    cuts = [stretch.end() for stretch in re.finditer(r"\S{500}", paragraph)]
    for start, end in itertools.pairwise([0, *cuts, len(paragraph)]):
        for word in _tokenizer()(paragraph[start:end]):
            if not word.is_space:
                yield start + word.idx, start + word.idx + len(word)


# --- sentences ---

_END = re.compile(r"[.!?…。！？]+")
_DOTS = re.compile(r"\.\.+|…+")
_CLOSER = re.compile(r"['\"”’)\]»]+")
_SMILEY = re.compile(r"[:;=]-?[()DPp]+|<3|\^_?\^")
_LINE = re.compile(r"([-=_*~#+])\1{3,}")
_URL = re.compile(r"(?:https?://|www\.).+")
_ITEM = re.compile(r"\d{1,3}|[a-zA-Z]")
# Abbreviations before a number, whose full stop the tokenizer cuts off because they are words as well.
_NUMBERED = frozenset(["no", "nos", "ext", "sec", "para", "vol", "ph", "tel", "fig", "art", "ch", "pp", "p"])


def _sentence_ends(paragraph: str, words: Sequence[Offsets]) -> Iterator[int]:
    """For each sentence of a paragraph the number of words up to its end."""
    tokens = [_Token(paragraph[a:b], i > 0 and words[i - 1][1] == a) for i, (a, b) in enumerate(words)]
    begin = at = 0
    while at < len(tokens):
        end = _end_at(tokens, begin, at)
        at = at + 1 if end is None else end
        if end is not None:
            yield end
            begin = end
    if begin < len(tokens):
        yield len(tokens)


class _Token(NamedTuple):
    form: str
    glued: bool
    """Whether no space stands before it."""


def _end_at(tokens: Sequence[_Token], begin: int, at: int) -> int | None:
    """Where the sentence from word ``begin`` ends if word ``at`` ends it; None if it does not."""
    form = tokens[at].form
    following = tokens[at + 1] if at + 1 < len(tokens) else None
    if following is not None and not following.glued:
        if _LINE.fullmatch(form) or _LINE.fullmatch(following.form):
            return at + 1
        if form == "etc." and following.form[0].isupper():
            return at + 1
        if _URL.match(form) and (following.form[0].isupper() or _URL.match(following.form)):
            return at + 1
    if not _END.fullmatch(form):
        return None
    end, goes_on = _closed(tokens, at)
    if end == len(tokens):
        return end
    after = tokens[end]
    if after.form[0].islower() and goes_on:  # "Really?" she asked ... or so
        return None
    if after.glued and not (after.form[0].isupper() and form != "!"):
        return None
    if form == ".":
        if at == begin + 1 and tokens[at].glued and _ITEM.fullmatch(tokens[begin].form):  # 1. First item
            return None
        if after.form[0].isdigit() and tokens[at - 1].form.lower() in _NUMBERED:  # No. 5
            return None
    return end


def _closed(tokens: Sequence[_Token], at: int) -> tuple[int, bool]:
    """The end of what closes the sentence whose stop is word ``at``: more stops, quotes, brackets, a smiley.

    Returns:
        The number of words up to there, and whether the sentence goes on if a small letter follows: so it does
        after dots, and after the stop of a quotation or an aside.
    """
    end = at + 1
    goes_on = _DOTS.fullmatch(tokens[at].form) is not None
    while end < len(tokens):
        form, glued = tokens[end]
        if _END.fullmatch(form):
            goes_on = goes_on or form == tokens[at].form == "."  # . . .
        elif _CLOSER.fullmatch(form) and (glued or form in ")]"):
            goes_on = True
        elif not _SMILEY.fullmatch(form):
            break
        end += 1
    return end, goes_on
