"""The gradients of several processes, added up: each has those of its own share of a batch.

The encoder's layers are sent bucket by bucket, from the top down, while the backward pass goes on below them. All the
rest (heads, mixes of layers, embeddings) goes in one message at the end, with what else a step has to agree on. Which
of these have a gradient differs from step to step and between processes: a head may have no row in a share. torch's own
DistributedDataParallel asks for one forward method whose every output is used alike everywhere, or searches the graph
at each step for what is not; and it divides by the number of processes, where the losses here are sums over units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polyhead import ranks

BUCKET = 16 * 2**20
"""The bytes of a message: large enough for the full speed of a network, small enough to be sent while others are
computed."""


@dataclass
class _Bucket:
    """Weights whose gradients are sent together.

    Attributes:
        names: Theirs.
        missing: Those whose gradient is still awaited in this step.
        sent: The message, once it is on its way. Shape (all weights,).
        arrived: Waits for it.
    """

    names: list[str]
    missing: set[str] = field(default_factory=set)
    sent: Tensor | None = None
    arrived: Callable[[], None] = lambda: None


class Adding:
    """Adds up the gradients of a stage's weights over all processes, in fp32.

    Args:
        weights: All that may learn, by name. Their gradients are taken away as they are sent.
        early: Those whose gradients are there before the others', in this order: the encoder's layers, from the top.
    """

    def __init__(self, weights: Mapping[str, Tensor], early: Sequence[str]) -> None:
        self.weights = dict(weights)
        self.early = list(early)
        self.device = next((w.device for w in self.weights.values() if w.device.type != "cpu"), torch.device("cpu"))
        self.buckets = [_Bucket(names) for names in _filled(self.weights, early)]
        place = {name: bucket for bucket in self.buckets for name in bucket.names}
        self.rest = [name for name in self.weights if name not in place]
        self.usual: set[str] | None = None
        """The weights that had a gradient in the step before; which is not known before the first."""
        self.armed = False
        self.taken: set[str] = set()
        """The weights whose gradients are in the messages of this step."""
        self.hooks = [self._listen(name, bucket) for name, bucket in place.items()]

    def _listen(self, name: str, bucket: _Bucket) -> Any:
        def there(_weight: Tensor) -> None:
            bucket.missing.discard(name)
            if self.armed and not bucket.missing:
                self._send_ready()

        return self.weights[name].register_post_accumulate_grad_hook(there)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Listen to the weights no longer."""
        for hook in self.hooks:
            hook.remove()

    def begin(self) -> None:
        """The next backward pass is the last one of the step: what it has done with may be sent."""
        self.armed = self.usual is not None
        for bucket in self.buckets:
            bucket.missing = {n for n in bucket.names if n in (self.usual or ()) and self.weights[n].requires_grad}

    def _send_ready(self) -> None:
        """Send buckets in their order, up to the first that is awaited: all processes must send alike."""
        for bucket in self.buckets:
            if bucket.missing:
                return
            if bucket.sent is None:
                self._send(bucket)

    def _send(self, bucket: _Bucket) -> None:
        bucket.sent = torch.cat([self._taken(name) for name in bucket.names])
        bucket.arrived = ranks.begin_adding(bucket.sent)

    def _taken(self, name: str) -> Tensor:
        """The gradient of a weight, which has none afterwards; zeros if it had none. Shape (numbers,)."""
        weight = self.weights[name]
        grad, weight.grad = weight.grad, None
        if grad is None:
            return torch.zeros(weight.numel(), device=self.device)
        self.taken.add(name)
        return grad.to(self.device, torch.float32).flatten()

    def end(self, facts: Tensor) -> tuple[list[float], dict[str, Tensor]]:
        """Send what is left, and wait for all.

        Args:
            facts: Numbers to be added up with them, in fp32. Shape (facts,).

        Returns:
            Their sums, and the gradients by name, of the weights that have one in some process.
        """
        self.armed = False
        for bucket in self.buckets:
            if bucket.sent is None:
                self._send(bucket)
        late = [name for name in self.early if self.weights[name].grad is not None]  # it came after its bucket had left
        rest = [self._taken(name) for name in self.rest]
        self.taken.update(late)
        flags = [float(name in self.taken) for name in self.weights] + [float(name in late) for name in self.early]
        message = ranks.add(torch.cat([facts, torch.tensor(flags, device=self.device), *rest]))
        numbers = message[: len(facts) + len(flags)].tolist()
        had, lagging = numbers[len(facts) : len(facts) + len(self.weights)], numbers[len(facts) + len(self.weights) :]
        found = dict(self._cut(message[len(numbers) :], self.rest))
        for bucket in self.buckets:
            bucket.arrived()
            assert bucket.sent is not None
            found |= self._cut(bucket.sent, bucket.names)
            bucket.sent = None
        behind = [name for name, count in zip(self.early, lagging, strict=True) if count]
        if behind:
            more = ranks.add(torch.cat([self._taken(name) for name in behind]))
            found |= {name: found[name] + grad for name, grad in self._cut(more, behind).items()}
        self.usual = {name for name, count in zip(self.weights, had, strict=True) if count}
        self.taken.clear()
        return numbers[: len(facts)], {name: found[name] for name in self.weights if name in self.usual}

    def _cut(self, message: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The gradients in a message, each in its weight's shape and on its device."""
        weights = [self.weights[name] for name in names]
        pieces = torch.split(message, [weight.numel() for weight in weights])
        return {
            name: piece.view(weight.shape).to(weight.device)
            for name, weight, piece in zip(names, weights, pieces, strict=True)
        }


def _filled(weights: Mapping[str, Tensor], names: Sequence[str]) -> list[list[str]]:
    """Names in their order, cut where a message is large enough."""
    buckets: list[list[str]] = []
    size = BUCKET
    for name in names:
        if size >= BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(name)
        size += 4 * weights[name].numel()
    return buckets
