"""Decoding and likelihood of tag sequences against going through all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from polyhead.nn.crf import Crf, iob2_transitions
from polyhead.nn.tags import log_marginals, viterbi

TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]


def is_valid(tags: tuple[int, ...]) -> bool:
    """By the definition of IOB2: inside only after the begin or the inside of the same label."""
    names = ["O", *(TAGS[t] for t in tags)]
    return all(not b.startswith("I-") or a in (b, "B-" + b[2:]) for a, b in itertools.pairwise(names))


def sequences(length: int) -> Iterator[tuple[int, ...]]:
    return itertools.product(range(len(TAGS)), repeat=length)


Table = list[list[float]]


def total(scores: Table, tags: tuple[int, ...], follow: Table, first: list[float]) -> float:
    """The score of one sequence, added up word by word."""
    out = first[tags[0]] + scores[0][tags[0]]
    for step in range(1, len(tags)):
        out += follow[tags[step - 1]][tags[step]] + scores[step][tags[step]]
    return out


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, list[int]]:
    """Scores of texts of several lengths with rubbish where there is no word, and the mask."""
    generator = torch.Generator().manual_seed(1)
    lengths = [4, 1, 3, 2, 4]
    scores = torch.randn(len(lengths), 4, len(TAGS), generator=generator) * 3
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    scores[~mask] = 1e3
    return scores, mask, lengths


def test_transitions_allow_exactly_the_valid_sequences() -> None:
    follow, first = iob2_transitions(TAGS)
    for tags in sequences(3):
        found = total([[0.0] * len(TAGS)] * 3, tags, follow.tolist(), first.tolist())
        assert math.isfinite(found) == is_valid(tags)


def test_viterbi_finds_the_best_valid_sequence(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    scores, mask, lengths = problem
    follow, first = iob2_transitions(TAGS)
    found = viterbi(scores.numpy(), mask.numpy(), follow.numpy(), first.numpy())
    for row, length in enumerate(lengths):
        best = max(
            (tags for tags in sequences(length) if is_valid(tags)),
            key=lambda tags: sum(float(scores[row, i, t]) for i, t in enumerate(tags)),
        )
        assert tuple(found[row, :length].tolist()) == best
        assert not found[row, length:].any()


def test_viterbi_with_learnt_transitions_equals_brute_force(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    scores, mask, lengths = problem
    generator = torch.Generator().manual_seed(2)
    follow = torch.randn(len(TAGS), len(TAGS), generator=generator) * 2
    first = torch.randn(len(TAGS), generator=generator) * 2
    found = viterbi(scores.numpy(), mask.numpy(), follow.numpy(), first.numpy())
    for row, length in enumerate(lengths):
        table, moves = scores[row].tolist(), (follow.tolist(), first.tolist())
        best = max(sequences(length), key=lambda tags: total(table, tags, *moves))
        assert tuple(found[row, :length].tolist()) == best


def test_no_score_is_high_enough_for_an_invalid_sequence() -> None:
    follow, first = iob2_transitions(TAGS)
    scores = torch.full((1, 30, len(TAGS)), -1e30)
    scores[:, :, 2::2] = 1e30  # only I-x, everywhere
    tags = viterbi(scores.numpy(), np.ones((1, 30), dtype=bool), follow.numpy(), first.numpy())
    assert is_valid(tuple(tags[0].tolist()))


def crf() -> Crf:
    made = Crf(*iob2_transitions(TAGS))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        made.soft_follow.copy_(torch.randn(made.soft_follow.shape, generator=generator))
        made.soft_first.copy_(torch.randn(made.soft_first.shape, generator=generator))
    return made


def test_likelihood_equals_brute_force(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    scores, mask, lengths = problem
    layer = crf()
    gold = [(0, 1, 2, 3), (3,), (1, 2, 2), (0, 0), (3, 4, 0, 1)]
    tags = torch.tensor([[*g, *[0] * (4 - len(g))] for g in gold])
    moves = layer.follow.tolist(), layer.first.tolist()
    expected = 0.0
    for row, length in enumerate(lengths):
        every = [total(scores[row].tolist(), t, *moves) for t in sequences(length) if is_valid(t)]
        expected += float(torch.tensor(every).logsumexp(0)) - total(scores[row].tolist(), gold[row], *moves)
    assert layer.loss(scores, mask, tags).item() == pytest.approx(expected, rel=1e-5)


def test_gradients_are_right_and_finite(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    """The gradient of the scores is the marginal probability of each tag minus gold: each word's sum is 0."""
    scores, mask, _ = problem
    layer = crf()
    scores.requires_grad_()
    layer.loss(scores, mask, torch.zeros(mask.shape, dtype=torch.long)).backward()
    assert scores.grad is not None and layer.soft_follow.grad is not None and layer.soft_first.grad is not None
    torch.testing.assert_close(scores.grad.sum(2), torch.zeros(mask.shape), atol=1e-5, rtol=0)
    assert not scores.grad[~mask].any()
    assert scores.grad[mask][:, 0].max() < 0  # gold
    forbidden = torch.isinf(layer.hard_follow)
    assert forbidden.any() and not layer.soft_follow.grad[forbidden].any()
    assert torch.isfinite(layer.soft_follow.grad).all() and layer.soft_follow.grad[~forbidden].any()


def test_marginals_equal_brute_force(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    scores, mask, lengths = problem
    layer = crf()
    found = layer.marginals(scores, mask)
    moves = layer.follow.tolist(), layer.first.tolist()
    for row, length in enumerate(lengths):
        every = [tags for tags in sequences(length) if is_valid(tags)]
        chances = torch.tensor([total(scores[row].tolist(), tags, *moves) for tags in every]).softmax(0)
        expected = torch.zeros(length, len(TAGS))
        for tags, chance in zip(every, chances, strict=True):
            expected[torch.arange(length), torch.tensor(tags)] += chance
        torch.testing.assert_close(found[row, :length], expected, atol=1e-5, rtol=1e-4)


def test_marginals_in_numpy_are_those_of_torch(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    scores, mask, _ = problem
    layer = crf()
    given = (one.detach().numpy() for one in (scores, mask, layer.follow, layer.first))
    found = log_marginals(*given)[mask.numpy()]
    assert np.exp(found) == pytest.approx(layer.marginals(scores, mask)[mask].detach().numpy(), abs=1e-5)


def test_decoding_follows_what_was_learnt() -> None:
    layer = Crf(*iob2_transitions(TAGS))
    scores, mask = torch.zeros(1, 6, len(TAGS)), torch.ones(1, 6, dtype=torch.bool)
    gold = torch.tensor([[0, 1, 2, 2, 0, 3]])
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    scores[0, torch.arange(6), gold[0]] = 0.1
    scores[0, 2, 4] = 0.5  # misleads a decoder without transitions
    for _ in range(30):
        optimizer.zero_grad()
        layer.loss(scores, mask, gold).backward()
        optimizer.step()
    found = viterbi(*(one.detach().numpy() for one in (scores, mask, layer.follow, layer.first)))
    assert found.tolist() == gold.tolist()
