"""Answers that are texts, written piece by piece: greedily, with several hypotheses, or drawn; with cached states.

Greedy and beam search do what transformers' ``generate`` does with the settings that :mod:`polyhead.nn.decoding` gives
it, so that both write the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from polyhead.answering.chooser import Array, Chooser, Given, log_softmax
from polyhead.data.example import Prediction, Text
from polyhead.nn.searching import AT_ONCE, Search, changed
from polyhead.nn.targets import TargetVocabulary

FIRST, NEXT = "first", "next"
"""The networks of a decoder. ``first`` reads what the encoder made of texts, ``states`` (texts, memory, width) and
``mask`` (texts, memory), and the ``ids`` that each text begins with; it gives the ``logits`` of the next piece, (texts,
pieces), and cached states: ``present.*``, which grow with the text, and ``read.*``, which stay. ``next`` reads
``mask``, the ``ids`` of one piece more, (texts, 1), ``read.*``, and as ``past.*`` what was ``present.*`` before; it
gives ``logits`` and ``present.*`` anew."""

PAST, PRESENT, READ = "past.", "present.", "read."

LOW = np.float32(-1e9)
"""The score of what is not there, below any that is; finite, so that sums of it stay numbers."""


@dataclass(frozen=True)
class WriteText(Chooser):
    """A text for each text, by a decoder that reads ``states``, (texts, memory, width), and ``mask``, (texts, memory).

    Attributes:
        vocabulary: The tokenizer of the pieces that are written, as JSON.
        prompt: The pieces that each text begins with; they are not part of it.
        end, padding: The ids of the pieces that end a text, and that fill up shorter ones.
        longest: The most pieces of a text.
        literal: Whether what looks like a special piece in a text is one all the same.
        room, stretch: So many pieces are written at most, and so many more for each piece that is read.
        beams, length_penalty, temperature, best: See :class:`polyhead.nn.searching.Search`.
    """

    filed: ClassVar[tuple[str, ...]] = ("vocabulary",)

    vocabulary: str
    prompt: list[int]
    end: int
    padding: int
    longest: int
    room: int
    stretch: float
    literal: bool = True
    beams: int = 1
    length_penalty: float = 1.0
    temperature: float | None = None
    best: int = 1

    def searching(self, *, beams: int | None, best: int, temperature: float | None) -> WriteText:
        """The same, looking for texts in another way.

        Raises:
            PolyheadError: A number is out of bounds.
        """
        found = changed(self._search, beams=beams, best=best, temperature=temperature)
        return replace(self, beams=found.beams, best=found.best, temperature=found.temperature)

    @property
    def _search(self) -> Search:
        return Search(self.beams, self.length_penalty, self.temperature, self.best)

    @cached_property
    def _spelling(self) -> TargetVocabulary:
        tokenizer = Tokenizer.from_str(self.vocabulary)
        tokenizer.encode_special_tokens = self.literal
        return TargetVocabulary(tokenizer, start=self.prompt[0], end=self.end, padding=self.padding)

    def choose(self, given: Given) -> list[Prediction]:
        """The text, and others if the search is for several, with the mean probability of their pieces.

        A text of which the encoder's tokenizer leaves nothing is answered with an empty one.
        """
        mask = given.scores["mask"]
        limits = self.limits(mask)
        kept = max(self.beams, self.best) * self._spelling.tokenizer.get_vocab_size()
        rows = max(1, AT_ONCE // kept)
        answers = []
        for start in range(0, len(mask), rows):
            part = slice(start, start + rows)
            scores = {name: given.scores[name][part] for name in ("states", "mask")}
            found = self._write(replace(given, scores=scores), limits[part])
            for texts, blank in zip(found, given.blanks[part], strict=True):
                spelt = [(Text(self._spelling.decode(ids)), chance) for ids, chance in texts]
                answers.append(Prediction(Text(), 1.0) if blank else Prediction(*spelt[0], others=tuple(spelt[1:])))
        return answers

    def limits(self, mask: Array) -> NDArray[np.int64]:
        """The most pieces of each text, its end left out. Shape (texts,)."""
        read = mask.sum(axis=1)
        most = [min(self.longest, self.room + round(self.stretch * int(pieces))) for pieces in read]
        return np.asarray(most, dtype=np.int64)

    def _write(self, given: Given, limits: NDArray[np.int64]) -> list[list[tuple[list[int], float]]]:
        """For each text the pieces of what was written, the best first, and their mean probability."""
        texts = len(limits)
        ids = np.asarray([self.prompt] * texts, dtype=np.int64)
        begun = given.ask(FIRST, {**given.scores, "ids": ids})
        steps = _Steps(given, begun)
        if self.beams == 1:
            copies = self.best if self.temperature is not None else 1
            steps.take(np.repeat(np.arange(texts), copies))
            found = self._one_by_one(steps, np.repeat(limits, copies))
            return [found[i : i + copies] for i in range(0, len(found), copies)]
        return _Beams(self, steps, limits).search()

    def scored(self, logits: Array, written: int, limits: NDArray[np.int64]) -> tuple[Array, Array]:
        """Log-probabilities of the next piece, and the same as the search sees them: over a temperature, without what
        is never written, and with the end alone where a text has as many pieces as it may. (texts, pieces) twice."""
        logs = log_softmax(logits.astype(np.float32))
        seen = logs if self.temperature is None else log_softmax(logits.astype(np.float32) / self.temperature)
        if self.padding != self.end:
            seen[:, self.padding] = -np.inf
        over = limits <= written
        if over.any():
            seen = seen.copy()
            seen[over] = -np.inf
            seen[over, self.end] = 0
        return logs, seen

    def _one_by_one(self, steps: _Steps, limits: NDArray[np.int64]) -> list[tuple[list[int], float]]:
        """The likeliest piece each time, or one that is drawn; texts that have ended are computed no further."""
        random = np.random.default_rng()
        ids: list[list[int]] = [[] for _ in limits]
        logs: list[list[float]] = [[] for _ in limits]
        going = np.arange(len(limits))
        written = 0
        while True:
            own, seen = self.scored(steps.logits, written, limits[going])
            if self.temperature is not None:
                seen = seen + random.gumbel(size=seen.shape)
            chosen = seen.argmax(axis=1)
            for text, piece, log in zip(going.tolist(), chosen.tolist(), own[np.arange(len(own)), chosen], strict=True):
                if written < limits[text]:
                    logs[text].append(float(log))
                if piece != self.end:
                    ids[text].append(piece)
            on = np.flatnonzero(chosen != self.end)
            if not len(on):
                return [(one, _mean(found)) for one, found in zip(ids, logs, strict=True)]
            going = going[on]
            steps.take(on)
            steps.go_on(chosen[on])
            written += 1


def _mean(logs: Sequence[float]) -> float:
    """The geometric mean of probabilities."""
    return float(np.exp(sum(logs) / max(1, len(logs))))


class _Steps:
    """The state of texts that are being written.

    Attributes:
        logits: Of the next piece. Shape (texts, pieces).
    """

    def __init__(self, given: Given, begun: Mapping[str, Array]) -> None:
        self._ask = given.ask
        self._mask = given.scores["mask"]
        self.logits = begun["logits"]
        self._past = _past(begun)
        self._read = {name: array for name, array in begun.items() if name.startswith(READ)}

    def take(self, texts: NDArray[np.int64], *, same_sources: bool = False) -> None:
        """Go on with these texts, some of which may be the same.

        Args:
            texts: By their places so far.
            same_sources: Whether each text in the new order reads what the one in its place read before.
        """
        if len(texts) == len(self.logits) and (texts == np.arange(len(texts))).all():
            return
        self.logits = self.logits[texts]
        self._past = {name: array[texts] for name, array in self._past.items()}
        if not same_sources:
            self._mask = self._mask[texts]
            self._read = {name: array[texts] for name, array in self._read.items()}

    def go_on(self, pieces: NDArray[np.int64]) -> None:
        """Write a piece more of each text. Shape (texts,)."""
        ids = np.ascontiguousarray(pieces[:, None])
        found = self._ask(NEXT, {"mask": self._mask, "ids": ids, **self._past, **self._read})
        self.logits, self._past = found["logits"], _past(found)


def _past(found: Mapping[str, Array]) -> dict[str, Array]:
    """What was present, for the next step."""
    return {PAST + name.removeprefix(PRESENT): array for name, array in found.items() if name.startswith(PRESENT)}


class _Beams:
    """Several hypotheses for each text (beam search), of which those that are finished are kept apart."""

    def __init__(self, how: WriteText, steps: _Steps, limits: NDArray[np.int64]) -> None:
        self.how, self.steps, self.limits = how, steps, limits
        texts, beams = len(limits), how.beams
        self.texts = np.arange(texts)[:, None]
        self.steps.take(np.repeat(np.arange(texts), beams))
        self.scores = np.full((texts, beams), LOW, dtype=np.float32)  # of those that go on
        self.scores[:, 0] = 0
        longest = int(limits.max()) + 1
        self.ids = np.full((texts, beams, longest), how.padding, dtype=np.int64)
        self.logs = np.zeros((texts, beams, longest), dtype=np.float32)
        self.done = np.zeros((texts, beams), dtype=bool)
        self.done_scores = np.full((texts, beams), LOW, dtype=np.float32)
        self.done_ids, self.done_logs = self.ids.copy(), self.logs.copy()
        self.open = np.ones(texts, dtype=bool)  # whether a better text may still be found
        self.random = np.random.default_rng()

    def search(self) -> list[list[tuple[list[int], float]]]:
        """The pieces of the best texts for each text, and their mean probability."""
        written = 0
        while True:
            source, pieces, ended = self._step(written)
            written += 1
            if self._over(written) or ended.all():
                break
            beams = self.how.beams
            self.steps.take((source + self.texts * beams).ravel(), same_sources=True)
            self.steps.go_on(pieces.ravel())
        best = min(self.how.best, self.how.beams)
        return [[self._told(text, beam) for beam in range(best)] for text in range(len(self.limits))]

    def _step(self, written: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Put a piece to each hypothesis. Returns from which one each of those that go on came, their pieces, and which
        of all that were looked at ended."""
        texts, beams = self.scores.shape
        logs, seen = self.how.scored(self.steps.logits, written, np.repeat(self.limits, beams))
        size = logs.shape[1]
        total = (seen.reshape(texts, beams, size) + self.scores[:, :, None]).reshape(texts, beams * size)
        keys = total if self.how.temperature is None else total + self.random.gumbel(size=total.shape)
        top = _top(keys, 2 * beams)  # enough that so many go on even if all others end
        scores = np.take_along_axis(total, top, axis=1)
        source, pieces = top // size, top % size
        own = logs.reshape(texts, beams * size)
        ids, all_logs = self.ids[self.texts, source], self.logs[self.texts, source]  # (texts, 2 * beams, longest)
        ids[:, :, written] = pieces
        all_logs[:, :, written] = np.take_along_axis(own, top, axis=1)
        ended = pieces == self.how.end
        on = _top(scores + np.where(ended, LOW, np.float32(0)), beams)
        self._finish(scores / np.float32((written + 1) ** self.how.length_penalty), ids, all_logs, ended)
        self.scores = np.take_along_axis(scores + np.where(ended, LOW, np.float32(0)), on, axis=1)
        self.ids, self.logs = ids[self.texts, on], all_logs[self.texts, on]
        return np.take_along_axis(source, on, axis=1), np.take_along_axis(pieces, on, axis=1), ended

    def _finish(self, scores: Array, ids: Array, logs: Array, ended: NDArray[np.bool_]) -> None:
        """Keep the best finished texts; one that ends counts if it is among the best of its step."""
        beams = self.how.beams
        counts = ended & (np.arange(2 * beams) < beams)
        closed = self.done.all(axis=1) | ~self.open
        scores = scores + np.where(counts, np.float32(0), LOW) + np.where(closed[:, None], LOW, np.float32(0))
        merged = np.concatenate([self.done_scores, scores], axis=1)
        best = _top(merged, beams)
        self.done_scores = np.take_along_axis(merged, best, axis=1)
        self.done_ids = np.concatenate([self.done_ids, ids], axis=1)[self.texts, best]
        self.done_logs = np.concatenate([self.done_logs, logs], axis=1)[self.texts, best]
        self.done = np.take_along_axis(np.concatenate([self.done, counts], axis=1), best, axis=1)

    def _over(self, written: int) -> bool:
        """Whether no text can be found any more that is better than those that are finished."""
        hope = self.scores[:, 0] / np.float32(written**self.how.length_penalty)
        worst = np.where(self.done, self.done_scores.min(axis=1, keepdims=True), LOW)
        self.open &= (hope[:, None] > worst).any(axis=1)
        return not self.open.any() or bool(self.done.all())

    def _told(self, text: int, beam: int) -> tuple[list[int], float]:
        ids = self.done_ids[text, beam].tolist()
        length = ids.index(self.how.end) if self.how.end in ids else len(ids)
        counted = self.done_logs[text, beam, : min(length + 1, int(self.limits[text]))]
        return ids[:length], _mean(counted.tolist())


def _top(values: Array, count: int) -> NDArray[np.int64]:
    """The places of the largest values of each row, the largest first. Shape (rows, count)."""
    count = min(count, values.shape[1])
    some = np.argpartition(-values, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)
