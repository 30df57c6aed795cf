"""What is kept of transformers' ``generate`` as it writes texts: how probable they are, and where each must end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.cache_utils import DynamicCache, EncoderDecoderCache


class Watching:
    """Looks on as texts are written. Before each piece it is asked as a logits processor; with several hypotheses the
    cache tells it which of them go on.

    Args:
        limits: The most pieces of each text, its end left out. Shape (texts,).
        begin: How many pieces each begins with.
        end: The id of the piece that ends a text.
        never: The id of a piece that is in no text, if there is one: what fills shorter texts up. Networks of Marian's
            kind have never learnt how unlikely it is.
        several: Whether several hypotheses of each are kept.
        sure: Whether it is wanted how probable they are.
    """

    def __init__(self, limits: Tensor, begin: int, end: int, never: int | None, *, several: bool, sure: bool) -> None:
        self.limits, self.begin, self.end, self.never, self.sure = limits, begin, end, never, sure
        self.cache = _Hypotheses() if several else None
        self._least = int(limits.min())
        self._totals: list[Tensor] = []  # at each step the log-probability of each row so far,
        self._ends: list[Tensor] = []  # and that of its end there
        self._scores = torch.empty(0)  # of the last step, and what makes log-probabilities of them
        self._norms = torch.empty(0)

    def settings(self) -> dict[str, Any]:
        """What ``generate`` is given."""
        cache = {} if self.cache is None else {"past_key_values": self.cache}
        return {"logits_processor": LogitsProcessorList([self]), **cache}

    def __call__(self, given: Tensor, scores: Tensor) -> Tensor:
        """Keep how probable the texts so far are, and end those that have reached their limit.

        Args:
            given: The pieces so far. Shape (rows, pieces), a row for each hypothesis of each text.
            scores: Of each next piece: log-probabilities with several hypotheses, else logits. Shape (rows,
                vocabulary).

        Returns:
            The scores, in which what is never written is impossible, and all but the end where a limit is reached.
        """
        if self.sure:
            self._keep(given, scores)
        if self.never is not None:
            scores[:, self.never] = -torch.inf  # they are generate's own copy
        return self._limited(scores, given.shape[1] - self.begin)

    def _keep(self, given: Tensor, scores: Tensor) -> None:
        if self._totals:
            rows = torch.arange(len(given), device=given.device) if self.cache is None else self.cache.origins
            total = self._totals[-1][rows] + self._scores[rows, given[:, -1]] - self._norms[rows]
        else:
            total = scores.new_zeros(len(scores))
        self._scores = scores
        self._norms = scores.logsumexp(1) if self.cache is None else scores.new_zeros(len(scores))
        self._totals.append(total)
        self._ends.append(scores[:, self.end] - self._norms)

    def _limited(self, scores: Tensor, written: int) -> Tensor:
        if written < self._least:
            return scores
        over = written >= self.limits.repeat_interleave(len(scores) // len(self.limits))
        only = torch.full_like(scores[:1], -torch.inf)
        only[:, self.end] = 0.0
        return torch.where(over[:, None], only, scores)

    def chances(self, lengths: Tensor, rows: Tensor | None) -> Tensor:
        """The geometric mean of the probabilities of each text's pieces and of its end, unless a limit put that there.

        Args:
            lengths: The pieces of each text that was chosen, its end left out. Shape (chosen,), some for each text.
            rows: The row that each piece of it was put to, as ``generate`` tells it with several hypotheses. Shape
                (chosen, steps).

        Returns:
            Shape (chosen,); no numbers if they are not wanted.
        """
        if not self.sure:
            return torch.full(lengths.shape, torch.nan)
        places = torch.arange(len(lengths), device=lengths.device)
        ends = lengths.clamp(max=len(self._totals) - 1)
        rows = places if rows is None else rows[places, ends].long()
        free = lengths < self.limits.repeat_interleave(len(lengths) // len(self.limits))
        logs = torch.stack(self._totals)[ends, rows]
        logs = torch.where(free, logs + torch.stack(self._ends)[ends, rows], logs)
        return (logs / (lengths + free).clamp(min=1)).exp()


class _Hypotheses(EncoderDecoderCache):  # type: ignore[misc]
    """The cached states of several hypotheses for each text.

    Attributes:
        origins: The row that each hypothesis of the last step came from. Shape (rows,).
    """

    origins: Tensor

    def __init__(self) -> None:
        super().__init__(DynamicCache(), DynamicCache())

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these rows; what they read stays in its place, since each goes on within its own text."""
        self.origins = beam_idx.long()
        self.self_attention_cache.reorder_cache(beam_idx)
