"""Adapters beside an encoder's own weights, through peft: attached for a stage, put into the weights at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from polyhead.errors import PolyheadError

BASE = ".base_layer"
"""What peft puts into the names of the weights that an adapter stands beside."""


def find_peft() -> Any:
    """The library peft.

    Raises:
        PolyheadError: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise PolyheadError("Adapters need peft.", remedy="Install it: pip install 'polyhead[adapters]'") from error
    return peft


def attach(
    transformer: nn.Module, *, kind: str, rank: int = 8, alpha: float | None = None, dropout: float = 0.0
) -> None:
    """Put an adapter beside every linear layer; the transformer's own weights stop learning.

    Args:
        transformer: Is changed in place.
        kind: ``lora`` (Hu et al. 2022), ``dora`` (Liu et al. 2024), ``rslora`` (Kalajdzievski 2023), ``loha``
            (Hyeon-Woo et al. 2022), ``lokr`` (Yeh et al. 2024) or ``ia3`` (Liu et al. 2022).
        rank: Of the added matrices.
        alpha: What their product is scaled by, over the rank; by default twice the rank.
        dropout: The share of the adapter's input that is dropped in training.

    Raises:
        PolyheadError: peft is not installed.
    """
    peft = find_peft()
    scaled: dict[str, Any] = {"r": rank, "target_modules": "all-linear"}
    low_rank = scaled | {"lora_alpha": alpha or 2 * rank, "lora_dropout": dropout}
    product = scaled | {"alpha": alpha or 2 * rank, "module_dropout": dropout}
    made: Any = {
        "lora": (peft.LoraConfig, low_rank),
        "dora": (peft.LoraConfig, low_rank | {"use_dora": True}),
        "rslora": (peft.LoraConfig, low_rank | {"use_rslora": True}),
        "loha": (peft.LoHaConfig, product),
        "lokr": (peft.LoKrConfig, product),
        "ia3": (peft.IA3Config, {"target_modules": "all-linear", "feedforward_modules": []}),
    }
    config, settings = made[kind]
    peft.inject_adapter_in_model(config(**settings), transformer)


def adapter_names(transformer: nn.Module) -> set[str]:
    """The names of the adapters' weights; none where no adapter is attached."""
    names = set()
    for path, module in _adapted(transformer):
        for name, _ in module.named_parameters():
            if name.split(".", 1)[0] in module.adapter_layer_names:
                names.add(f"{path}.{name}")
    return names


@contextmanager
def folded(model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[dict[str, Tensor]]:
    """Inside the block the weights hold what the adapters add to them; afterwards they are bit for bit as before.

    Args:
        model: Has adapters, or none.
        weights: Its weights by name, where they are known in a higher precision than it computes in.

    Yields:
        The weights beside which adapters stand, by name.
    """
    adapted = _adapted(model)
    known = {} if weights is None else weights
    every = {f"{path}.{name}": weight for path, module in adapted for name, weight in module.named_parameters()}
    bases = {name: weight for name, weight in every.items() if f"{BASE}." in name}
    before = {name: weight.data for name, weight in every.items()}
    try:
        for name, weight in every.items():
            given = known.get(name, weight).detach()
            weight.data = given.clone() if name in bases else given
        for _, module in adapted:
            module.merge()
        yield {name: weight.detach() for name, weight in bases.items()}
    finally:
        for name, weight in every.items():
            weight.data = before[name]
        for _, module in adapted:
            module.merged_adapters.clear()  # peft's unmerge would compute the weights back, with rounding


def plain_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that they have without adapters, the adapters' own left out.

    Args:
        model: Has adapters, or none.
        weights: Its weights by name, which the model holds right now, perhaps in a lower precision.
    """
    if not _adapted(model):
        return dict(weights)
    added = adapter_names(model)
    with folded(model, weights) as bases:
        changed = {name: weight.clone() for name, weight in bases.items()}
    whole = {name: changed.get(name, value) for name, value in weights.items() if name not in added}
    return {name.replace(BASE, ""): value for name, value in whole.items()}


def detach(model: nn.Module) -> None:
    """Take the adapters away; the weights beside which they stood stay as they are."""
    for path, module in _adapted(model):
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    """The layers that an adapter stands beside, by name."""
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "adapter_layer_names")]
