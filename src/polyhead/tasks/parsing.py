"""Dependency parsing: a head and a relation for each word, which form a tree with one root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from polyhead.answering.chooser import Chooser
from polyhead.answering.trees import RELATIONS, ChooseTree
from polyhead.data.example import Example, Tree, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally, tally_trees
from polyhead.nn.biaffine import ArcScorer, Perceptron, RelationScorer
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, keep, per_example, soft_loss, translate
from polyhead.nn.tempered import surprises
from polyhead.nn.words import IGNORE
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum, Network
from polyhead.tasks.labels import linear_axes, unseen_note

MOST = 8192
"""The largest size of the vectors that arcs and relations are scored with."""


class Arcs(NamedTuple):
    """Gold arcs as numbers. Shapes (words,)."""

    heads: NDArray[np.int64]
    relations: NDArray[np.int64]


@dataclass(kw_only=True)
class Parsing(Task):
    """A dependency tree over each text's words (Dozat and Manning 2017).

    Attributes:
        arc_size: The size of the vectors that arcs are scored with.
        relation_size: The size of the vectors that relations are scored with.
        relations: The relations, sorted.
    """

    kind: ClassVar[type] = Tree
    metric: ClassVar[str] = "las"
    default_layer: ClassVar[str | None] = "tree"
    inventory: ClassVar[str] = "relations"

    dropout: float = 0.1  # five epochs of a small treebank are too few for more
    arc_size: Annotated[int, Field(ge=1, le=MOST)] = 256
    relation_size: Annotated[int, Field(ge=1, le=MOST)] = 128
    relations: list[str] = learnt()

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the relations."""
        found = {relation for example in examples for relation in self._gold(example).relations}
        self.relations = sorted(found | self.earlier_labels())
        if not self.relations:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} has no tree in the training split.",
                file=examples[0].file if examples else None,
                remedy="Check that the HEAD and DEPREL columns are filled.",
            )

    def head(self, encoder: Encoder) -> Head:
        """Biaffine scores of arcs and relations, and a maximum spanning tree."""
        return ParsingHead(
            encoder.width,
            self.relations,
            arc_size=self.arc_size,
            relation_size=self.relation_size,
            dropout=self.dropout,
        )

    def target(self, example: Example) -> Arcs | None:
        """Each word's head and relation; ``IGNORE`` for a relation that training never shows."""
        if not self.carries(example):
            return None
        tree, index = self._gold(example), self._index
        relations = np.asarray([index.get(relation, IGNORE) for relation in tree.relations], dtype=np.int64)
        return Arcs(np.asarray(tree.heads, dtype=np.int64), relations)

    def unit_gold(self, example: Example) -> NDArray[np.int64] | None:
        """Each word's relation, and on which side of it its head is: what of a tree can be told of a word alone."""
        arcs = self.target(example)
        if arcs is None:
            return None
        before = arcs.heads <= np.arange(len(arcs.heads))  # heads count from 1, and 0 is the root
        return np.where(arcs.relations == IGNORE, IGNORE, 2 * arcs.relations + before)

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """Relations that training never shows are counted in a note."""
        trees = (self._gold(example) for example in examples if self.carries(example))
        unseen = sum(relation not in self._index for tree in trees for relation in tree.relations)
        return unseen_note(self, unseen, "a relation", split)

    def choices(self) -> list[str]:
        """The relations."""
        return self.relations

    def marks(self, target: Arcs) -> NDArray[np.int64]:
        """The relations."""
        return target.relations

    def reading(self, example: Example, unit: int, choice: int) -> str:
        """The relation, or that the word has another head."""
        return "another head" if choice == len(self.relations) else super().reading(example, unit, choice)

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of ``uas``, ``las`` (with subtypes), ``las_universal`` (the official scorer's, without) and ``clas``."""
        return tally_trees([self._gold(example) for example in examples], cast(Sequence[Tree], predicted))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {relation: i for i, relation in enumerate(self.relations)}

    def _gold(self, example: Example) -> Tree:
        return cast(Tree, example.layers[self.layer])


class ParsingHead(Head):
    """A biaffine parser.

    Args:
        width: The encoder's width.
        relations: What to choose from.
        arc_size: The size of the vectors that arcs are scored with.
        relation_size: The size of the vectors that relations are scored with.
        dropout: The share of values dropped in training.
    """

    def __init__(
        self, width: int, relations: Sequence[str], *, arc_size: int, relation_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.relations = list(relations)
        self.sizes = (arc_size, relation_size)
        self.root = nn.Parameter(torch.randn(sum(self.sizes)) * 0.1)
        # One product serves all four perceptrons: arcs' and relations' dependents, then their heads.
        self.perceptron = Perceptron(width, 2 * sum(self.sizes), dropout)
        self.arcs = ArcScorer(arc_size)
        self.labels = RelationScorer(relation_size, len(relations))

    def loss(self, encoding: Encoding, targets: Sequence[Arcs]) -> LossSum:
        """Cross entropy of heads plus cross entropy of the relations of gold arcs, summed over words."""
        scores, labels, gold_heads, gold_relations = self._gold_scores(encoding, targets)
        arc_loss = nn.functional.cross_entropy(scores, gold_heads, reduction="sum")
        label_loss = nn.functional.cross_entropy(labels, gold_relations, reduction="sum", ignore_index=IGNORE)
        return LossSum(arc_loss + label_loss, len(gold_heads))

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """The probabilities of each word's heads, its best head, and the probabilities of the relation to that one."""
        scores, dependents, heads = self._score(encoding)
        chances = torch.softmax(scores / temperature, dim=1)
        best = scores.argmax(dim=1)
        logits = self.labels(dependents, heads(best)).float()
        relations = keep(translate(torch.softmax(logits / temperature, dim=1), self.relations, choices))
        out: list[Soft] = []
        start = 0
        for count, relation in zip(encoding.counts, per_example(relations, encoding.counts), strict=True):
            arcs = keep(chances[start : start + count, : count + 1])
            out.append((*arcs, best[start : start + count].numpy(force=True), *relation))
            start += count
        return out

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """The divergences from the teacher's heads, and from its relations to the heads that it likes best."""
        scores, dependents, heads = self._score(encoding)
        best = torch.from_numpy(np.concatenate([one[2] for one in soft])).to(scores.device)
        arc_loss = soft_loss(scores, [one[:2] for one in soft], temperature)
        labels = self.labels(dependents, heads(best)).float()
        label_loss = soft_loss(labels, [one[3:] for one in soft], temperature)
        return LossSum(arc_loss + label_loss, len(best))

    def surprise(self, encoding: Encoding, targets: Sequence[Arcs], temperatures: Sequence[float]) -> Tensor:
        """Cross entropies of heads plus those of the relations of gold arcs, of scores over each temperature."""
        scores, labels, heads, relations = self._gold_scores(encoding, targets)
        arcs = surprises(scores, heads, encoding.counts, temperatures)
        return arcs + surprises(labels, relations, encoding.counts, temperatures)

    def chances(self, encoding: Encoding, targets: Sequence[Arcs]) -> list[NDArray[np.float32]]:
        """The probability of the gold arc with each relation, and of any other arc. Shape (words, relations + 1)."""
        scores, labels, heads, _ = self._gold_scores(encoding, targets)
        arcs = torch.softmax(scores, dim=1).gather(1, heads[:, None])  # (all words, 1)
        found = torch.cat([arcs * torch.softmax(labels, dim=1), 1 - arcs], dim=1).numpy(force=True)
        return np.split(found, np.cumsum(encoding.counts)[:-1])

    def _gold_scores(self, encoding: Encoding, targets: Sequence[Arcs]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores of arcs, (all words, longest + 1), and of the relations of gold arcs, (all words, relations); gold."""
        scores, dependents, heads = self._score(encoding)
        gold_heads = torch.from_numpy(np.concatenate([t.heads for t in targets])).to(scores.device)
        relations = torch.from_numpy(np.concatenate([t.relations for t in targets])).to(scores.device)
        return scores, self.labels(dependents, heads(gold_heads)).float(), gold_heads, relations

    def scores(self, encoding: Encoding) -> dict[str, Tensor]:
        """Arc scores, (all words, longest + 1), and relation vectors of dependents and of the root and all heads."""
        arcs, dependents, heads = self._vectors(encoding)
        return {"arcs": arcs, "dependents": dependents.float(), "heads": heads.float()}

    def chooser(self) -> Chooser:
        """The best tree with one root."""
        return ChooseTree(self.relations)

    def networks(self) -> dict[str, Network]:
        """The scores of relations, for arcs that are chosen already."""
        size = self.sizes[1]
        example = {name: torch.zeros(2, size) for name in ("dependents", "heads")}
        axes = {name: {0: "arcs"} for name in ("dependents", "heads", "logits")}
        return {RELATIONS: Network(self._relations, example, axes)}

    def _relations(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.labels(given["dependents"], given["heads"]).float()}

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A matrix, a row and a number for each relation; arcs know no labels."""
        return {"labels.weight": {1: self.relations}, **linear_axes("labels.linear", self.relations)}

    def _score(self, encoding: Encoding) -> tuple[Tensor, Tensor, Any]:
        """Arc scores of all words, (all words, longest + 1), -inf beyond each text; relation vectors of dependents,
        (all words, relation size); and a function from heads (all words,) to their relation vectors.
        """
        scores, dependents, with_root = self._vectors(encoding)
        starts = np.repeat(np.cumsum([0, *encoding.counts[:-1]]), encoding.counts)
        offset = torch.from_numpy(starts).to(scores.device)

        def vectors(chosen: Tensor) -> Tensor:
            return with_root.index_select(0, torch.where(chosen == 0, 0, chosen + offset))

        return scores, dependents, vectors

    def _vectors(self, encoding: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """Arc scores of all words, (all words, longest + 1), -inf beyond each text; and relation vectors: of
        dependents, (all words, relation size), and of the root and then all heads, (all words + 1, relation size).
        """
        arc, relation = self.sizes
        both = self.perceptron(encoding.flat_words)  # (all words, 2 * (arc + relation))
        dep_arc, dep_relation, head_both = both.split([arc, relation, arc + relation], dim=1)
        root = self.root.to(both.dtype)
        padded = encoding.pad(head_both[:, :arc])  # (batch, words, arc)
        heads = torch.cat([root[:arc].expand(padded.shape[0], 1, arc), padded], dim=1)
        mask = encoding.word_mask
        scores = self.arcs(encoding.pad(dep_arc), heads).float()  # (batch, words, words + 1)
        beyond = torch.cat([mask.new_zeros(mask.shape[0], 1), ~mask], dim=1)
        scores = scores.masked_fill(beyond[:, None], -torch.inf)[mask]
        return scores, dep_relation, torch.cat([root[None, arc:], head_both[:, arc:]])
