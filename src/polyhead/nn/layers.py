"""Where in a transformer a weight stands: in the embeddings, in which layer, or after the last one."""

from __future__ import annotations

import re

from torch import nn

EMBEDDINGS = 0
"""The level of the embeddings; the first layer is level 1, the last one has the level of the number of layers."""

_AFTER = re.compile(r"(final|layer_norm|norm|ln_f)")
"""What the names of modules begin with that come after the last layer."""


def layers_prefix(transformer: nn.Module, count: int) -> str:
    """What the names of a transformer's layers begin with, such as ``encoder.layer.``.

    Args:
        transformer: A model of the transformers library.
        count: How many layers it has.

    Raises:
        ValueError: There is no list of so many layers: they share their weights (ALBERT), or it is built otherwise.
    """
    for name, module in transformer.named_modules():  # from the outside in: T5 has lists inside its layers, too
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return f"{name}."
    raise ValueError(f"no list of {count} layers")


def level_of(name: str, prefix: str, count: int) -> int:
    """The level of a weight or module: 0 for embeddings, i for the i-th layer; what comes after has the last one's.

    Args:
        name: Its name inside the transformer.
        prefix: What :func:`layers_prefix` gave.
        count: The number of layers.
    """
    if name.startswith(prefix) and name != prefix:
        return int(name[len(prefix) :].split(".", 1)[0]) + 1
    return count if _AFTER.match(name) and "emb" not in name else EMBEDDINGS
