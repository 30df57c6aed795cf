"""Int8: the encoder's products with whole numbers of eight bits, calibrated on training texts.

Weights get a scale for each output (symmetric, signed); what they are multiplied with gets one scale and one zero for
all, found once on training texts, so that no step looks for a largest value. Heads, attention, layer norms and sums
stay fp32. A product that costs too much is left as it is (as in mixed-precision quantisation, Dong et al. 2019): the
products are ordered by how far their results are off, and those that are furthest off are put back until no task loses
more on dev than it may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from polyhead.exporting.encoding import INPUTS
from polyhead.exporting.optimise import optimise
from polyhead.exporting.sample import Sample
from polyhead.model import Model
from polyhead.nn.layout import cut_batches, lay_out, measure
from polyhead.nn.pieces import Pieces
from polyhead.predict import ExportedModel
from polyhead.runtime.backend import feeds
from polyhead.scoring import Scores, score

AT_MOST = 0.3
"""How many points int8 may cost a task, unless it is said otherwise."""

ROWS = 4096
"""How many rows of each product's input are kept to find its scale."""

AT_ONCE = 1024
"""The most pieces that calibration reads at once."""

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""The shares of the whole range that are tried: a narrower one cuts off what is rare, and tells the rest finer."""

ENCODER = "/transformer/"
"""What the names of nodes begin with that are the encoder's own."""

Floats = NDArray[np.float32]


@dataclass
class Product:
    """A product of what the encoder computes with a weight.

    Attributes:
        node: The node's name in the graph.
        source: What is multiplied, by its name.
        weight: (inputs, outputs).
        error: How far off its result is in int8, on training texts: a share of its size.
    """

    node: str
    source: str
    weight: Floats
    error: float = 0.0

    @property
    def name(self) -> str:
        """Which one it is, as people say it."""
        return self.node.removeprefix(ENCODER).rpartition("/")[0] or self.node


@dataclass(frozen=True)
class Range:
    """How the values of a tensor become whole numbers from 0 to 255: ``value / scale + zero``."""

    scale: np.float32
    zero: int


