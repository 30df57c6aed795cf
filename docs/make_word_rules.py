"""Write ``src/polyhead/data/word_rules.json``: spaCy's rules for English words, with what polyhead changes of them.

    python docs/make_word_rules.py

It needs spaCy, which polyhead itself then does not. The rules are spaCy's own (MIT licence, Explosion AI); the patterns
that polyhead puts before them, and which words it lists, are in ``polyhead/data/segment.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyhead.data.segment import ABBREVIATIONS, INFIXES, NOT_WHOLE, PREFIXES, SUFFIXES, WHOLE

FILE = Path(__file__).parents[1] / "src" / "polyhead" / "data" / "word_rules.json"


def spacy_tokenizer() -> Any:
    """spaCy's tokenizer with polyhead's changes."""
    import spacy
    from spacy.symbols import ORTH
    from spacy.tokenizer import Tokenizer
    from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex

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


def rules() -> dict[str, Any]:
    """The patterns, the words whose parts are listed, and what the patterns alone would make of some of them."""
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


if __name__ == "__main__":
    FILE.write_text(json.dumps(rules(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
