"""An encoder whose weights are divided among processes, for encoders that do not fit one device: torch's FSDP.

Each layer's weights are put together just before it is run, forwards and backwards, and let go afterwards; gradients
are added up and divided again. What the optimizer keeps of a weight is divided with it. All processes must run the
encoder equally often, since each run is an exchange.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polyhead import ranks
from polyhead.errors import PolyheadError
from polyhead.nn.precision import Precision

if TYPE_CHECKING:
    from polyhead.nn.encoder import Encoder


class Root(nn.Module):
    """What FSDP takes for the whole model: it runs whatever part of the transformer it is given.

    Args:
        transformer: Its weights are together while this runs, and until the backward pass is over or ``settle``.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, run: Callable[[], Sequence[Tensor]]) -> list[Tensor]:
        """What ``run`` gives."""
        return list(run())


class Sharding:
    """Divides an encoder's weights until :meth:`undo`. Both are exchanges between all processes.

    Args:
        encoder: On any device; its transformer is replaced by one whose weights are divided.
        device: Where each process computes.
        precision: In bf16 the matrices of layers are put together in bf16; each process keeps its part in fp32, with
            which the optimizer computes. Gradients are added up in fp32. Vectors of layers, such as those of
            normalisation, are then left to each process as a whole, since they are little, and wanted in fp32.

    Attributes:
        spared: The name in a model of a weight that does not decay: piece vectors that no text uses stay as they are.
    """

    def __init__(self, encoder: Encoder, device: torch.device, precision: Precision) -> None:
        fully_shard, policy, mesh = _fsdp(device)
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # no head changes the encoder's output in place
        self.encoder = encoder
        self.spared: str | None = None
        self.device = device
        self.plain: nn.Module = encoder.transformer
        named = dict(self.plain.named_parameters())
        memo: dict[int, Any] = {id(p): nn.Parameter(p.data) for p in named.values()}
        transformer = copy.deepcopy(self.plain, memo)
        half = policy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        whole = policy(cast_forward_inputs=False)
        encoder.transformer = transformer
        layers = _layers(encoder)
        kept = {p for layer in layers for p in _vectors(layer)} if precision == "bf16" else set()
        for layer in layers:
            policy_here = half if precision == "bf16" else whole
            fully_shard(layer, mesh=mesh, mp_policy=policy_here, ignored_params=kept)
        self.root = Root(transformer)
        fully_shard(self.root, mesh=mesh, mp_policy=whole, ignored_params=kept)
        for module in self.root.modules():
            part: Any = module
            if hasattr(part, "set_gradient_divide_factor"):  # losses are sums, and so are their gradients
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        for p in named.values():
            p.data = torch.empty(0, dtype=p.dtype)
        transformer.to(device)  # what is not divided
        encoder.root = partial(self.root)  # no part of the encoder, whose weights have their names already
        everything = dict(transformer.named_parameters())
        self.weights: dict[str, Any] = {name: p for name, p in everything.items() if hasattr(p, "full_tensor")}
        with torch.no_grad():
            self.root(list)  # at its first run FSDP looks which weights learn; those that are frozen may thaw later
        self.settle()
        for name, p in named.items():
            everything[name].requires_grad_(p.requires_grad)

    def settle(self) -> None:
        """Let go of the weights that are together outside the layers: they may have changed, or are about to."""
        self.root.reshard()  # type: ignore[operator]

    def part(self, name: str) -> Tensor:
        """This process's part of a weight, by its name in the transformer; changes of it change the weight."""
        found: Tensor = self.weights[name].detach().to_local()
        return found

    def gradients(self) -> dict[str, Tensor]:
        """This process's part of each gradient that there is."""
        return {name: p.grad.to_local() for name, p in self.weights.items() if p.grad is not None}

    def part_of(self, name: str, whole: Tensor) -> Tensor:
        """This process's part of something of a weight's shape, such as a mean of its gradients."""
        like = self.part(name)
        chunks = whole.chunk(ranks.world())  # as FSDP divides: the last ones may be shorter, or none
        mine = chunks[ranks.rank()] if ranks.rank() < len(chunks) else whole[:0]
        return mine.to(like.device, copy=True).view(like.shape)

    def whole_of(self, name: str, part: Tensor) -> Tensor:
        """The whole, on the CPU of the first process, of which each has a part; elsewhere an empty tensor."""
        from torch.distributed.tensor import DTensor

        like = self.weights[name]
        divided = DTensor.from_local(
            part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        )
        return self._kept(divided.full_tensor())

    def whole(self, name: str) -> Tensor:
        """A whole weight on the CPU of the first process; elsewhere an empty tensor."""
        return self._kept(self.weights[name].detach().full_tensor())

    def known(self, name: str) -> Tensor:
        """A whole weight on the CPU of every process, by its name in the transformer."""
        found: Tensor = self.weights[name].detach().full_tensor().cpu()
        return found

    @staticmethod
    def _kept(tensor: Tensor) -> Tensor:
        return tensor.cpu() if ranks.first() else torch.empty(0, dtype=tensor.dtype)

    def undo(self) -> None:
        """Give the encoder its transformer back, on the CPU, with the weights as they stand now."""
        self.settle()
        now: dict[str, Any] = dict(self.encoder.transformer.named_parameters())
        for name, p in self.plain.named_parameters():
            value = now[name].detach()
            p.data = (value.full_tensor() if name in self.weights else value).cpu()
            p.requires_grad_(now[name].requires_grad)
        self.plain.train(self.encoder.transformer.training)
        self.encoder.transformer = self.plain
        self.encoder.root = None


def _fsdp(device: torch.device) -> tuple[Any, Any, Any]:
    """torch's functions for it, and a mesh of all processes.

    Raises:
        PolyheadError: This torch is too old.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
            raise ImportError
    except ImportError as error:
        raise PolyheadError(
            f"sharded = true needs a newer torch than {torch.__version__}.", remedy="Install torch 2.9 or newer."
        ) from error
    return fully_shard, MixedPrecisionPolicy, init_device_mesh(device.type, (ranks.world(),))


def _layers(encoder: Encoder) -> Sequence[nn.Module]:
    """The encoder's layers; none if they cannot be told apart, which are then put together all at once."""
    try:
        return list(encoder.layers)
    except PolyheadError:
        return []


def _vectors(layer: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of a layer that are no matrices, nor biases of its linear parts."""
    for module in layer.modules():
        if not isinstance(module, nn.Linear):
            yield from (p for p in module.parameters(recurse=False) if p.dim() < 2)


def bytes_held(tensors: Mapping[str, Tensor]) -> int:
    """What tensors take in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
