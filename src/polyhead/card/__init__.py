"""A model card: what a model does, how it came to be, and how good it is, for people and for the Hub."""

from __future__ import annotations

from polyhead.card.body import body
from polyhead.card.facts import CardFacts
from polyhead.card.metadata import metadata
from polyhead.hub import CARD

__all__ = ["CARD", "CardFacts", "model_card"]


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with the Hub's metadata at its head."""
    return f"---\n{metadata(facts)}---\n\n{body(facts)}"
