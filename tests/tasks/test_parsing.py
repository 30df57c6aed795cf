"""Parsing: trees with one root, whatever the scores say, and every pair of words scored as itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polyhead.data.example import Example, Tree
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_encoder
from polyhead.nn.mst import decode
from polyhead.tasks.parsing import Parsing, ParsingHead

WORDS = ("The", "cat", "sat", "in", "a", "bad", "hat", ".", "so", "there")
EXAMPLES = [Example(words=WORDS[:n]) for n in (4, 1, 10, 2)]
RELATIONS = ["det", "nsubj", "obj", "root"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> Encoder:
    return load_encoder(str(tiny_encoder)).eval()


def _head(seed: int, scale: float = 1.0) -> ParsingHead:
    torch.manual_seed(seed)
    head = ParsingHead(32, RELATIONS, arc_size=8, relation_size=6, dropout=0.0).eval()
    with torch.no_grad():
        for weight in head.parameters():
            weight.mul_(scale)
    return head


def _is_tree(heads: tuple[int, ...]) -> bool:
    """Every word reaches the root by its heads, and one hangs on it."""
    for word in range(1, len(heads) + 1):
        seen = set()
        while word and word not in seen:
            seen.add(word)
            word = heads[word - 1]
        if word:
            return False
    return heads.count(0) == 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 40.0])
def test_random_weights_give_trees_with_one_root(encoder: Encoder, scale: float) -> None:
    with torch.no_grad():
        encoding = encoder(encoder.collate(encoder.tokenise(EXAMPLES)))
        for seed in range(15):
            for example, prediction in zip(EXAMPLES, _head(seed, scale).predict(encoding), strict=True):
                tree = prediction.value
                assert isinstance(tree, Tree) and len(tree.heads) == len(example.words)
                assert _is_tree(tree.heads) and set(tree.relations) <= set(RELATIONS)


def _slow(head: ParsingHead, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Arc scores (words, words + 1) and relation scores (words, words + 1, relations), pair by pair."""
    arc, relation = head.sizes
    both = head.perceptron(vectors)
    dep_arc, dep_rel = both[:, :arc], both[:, arc : arc + relation]
    head_arc, head_rel = both[:, arc + relation : 2 * arc + relation], both[:, 2 * arc + relation :]
    head_arc = torch.cat([head.root[None, :arc], head_arc])
    head_rel = torch.cat([head.root[None, arc:], head_rel])
    n = len(vectors)
    arcs, relations = torch.zeros(n, n + 1), torch.zeros(n, n + 1, len(RELATIONS))
    for d in range(n):
        for h in range(n + 1):
            arcs[d, h] = torch.cat([dep_arc[d], torch.ones(1)]) @ head.arcs.weight @ head_arc[h]
            relations[d, h] = head.labels(dep_rel[d : d + 1], head_rel[h : h + 1])[0]
    return arcs, relations


def test_answers_equal_a_slow_parser(encoder: Encoder) -> None:
    head = _head(1, 3.0)
    with torch.no_grad():
        encoding = encoder(encoder.collate(encoder.tokenise(EXAMPLES)))
        found = head.predict(encoding)
        for i, prediction in enumerate(found):
            arcs, relations = _slow(head, encoding.select([i]).flat_words)
            chances = arcs.log_softmax(1)
            square = np.zeros((len(arcs) + 1, len(arcs) + 1))
            square[1:] = chances.numpy()
            heads = decode(square)[0].tolist()
            rows = list(range(len(arcs)))
            scores = relations[rows, heads]
            for word, at in enumerate(heads):  # "root" goes with the root, and with nothing else
                for k, relation in enumerate(RELATIONS):
                    if (relation == "root") != (at == 0):
                        scores[word, k] = -torch.inf
            sure, index = scores.softmax(1).max(1)
            assert prediction.value == Tree(tuple(heads), tuple(RELATIONS[k] for k in index.tolist()))
            expected = (chances[rows, heads].exp() * sure).tolist()
            assert prediction.confidence == pytest.approx(tuple(expected), abs=1e-5)


def test_loss_equals_a_slow_one_and_an_unknown_relation_counts_for_its_arc_only(encoder: Encoder) -> None:
    head = _head(2, 2.0)
    task = Parsing(name="it", data="d", relations=RELATIONS)
    trees = [
        Tree((2, 3, 0, 3), ("det", "nsubj", "root", "obj")),
        Tree((0,), ("root",)),
        Tree((0, *([1] * 9)), ("root", *(["obj"] * 8), "no such relation")),
        Tree((2, 0), ("det", "root")),
    ]
    gold = [Example(words=e.words, layers={"tree": t}) for e, t in zip(EXAMPLES, trees, strict=True)]
    with torch.no_grad():
        encoding = encoder(encoder.collate(encoder.tokenise(gold)))
        targets = [task.target(example) for example in gold]
        loss = head.loss(encoding, [t for t in targets if t is not None])
        expected = 0.0
        for i, tree in enumerate(trees):
            arcs, relations = _slow(head, encoding.select([i]).flat_words)
            for word, (parent, name) in enumerate(zip(tree.heads, tree.relations, strict=True)):
                expected -= float(arcs[word].log_softmax(0)[parent])
                if name in RELATIONS:
                    expected -= float(relations[word, parent].log_softmax(0)[RELATIONS.index(name)])
    assert loss.units == 17
    assert float(loss.total) == pytest.approx(expected, rel=1e-4)


def test_no_words_no_tree(encoder: Encoder) -> None:
    encoding = encoder(encoder.collate(encoder.tokenise([Example(text=""), Example(text="a")])))
    assert [p.value for p in _head(0).predict(encoding)] == [Tree((), ()), Tree((), ())]
    mixed = encoder(encoder.collate(encoder.tokenise([Example(text=""), *EXAMPLES])))
    found = _head(0).predict(mixed)
    assert found[0].value == Tree((), ())
    alone = _head(0).predict(encoder(encoder.collate(encoder.tokenise(EXAMPLES))))
    assert [p.value for p in found[1:]] == [p.value for p in alone]
