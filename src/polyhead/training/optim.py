"""AdamW with separate rates for encoder and heads, whole-model clipping, a pure schedule, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.model import TRANSFORMER, Model
from polyhead.nn.precision import halve_linear_weights
from polyhead.nn.scratch import RATE_FROM_SCRATCH
from polyhead.nn.sharding import Sharding
from polyhead.nn.vocabulary import ROWS, NarrowEmbedding
from polyhead.stage import Stage

RATE_TIMES_WIDTH = 0.0768
"""The encoder's usual learning rate, times its width: wider encoders want smaller steps."""

GENTLE = 0.25
"""What the usual rate is multiplied with where no task is about words: the higher rate that parsers want makes the
encoder forget what texts mean (measured in docs/benchmarks.md)."""

ADAPTER_TIMES = 5
"""How many times higher the usual learning rate of an adapter is: it starts at nothing, with no knowledge to lose."""

FOOT = 32
"""How many times lower a slanted triangle is at its feet than at its tip."""

AVERAGE = "average"
"""What the averaged weights are called in the optimizer's state."""

STEP = "step"
"""What torch calls the number of a weight's updates there."""

START, OTHER = "start", "other"
"""What the weights that the stage began with, and those beside the model's, are called there."""

AVERAGE_EVERY = 4
"""The steps between two updates of the averaged weights: each goes through all weights, and neighbours are alike."""

LARGEST_WEIGHT = 1e6
"""A weight beyond this after an epoch ends a run."""

SLOWER = "Lower learning_rate and head_learning_rate, or raise warmup, in the recipe's stage."
"""What to do where a run runs away."""


def see_small(weights: Mapping[str, Tensor]) -> None:
    """See that no weight has run away: none of a model that answers is anywhere near so large.

    Raises:
        PolyheadError: One has, or is no number.
    """
    for name, value in weights.items():
        largest = float(value.abs().max()) if value.is_floating_point() and value.numel() else 0.0
        if not largest < LARGEST_WEIGHT:
            raise PolyheadError(f"The weights have run away: one of {name} is {largest:.3g}.", remedy=SLOWER)


def usual_rate(stage: Stage, width: int, *, untrained: bool, gentle: bool) -> float:
    """The highest learning rate of an encoder's weights, or of their adapter, where a stage names none.

    Args:
        stage: What learns.
        width: The encoder's.
        untrained: Whether the encoder's weights are random.
        gentle: Whether all tasks of the stage are ``gentle``.
    """
    if stage.adapter is not None:
        return ADAPTER_TIMES * RATE_TIMES_WIDTH / width
    if untrained:
        return RATE_FROM_SCRATCH
    return (GENTLE if gentle else 1.0) * RATE_TIMES_WIDTH / width


def rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """What the highest learning rate is multiplied with at ``step`` of ``steps``, counted from 0."""
    rising = max(1, round(steps * warmup)) if warmup else 0
    if step < rising:
        return slanted((step + 1) / rising) if schedule == "slanted-triangular" else (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if schedule == "slanted-triangular":
        return slanted(max(0.0, 1.0 - done))
    if schedule == "linear":
        return max(0.0, 1.0 - done)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return 1.0


def slanted(height: float) -> float:
    """A slanted triangle's factor: from 1/32 at its feet to 1 at its tip (Howard and Ruder 2018)."""
    return (1.0 + height * (FOOT - 1)) / FOOT


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) over a model's weights.

    Where the model computes in bf16, its linear layers change to it here; each has a master copy in fp32, which is
    what is updated and saved.

    Beside the weights that learn there is their moving average over the last share ``stage.average`` of the steps
    so far (Polyak and Juditsky 1992; exponential, as in Tarvainen and Valpola 2017), which generalises better.

    With ``stage.l2_sp`` each step also takes the encoder's weights a little back to where the stage began (Li et al.
    2018), apart from the gradient's moments, as AdamW decays.

    Args:
        model: The model. Weights that may learn require a gradient; those that get none, because their head takes no
            part or their layer is frozen for now, stay as they are.
        stage: Rates, decay, clipping and schedule.
        steps: How many steps the stage has.
        others: Weights that learn beside the model's, as fast as heads do.
        sharding: How the encoder's weights are divided among processes, if they are: each updates its own part.
    """

    def __init__(
        self,
        model: Model,
        stage: Stage,
        steps: int,
        others: Mapping[str, nn.Parameter] | None = None,
        sharding: Sharding | None = None,
    ) -> None:
        self.stage = stage
        self.steps = steps
        self.others = dict(others or {})
        self.names = {name: p for name, p in model.named_parameters() if p.requires_grad} | self.others
        self.sharding = sharding
        self.parts: dict[str, Tensor] = {}
        if sharding is not None:
            self.parts = {TRANSFORMER + name: sharding.part(name) for name in sharding.weights}
        self.masters: dict[str, Tensor] = {}
        if model.precision == "bf16":
            everything = {name: p for name, p in model.named_parameters() if name not in self.parts}
            before = {name: p.detach().clone() for name, p in everything.items()}
            for module in [model] if sharding is None else [model.heads, model.mixes]:
                halve_linear_weights(module)
            self.masters = {name: before[name] for name, p in everything.items() if p.dtype != torch.float32}
        spared = {id(module.rows) for module in model.modules() if isinstance(module, NarrowEmbedding)}
        self.averages: dict[str, Tensor] = {}
        self.average_every = max(1, min(AVERAGE_EVERY, steps // stage.epochs))  # each epoch sees another average
        self.starts = {
            name: self._updated(name).detach().clone()
            for name in self.names
            if stage.l2_sp and name.startswith(TRANSFORMER)
        }
        highest = _highest_rates(model, stage, self.names)
        groups: dict[tuple[float, bool], list[Tensor]] = {}
        for name, p in self.names.items():
            decayed = p.dim() > 1 and id(p) not in spared and not (sharding and name == sharding.spared)
            groups.setdefault((highest[name], decayed), []).append(self._updated(name))
        self.rates = {name: rate for name, rate in highest.items() if name in self.starts}
        self.adamw = torch.optim.AdamW(
            [
                {"params": params, "highest": rate, "lr": rate, "weight_decay": stage.weight_decay if decayed else 0.0}
                for (rate, decayed), params in groups.items()
            ],
            fused=True,
        )

    def step(self, number: int, gradients: Mapping[str, Tensor] | None = None) -> float:
        """Update the weights from their gradients, which are then cleared.

        Args:
            number: The step, from 0.
            gradients: By the weights' names, if they are not those that the weights themselves have.

        Returns:
            The gradient's length.
        """
        learning = {name: master for name, master in self.masters.items() if name in self.names}
        if gradients is None:
            gradients = {name: p.grad for name, p in self.names.items() if p.grad is not None}
        grads = [grad.to(self._updated(name).dtype) for name, grad in gradients.items()]
        for name, grad in zip(gradients, grads, strict=True):
            self._updated(name).grad = grad
        norm = self._length(list(gradients), torch.stack(torch._foreach_norm(grads)))
        # The fused kernel divides by this as it goes, so clipping costs no pass of its own.
        self.adamw.grad_scale = torch.tensor(max(1.0, norm / self.stage.clip), device=grads[0].device)  # type: ignore[attr-defined]
        self.adamw.found_inf = torch.tensor(0.0 if math.isfinite(norm) else 1.0, device=grads[0].device)  # type: ignore[attr-defined]
        factor = rate_factor(number, self.steps, self.stage.warmup, self.stage.schedule)
        for group in self.adamw.param_groups:
            group["lr"] = group["highest"] * factor
        self.adamw.step()
        with torch.no_grad():
            for name, start in self.starts.items():
                if name in gradients and math.isfinite(norm):
                    self._updated(name).lerp_(start, min(1.0, self.rates[name] * factor * self.stage.l2_sp))
            for name, master in learning.items():
                self.names[name].copy_(master)
                master.grad = None
        self.clear()
        if (number + 1) % self.average_every == 0:
            self._average((number + 1) // self.average_every)
        return norm

    def _length(self, names: Sequence[str], lengths: Tensor) -> float:
        """The length of the whole gradient, from those of its weights, or of this process's parts of them."""
        if not self.parts:
            return float(torch.linalg.vector_norm(lengths))
        divided = torch.tensor([name in self.parts for name in names], device=lengths.device)
        inner = ranks.add((lengths.square() * divided).sum())
        return math.sqrt(float(inner + (lengths.square() * ~divided).sum()))

    def _average(self, update: int) -> None:
        """Move the averages towards the weights: over a share of the steps so far, so that the start is forgotten."""
        span = self.stage.average * update
        if span <= 1:
            return
        now = {name: self._updated(name).detach() for name in self.names}
        if not self.averages:
            self.averages = {name: value.clone() for name, value in now.items()}
        else:
            torch._foreach_lerp_([self.averages[name] for name in now], list(now.values()), 1 / span)

    @contextmanager
    def averaged(self, model: nn.Module) -> Iterator[dict[str, Tensor]]:
        """The model with the averaged weights inside the block, which gets them in full precision by name."""
        if not self.averages:
            yield self.full_weights(model)
            return
        with torch.no_grad():
            own = {name: self._held(name).detach().clone() for name in self.names}
            for name, average in self.averages.items():
                self._held(name).copy_(average)
            try:
                yield self._whole(model, self.averages)
            finally:
                for name, value in own.items():
                    self._held(name).copy_(value)
                if self.sharding is not None:
                    self.sharding.settle()

    def clear(self) -> None:
        """Forget gradients."""
        for p in (*self.names.values(), *self.parts.values()):
            p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything beside ``full_weights`` that the next step depends on, by weight name."""
        out: dict[str, Tensor] = {}
        for name in self.names:
            for key, value in self.adamw.state[self._updated(name)].items():
                out[f"{key}/{name}"] = value
        out |= {f"{START}/{name}": value for name, value in self.starts.items()}
        out |= {f"{OTHER}/{name}": value.detach() for name, value in self.others.items()}
        out |= {f"{AVERAGE}/{name}": value for name, value in self.averages.items()}
        for key, value in out.items() if self.sharding is not None else ():
            name = key.partition("/")[2]
            if name in self.parts and not key.startswith(STEP):
                assert self.sharding is not None
                out[key] = self.sharding.whole_of(name.removeprefix(TRANSFORMER), value)
        return out

    def restore(self, state: Mapping[str, Tensor], used: Tensor | None = None) -> None:
        """Go on from what ``state`` gave; the model had ``full_weights`` when this optimizer was made.

        Args:
            state: What it gave.
            used: The pieces whose vectors learn, if only some do, (used,). Where weights are divided the embedding is
                whole, else narrowed (see :class:`NarrowEmbedding`); a run may go on in the other way.
        """
        for key, saved in state.items():
            kind, _, before = key.partition("/")
            name, value = self._as_here(kind, before, saved, used)
            updated = self._updated(name)
            own = value.to(updated.device, copy=True) if kind == STEP else self._part(name, value)
            if kind == AVERAGE:
                self.averages[name] = own
            elif kind == START:
                self.starts[name] = own
            elif kind == OTHER:
                with torch.no_grad():
                    updated.copy_(own)
            else:
                self.adamw.state[updated][kind] = own

    def _as_here(self, kind: str, name: str, value: Tensor, used: Tensor | None) -> tuple[str, Tensor]:
        """Something of a weight, called and shaped as that weight is here: an embedding may be narrowed, or whole."""
        stem, _, last = name.rpartition(".")
        narrow, whole = f"{stem}.{ROWS}", f"{stem}.weight"
        if used is None or name in self.names:
            return name, value
        if last == "weight" and narrow in self.names:
            return narrow, value if kind == STEP else value[used]
        if last != ROWS or whole not in self.names or kind == STEP:
            return whole if last == ROWS else name, value
        inner = whole.removeprefix(TRANSFORMER)
        now = self.names[whole].detach() if self.sharding is None else self.sharding.known(inner)
        filled = now.cpu().clone() if kind in (AVERAGE, START) else torch.zeros(now.shape, dtype=value.dtype)
        filled[used] = value
        return whole, filled

    def full_weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's weights in full precision, by name; where they are divided, on the first process alone."""
        return self._whole(model, {})

    def _whole(self, model: nn.Module, instead: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All weights in full precision, some of them replaced."""
        if self.sharding is None:
            return {n: instead.get(n, self.masters.get(n, value)) for n, value in model.state_dict().items()}
        self.sharding.settle()
        found: dict[str, Tensor] = {}
        for name, value in model.state_dict().items():
            inner = name.removeprefix(TRANSFORMER)
            if name not in self.parts:
                found[name] = instead.get(name, self.masters.get(name, value))
            elif name in instead:
                found[name] = self.sharding.whole_of(inner, instead[name])
            else:
                found[name] = self.sharding.whole(inner)
        return found if ranks.first() else {}

    def _part(self, name: str, value: Tensor) -> Tensor:
        """What this process keeps of something of a weight's shape."""
        if self.sharding is not None and name in self.parts:
            return self.sharding.part_of(name.removeprefix(TRANSFORMER), value)
        return value.to(self._updated(name).device, copy=True)

    def _held(self, name: str) -> Tensor:
        """What the model computes with of a weight, here."""
        return self.parts.get(name, self.names[name])

    def _updated(self, name: str) -> Tensor:
        return self.masters.get(name, self._held(name))


def _highest_rates(model: Model, stage: Stage, names: Iterable[str]) -> dict[str, float]:
    """Each weight's highest learning rate: the encoder's falls from layer to layer, heads have their own."""
    assert stage.learning_rate is not None, "the recipe is resolved"
    factors: dict[str, float] = {}
    if stage.layer_decay < 1:
        top = model.encoder.depth - 1
        factors = {TRANSFORMER + n: stage.layer_decay ** (top - level) for n, level in model.encoder.levels().items()}
    return {
        name: stage.learning_rate * factors.get(name, 1.0) if name.startswith(TRANSFORMER) else stage.head_learning_rate
        for name in names
    }
