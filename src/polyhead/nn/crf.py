"""Linear-chain decoding over tags, with transitions that make invalid sequences impossible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FORBIDDEN = -torch.inf
"""The score of an impossible transition: below any sum of scores, however large they are."""


def iob2_transitions(tags: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which tags may follow which in IOB2, and which may come first.

    Args:
        tags: ``O``, ``B-x`` and ``I-x``.

    Returns:
        Scores 0 or ``FORBIDDEN``: of tag i before tag j, shape (tags, tags), and of a first tag, shape (tags,).
    """
    follow = torch.zeros(len(tags), len(tags))
    first = torch.zeros(len(tags))
    for j, tag in enumerate(tags):
        if tag.startswith("I-"):
            first[j] = FORBIDDEN
            for i, before in enumerate(tags):
                if before not in (tag, "B-" + tag[2:]):
                    follow[i, j] = FORBIDDEN
    return follow, first


def viterbi(scores: Tensor, mask: Tensor, follow: Tensor, first: Tensor) -> Tensor:
    """The best sequence of tags of each text (Viterbi 1967).

    Args:
        scores: Of each tag for each word. Shape (batch, words, tags).
        mask: True where there is a word; words come first. Shape (batch, words).
        follow: Of tag i before tag j. Shape (tags, tags).
        first: Of each tag at the start. Shape (tags,).

    Returns:
        Tag indices; 0 where there is no word. Shape (batch, words).
    """
    batch, length, _ = scores.shape
    best = scores[:, 0] + first  # (batch, tags)
    pointers: list[Tensor] = []
    for step in range(1, length):
        reach, pointer = (best[:, :, None] + follow).max(dim=1)  # (batch, tags)
        best = torch.where(mask[:, step, None], reach + scores[:, step], best)
        pointers.append(pointer)
    out = torch.zeros(batch, length, dtype=torch.long, device=scores.device)
    last = best.argmax(dim=1)  # (batch,)
    for step in range(length - 1, -1, -1):
        out[:, step] = torch.where(mask[:, step], last, 0)
        if step:
            came = pointers[step - 1].gather(1, last[:, None])[:, 0]
            last = torch.where(mask[:, step], came, last)
    return out


class Crf(nn.Module):
    """A linear-chain conditional random field (Lafferty et al. 2001) that starts from given transitions.

    Args:
        follow: Scores that forbid transitions; learnt ones are added. Shape (tags, tags).
        first: Scores that forbid first tags. Shape (tags,).
    """

    def __init__(self, follow: Tensor, first: Tensor) -> None:
        super().__init__()
        self.register_buffer("hard_follow", follow, persistent=False)
        self.register_buffer("hard_first", first, persistent=False)
        self.soft_follow = nn.Parameter(torch.zeros_like(follow))
        self.soft_first = nn.Parameter(torch.zeros_like(first))

    @property
    def follow(self) -> Tensor:
        """Shape (tags, tags)."""
        return self.hard_follow + self.soft_follow  # type: ignore[operator]

    @property
    def first(self) -> Tensor:
        """Shape (tags,)."""
        return self.hard_first + self.soft_first  # type: ignore[operator]

    def loss(self, scores: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        """The negative log likelihood of the tags, summed over texts.

        Args:
            scores: Shape (batch, words, tags).
            mask: Shape (batch, words).
            tags: Gold; 0 where there is no word. Shape (batch, words).
        """
        return (self._normaliser(scores, mask) - self._score(scores, mask, tags)).sum()

    def likelihood(self, scores: Tensor, within: Tensor, mask: Tensor) -> Tensor:
        """The negative log likelihood of all sequences of possible tags together, summed over texts.

        Args:
            scores: Shape (batch, words, tags).
            within: The same, very low for tags that are not possible. Shape (batch, words, tags).
            mask: Shape (batch, words).
        """
        return (self._normaliser(scores, mask) - self._normaliser(within, mask)).sum()

    def decode(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The best sequences. Shapes as for :func:`viterbi`."""
        return viterbi(scores, mask, self.follow, self.first)

    def marginals(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The probability of each tag at each word, given the whole text.

        Args:
            scores: Shape (batch, words, tags).
            mask: Shape (batch, words).

        Returns:
            Shape (batch, words, tags); of no meaning where there is no word.
        """
        return self.log_marginals(scores, mask).exp()

    def log_marginals(self, scores: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """The logarithm of ``marginals`` (forward and backward sums of logarithms; Rabiner 1989).

        Args:
            scores: Shape (batch, words, tags).
            mask: Shape (batch, words).
            temperature: What all scores, those of transitions included, are divided by.
        """
        scores, follow = scores / temperature, self.follow / temperature
        before = [scores[:, 0] + self.first / temperature]  # (batch, tags) each: all ways up to a word
        for step in range(1, scores.shape[1]):
            reach = torch.logsumexp(before[-1][:, :, None] + follow, dim=1) + scores[:, step]
            before.append(torch.where(mask[:, step, None], reach, before[-1]))
        after = [torch.zeros_like(before[0])]  # all ways on from a word
        for step in range(scores.shape[1] - 1, 0, -1):
            onward = torch.logsumexp(follow + (scores[:, step] + after[-1])[:, None], dim=2)
            after.append(torch.where(mask[:, step, None], onward, after[-1]))
        return torch.log_softmax(torch.stack(before, 1) + torch.stack(after[::-1], 1), dim=2)

    def _score(self, scores: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        emitted = scores.gather(2, tags[:, :, None])[:, :, 0] * mask  # (batch, words)
        moved = self.follow[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        return emitted.sum(1) + moved.sum(1) + self.first[tags[:, 0]]

    def _normaliser(self, scores: Tensor, mask: Tensor) -> Tensor:
        total = scores[:, 0] + self.first  # (batch, tags)
        for step in range(1, scores.shape[1]):
            reach = torch.logsumexp(total[:, :, None] + self.follow, dim=1) + scores[:, step]
            total = torch.where(mask[:, step, None], reach, total)
        return torch.logsumexp(total, dim=1)