@dataclass(frozen=True)
class Cost:
    """What int8 costs.

    Attributes:
        figures: For each task its main figure's name, and the figure in fp32 and in int8, on dev.
        products: How many products the encoder has.
        kept: Those that stay in fp32.
    """

    figures: Mapping[str, tuple[str, float, float]]
    products: int
    kept: Sequence[str] = field(default_factory=list)

    def loss(self) -> float:
        """The points that the task that loses most loses."""
        return max((100 * (before - after) for _, before, after in self.figures.values()), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        figures = {
            task: {"figure": name, "fp32": before, "int8": after}
            for task, (name, before, after) in self.figures.items()
        }
        return {"dev": figures, "products": self.products, "fp32_products": list(self.kept)}


def quantised(
    model: Model,
    draft: Path,
    raw: Path,
    sample: Sample,
    at_most: float,
    finish: Callable[[], object],
    tell: Callable[[str], object],
) -> Cost:
    """Put the int8 graph into the place of the main one, and measure what it costs.

    Args:
        model: What was exported.
        draft: The folder with its main graph in fp32.
        raw: The main graph as it was traced.
        sample: Training texts, and dev splits.
        at_most: The points that a task may lose.
        finish: Called when the graph has changed, so that the folder is whole again.
        tell: Called with what is worth knowing.
    """
    graph = onnx.load(str(raw))
    before = _scores(draft, sample)
    products = _products(graph)
    ranges = _calibrate(model, raw, products, sample)
    order = sorted(products, key=lambda product: -product.error)
    kept = 0
    while True:
        fp32 = {product.node for product in order[:kept]}
        changed = _rewritten(graph, [product for product in products if product.node not in fp32], ranges)
        path = draft / "int8.onnx"
        onnx.save(changed, str(path))
        optimise(path, draft / "model.onnx")
        path.unlink()
        finish()
        cost = Cost(_figures(model, before, _scores(draft, sample)), len(products), [p.name for p in order[:kept]])
        if cost.loss() <= at_most or kept == len(order):
            return cost
        tell(f"int8 costs {cost.loss():.2f} points with {kept} products of {len(order)} in fp32: more are put back")
        kept = min(len(order), max(2, 2 * kept))


def _figures(model: Model, before: Scores, after: Scores) -> dict[str, tuple[str, float, float]]:
    """The main figure of each task, in fp32 and in int8."""
    mains = {name: model.tasks[name].metric for name in before}
    return {name: (mains[name], before[name][mains[name]], after[name][mains[name]]) for name in before}


def _scores(folder: Path, sample: Sample) -> Scores:
    """What the exported model scores on dev."""
    exported = ExportedModel(folder)
    return score(exported, sample.dev, list(exported.tasks))


def _products(graph: onnx.ModelProto) -> list[Product]:
    """The encoder's products with weights."""
    weights = {one.name: one for one in graph.graph.initializer}
    found = []
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and node.name.startswith(ENCODER):
            weight = numpy_helper.to_array(weights[node.input[1]])
            if weight.ndim == 2 and weight.dtype == np.float32:
                found.append(Product(node.name, node.input[0], weight))
    return found


def _calibrate(model: Model, raw: Path, products: Sequence[Product], sample: Sample) -> dict[str, Range]:
    """A range for each tensor that is multiplied, and how far off each product then is."""
    seen = _inputs(model, raw, list(dict.fromkeys(product.source for product in products)), sample)
    ranges = {name: best_range(values) for name, values in seen.items()}
    for product in products:
        values, found = seen[product.source], ranges[product.source]
        whole, scales = whole_weights(product.weight)
        right = values @ product.weight
        given = rounded(values, found) @ (whole.astype(np.float32) * scales)
        product.error = float(np.linalg.norm(given - right)) / max(1e-12, float(np.linalg.norm(right)))
    return ranges


def _inputs(model: Model, raw: Path, names: Sequence[str], sample: Sample) -> dict[str, Floats]:
    """Rows of each tensor that is multiplied, from training texts; padding is left out. (rows, width) each."""
    graph = onnx.load(str(raw))
    del graph.graph.output[:]
    graph.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    watched = raw.with_name("watched.onnx")
    onnx.save(graph, str(watched))
    session = onnxruntime.InferenceSession(str(watched), options, providers=["CPUExecutionProvider"])
    watched.unlink()
    batches = list(_batches(model, sample))
    random = np.random.default_rng(0)
    share = min(1.0, ROWS / sum(int(given["mask"].sum()) for given in batches))
    parts: dict[str, list[Floats]] = {name: [] for name in names}
    wanted = [one.name for one in session.get_inputs()]
    for given in batches:
        there = np.flatnonzero(given["mask"])
        some = there[random.random(len(there)) < share]
        for name, value in zip(names, session.run(names, {key: given[key] for key in wanted}), strict=True):
            parts[name].append(value.reshape(-1, value.shape[-1])[some])
    return {name: np.concatenate(found) for name, found in parts.items()}


def _batches(model: Model, sample: Sample) -> Sequence[dict[str, Any]]:
    """Training texts as the graph reads them."""
    encoder = model.encoder
    items: list[Pieces] = []
    for data, examples in sample.training.items():
        items += encoder.tokenise(examples, model.info.get("data", {}).get(data, {}).get("language_code"))
    lengths, rows = measure(items, encoder.tokenizer, encoder.window)
    names = list(INPUTS)
    batches = cut_batches(np.argsort(lengths, kind="stable"), lengths, rows, AT_ONCE)
    laid = (lay_out([items[i] for i in batch.tolist()], encoder.tokenizer, encoder.window) for batch in batches)
    return [feeds(one, names) for one in laid]


def best_range(values: Floats) -> Range:
    """The range in which rounding changes values least, by the mean square (0 is always told exactly)."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    tried = []
    for share in SHARES:
        scale = np.float32(max(1e-8, (high - low) * share / 255))
        found = Range(scale, int(np.clip(np.rint(-low * share / scale), 0, 255)))
        tried.append((float(np.square(rounded(values, found) - values).mean()), found))
    return min(tried, key=lambda one: one[0])[1]


def rounded(values: Floats, found: Range) -> Floats:
    """Values as whole numbers would have them."""
    whole = np.clip(np.rint(values / found.scale) + found.zero, 0, 255)
    out: Floats = ((whole - found.zero) * found.scale).astype(np.float32)
    return out


def whole_weights(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """A weight as whole numbers from -127 to 127, and the scale of each output. (inputs, outputs) and (outputs,)."""
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-8).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weight / scales), -127, 127).astype(np.int8), scales


def _rewritten(graph: onnx.ModelProto, products: Sequence[Product], ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The graph with these products in int8."""
    out = onnx.ModelProto()
    out.CopyFrom(graph)
    wanted = {product.node: product for product in products}
    biases = _biases(out, wanted)
    added = {node.name for node in biases.values()}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in out.graph.node:
        product = wanted.get(node.name)
        if node.name in added:  # the product before it does that
            continue
        if product is None:
            nodes.append(node)
            continue
        source = product.source
        if source not in done:
            done.add(source)
            found = ranges[source]
            _put(out, f"{source}.scale", np.asarray(found.scale))
            _put(out, f"{source}.zero", np.asarray(found.zero, dtype=np.uint8))
            inputs = [source, f"{source}.scale", f"{source}.zero"]
            nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{source}.whole"], name=f"{source}.whole"))
        nodes.append(_whole_product(out, node, product, biases.get(node.output[0])))
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    weights = [one for one in out.graph.initializer if one.name in used]
    del out.graph.initializer[:]
    out.graph.initializer.extend(weights)
    out.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return out


def _biases(graph: onnx.ModelProto, products: Mapping[str, Product]) -> dict[str, onnx.NodeProto]:
    """By the results of products: the sums of them with a vector, where nothing else reads the result."""
    vectors = {one.name for one in graph.graph.initializer if len(one.dims) == 1}
    readers = Counter(name for node in graph.graph.node for name in node.input)
    alone = {node.output[0] for node in graph.graph.node if node.name in products if readers[node.output[0]] == 1}
    sums = [node for node in graph.graph.node if node.op_type == "Add" and vectors & set(node.input)]
    return {name: node for node in sums for name in node.input if name in alone}


def _whole_product(
    out: onnx.ModelProto, node: onnx.NodeProto, product: Product, bias: onnx.NodeProto | None
) -> onnx.NodeProto:
    whole, scales = whole_weights(product.weight)
    name, source = node.name, product.source
    _put(out, f"{name}.weight", whole)
    _put(out, f"{name}.scales", scales)
    _put(out, f"{name}.zeros", np.zeros(len(scales), dtype=np.int8))
    inputs = [
        f"{source}.whole",
        f"{name}.weight",
        f"{source}.scale",
        f"{name}.scales",
        f"{source}.zero",
        f"{name}.zeros",
    ]
    outputs = node.output if bias is None else bias.output
    if bias is not None:
        inputs += [one for one in bias.input if one != node.output[0]]
    return helper.make_node("MatMulIntegerToFloat", inputs, list(outputs), name=name, domain="com.microsoft")


def _put(out: onnx.ModelProto, name: str, array: NDArray[Any]) -> None:
    out.graph.initializer.append(numpy_helper.from_array(array, name))
