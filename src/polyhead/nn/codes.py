"""The codes of languages that tokenizers of multilingual encoder-decoders put at a text: mBART, M2M100, NLLB."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

_CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}|__[a-z]{2,3}(_[A-Za-z]+)?__")
"""As mBART (fr_XX), NLLB (fra_Latn) and M2M100 (__fr__) write them."""


def language_codes(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of a tokenizer's special pieces that stand for a language, by code; M2M100's without underscores."""
    special = tokenizer.get_added_tokens_decoder().items()
    found = sorted((token.content, number) for number, token in special if token.special)
    return {piece.strip("_"): number for piece, number in found if _CODE.fullmatch(piece)}


def with_code(tokenizer: Tokenizer, old: int, new: int) -> Tokenizer:
    """A tokenizer that puts one code at a text where another one was, in its post-processor; all else is the same."""
    pieces: dict[str, str] = {str(tokenizer.id_to_token(old)): str(tokenizer.id_to_token(new))}
    saved = json.loads(tokenizer.to_str())
    saved["post_processor"] = _changed(saved["post_processor"], pieces, {old: new})
    changed: Tokenizer = Tokenizer.from_str(json.dumps(saved))
    return changed


def _changed(part: Any, pieces: dict[str, str], ids: dict[int, int]) -> Any:
    """A part of a post-processor's description: pieces stand in it by name, ids in lists alone."""
    if isinstance(part, dict):
        return {pieces.get(key, key): _changed(value, pieces, ids) for key, value in part.items()}
    if isinstance(part, list):
        return [ids.get(one, one) if type(one) is int else _changed(one, pieces, ids) for one in part]
    return pieces.get(part, part) if isinstance(part, str) else part
