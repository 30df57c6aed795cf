"""From torch to ONNX graphs: the encoder with all heads, and what heads run beside it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polyhead.errors import PolyheadError
from polyhead.exporting.encoding import INPUTS, Reads, TracedEncoding
from polyhead.model import Model
from polyhead.runtime.folder import MAIN
from polyhead.tasks import Head, Network

OPSET = 18
"""The version of ONNX's operators: the first in which sums over indices are of one kind in both libraries."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph that was written.

    Attributes:
        file: Its file's name.
        inputs: For each input its axes.
        outputs: Likewise.
    """

    file: str
    inputs: Mapping[str, Sequence[str | int]]
    outputs: Mapping[str, Sequence[str | int]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"file": self.file, "inputs": dict(self.inputs), "outputs": dict(self.outputs)}


class Whole(nn.Module):
    """The encoder and the scores of some heads.

    Args:
        model: In evaluation mode.
        heads: The tasks that have the heads.
    """

    def __init__(self, model: Model, heads: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.heads = list(heads)

    def scores(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All scores, each called by its head and its own name."""
        encoder = self.model.encoder
        inputs: dict[str, Tensor] = {"attention_mask": given["mask"].bool()}
        if encoder.case is not None:
            embedded = encoder.transformer.get_input_embeddings()(given["ids"])  # type: ignore[operator]
            inputs["inputs_embeds"] = embedded + encoder.case(given["case"])
        else:
            inputs["input_ids"] = given["ids"]
        if getattr(encoder.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = given["types"]
        layers = encoder.run(inputs, all_layers=any(self.model.mix(name) is not None for name in self.heads))
        found: dict[str, Tensor] = {}
        for name in self.heads:
            encoding = TracedEncoding(layers, given, self.model.mix(name), self.model.tasks[name].word)
            found |= {f"{name}.{key}": value for key, value in self.model.head(name).scores(encoding).items()}
        return found


def write_main(
    model: Model, heads: Sequence[str], examples: tuple[Mapping[str, Tensor], Mapping[str, Tensor]], folder: Path
) -> Graph:
    """Write the graph of the encoder and all heads.

    Args:
        model: In evaluation mode, in fp32, on the CPU.
        heads: The tasks that have the heads.
        examples: Two of ``INPUTS``, with other sizes of each axis, all above 1.
        folder: Where to.

    Raises:
        PolyheadError: The encoder, or a head of a user's own, cannot be traced.
    """
    whole = Whole(model, heads)
    model.encoder.at_once = sys.maxsize  # the tracer must not see a batch in parts
    reads = [Reads(example) for example in examples]
    try:
        with torch.inference_mode():
            outputs, others = (whole.scores(given) for given in reads)
        given = {name: examples[0][name] for name in reads[0].read}
        sizes = (_sizes(examples[0]), _sizes(examples[1]))
        axes = {name: _axes(one.shape, others[name].shape, sizes) for name, one in outputs.items()}
        inputs = {name: dict(enumerate(INPUTS[name])) for name in given}
        return write(Network(whole.scores, given, {**inputs, **axes}), folder / f"{MAIN}.onnx")
    except Exception as error:  # whatever a transformer or a user's own head raises while it is traced
        raise _told(f"The encoder {model.encoder.name!r} with its heads", error) from error


def _sizes(given: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of each axis, and of such as are made of them."""
    sizes = {axis: given[name].shape[i] for name, axes in INPUTS.items() for i, axis in enumerate(axes)}
    longest = {"longest": int(given["counts"].max())}
    return sizes | longest | {"words + 1": sizes["words"] + 1, "longest + 1": longest["longest"] + 1}


def _axes(one: Sequence[int], other: Sequence[int], sizes: tuple[dict[str, int], dict[str, int]]) -> dict[int, str]:
    """The names of the axes of a tensor whose sizes depend on the input's."""
    first, second = sizes
    return {
        i: next((name for name in first if (first[name], second[name]) == (a, b)), f"axis {i}")
        for i, (a, b) in enumerate(zip(one, other, strict=True))
        if a != b
    }


def write_network(name: str, key: str, head: Head, folder: Path) -> Graph:
    """Write a network that a head runs beside its scores.

    Raises:
        PolyheadError: It cannot be traced.
    """
    network = head.networks()[key]
    file = re.sub(r"[^\w.-]", "_", f"{name}.{key}.onnx")
    try:
        return write(network, folder / file)
    except Exception as error:
        raise _told(f"The network {key!r} of tasks.{name}", error) from error


class _Traced(nn.Module):
    """What torch traces: tensors in, tensors out."""

    def __init__(self, run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], names: Sequence[str]) -> None:
        super().__init__()
        self.run, self.names = run, names
        self.owner = getattr(run, "__self__", None)  # a module whose parts then have their names in the graph

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The outputs in their order."""
        return tuple(self.run(dict(zip(self.names, given, strict=True))).values())


def write(network: Network, path: Path) -> Graph:
    """Write a network as an ONNX graph."""
    with torch.inference_mode():
        outputs = network.run(network.example)
    named = network.axes
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's guesses at what might be constant; parity is checked
        torch.onnx.export(
            _Traced(network.run, list(network.example)).eval(),
            tuple(network.example.values()),
            str(path),
            input_names=list(network.example),
            output_names=list(outputs),
            dynamic_axes={name: dict(found) for name, found in named.items() if found},
            opset_version=OPSET,
            dynamo=False,  # the other exporter takes ten times as long, and knows no sizes that values decide
        )

    def shape(name: str, tensor: Tensor) -> list[str | int]:
        return [named.get(name, {}).get(i, size) for i, size in enumerate(tensor.shape)]

    return Graph(
        path.name,
        {name: shape(name, tensor) for name, tensor in network.example.items()},
        {name: shape(name, tensor) for name, tensor in outputs.items()},
    )


def _told(what: str, error: Exception) -> PolyheadError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return PolyheadError(
        f"{what} cannot be written as an ONNX graph: {said}",
        remedy="Use the model with torch, or train with an encoder of another family, such as BERT or RoBERTa.",
    )
