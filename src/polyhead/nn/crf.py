"""The likelihood of sequences of tags, with transitions that make invalid ones impossible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyhead.nn.tags import transitions


def iob2_transitions(tags: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which tags may follow which in IOB2, and which may come first (see :func:`polyhead.nn.tags.transitions`).

    Returns:
        Scores 0 or -inf: of tag i before tag j, shape (tags, tags), and of a first tag, shape (tags,).
    """
    follow, first = transitions(tags)
    return torch.from_numpy(follow), torch.from_numpy(first)


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
