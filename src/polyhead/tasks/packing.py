"""How texts become what a task without labels learns from."""

from __future__ import annotations

from typing import NamedTuple

from polyhead.nn.targets import TargetVocabulary


class Packing(NamedTuple):
    """How the texts of a task that does not annotate become its examples, which are called blocks.

    Attributes:
        block: The most pieces of a block, special ones included.
        joined: Whether short texts share a block, with a separator between them.
        vocabulary: Where there is one, each text is a block of its own, with its pieces in this vocabulary alongside
            (``Pieces.target``); they come from the text itself, whatever the encoder's tokenizer drops of it.
        longest: The most of these pieces; a text with more of them, or of the encoder's, becomes several blocks.
    """

    block: int = 128
    joined: bool = True
    vocabulary: TargetVocabulary | None = None
    longest: int = 0
