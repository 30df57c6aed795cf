"""spaCy's rules for English words, with what polyhead changes of them, as plain data."""

from __future__ import annotations

from typing import Any

from polyhead.data.segment import ABBREVIATIONS, INFIXES, NOT_WHOLE, PREFIXES, SUFFIXES, WHOLE
from polyhead.errors import PolyheadError


def spacy_tokenizer() -> Any:
    """spaCy's tokenizer with polyhead's changes.

    Raises:
        PolyheadError: There is no spaCy.
    """
    try:
        import spacy  # not at the top: it takes a second
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
        rules={word: parts for word, parts in (own.tokenizer_exceptions or {}).items() if word not in NOT_WHOLE},
        prefix_search=compile_prefix_regex([*PREFIXES, *(own.prefixes or ())]).search,
        suffix_search=compile_suffix_regex([*SUFFIXES, *(own.suffixes or ())]).search,
        infix_finditer=compile_infix_regex([*INFIXES, *(own.infixes or ())]).finditer,
        token_match=WHOLE.fullmatch,
        url_match=own.url_match,
    )
    for word in ABBREVIATIONS.split():
        tokenizer.add_special_case(word, [{ORTH: word}])
    tokenizer.add_special_case("wanna", [{ORTH: "wan"}, {ORTH: "na"}])
    return tokenizer


def rules_of_spacy() -> dict[str, Any]:
    """The patterns, the words whose parts are listed, and what the patterns alone would make of some of them.

    Raises:
        PolyheadError: There is no spaCy.
    """
    tokenizer = spacy_tokenizer()
    from spacy.symbols import ORTH

    listed = {word: [part[ORTH] for part in parts] for word, parts in tokenizer.rules.items()}
    cut = [w for w in listed if tokenizer.find_prefix(w) or tokenizer.find_infix(w) or tokenizer.find_suffix(w)]
    tokenizer.rules = {}
    return {
        "prefix": tokenizer.prefix_search.__self__.pattern,
        "suffix": tokenizer.suffix_search.__self__.pattern,
        "infix": tokenizer.infix_finditer.__self__.pattern,
        "url": tokenizer.url_match.__self__.pattern,
        "listed": dict(sorted(listed.items())),
        "cut": {word: [token.text for token in tokenizer(word)] for word in sorted(cut) if " " not in word},
    }
