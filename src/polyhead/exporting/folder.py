"""A trained model as a folder for onnxruntime: graphs, what their scores mean, a parity check, and a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import torch

from polyhead.answering.kinds import describe
from polyhead.data.example import KIND_NAMES
from polyhead.data.segment import word_rules
from polyhead.errors import PolyheadError, nearest
from polyhead.exporting.card import exported_card
from polyhead.exporting.encoding import INPUTS
from polyhead.exporting.graphs import Graph, write_main, write_network
from polyhead.exporting.optimise import optimise
from polyhead.exporting.parity import Parity, compare
from polyhead.exporting.quantise import AT_MOST, Cost, quantised
from polyhead.exporting.sample import Sample, odd_examples, sample_of
from polyhead.files import check_place, whole, write_json, write_text
from polyhead.hub import CARD
from polyhead.model import Model, load_model
from polyhead.nn.layout import lay_out
from polyhead.runtime.backend import feeds
from polyhead.runtime.folder import CONFIG, FORMAT, MAIN, MARK, PARITY, TASKS, TOKENIZER, WORDS, is_exported
from polyhead.tasks import Head, Task, describe_task
from polyhead.version import __version__

Tell: TypeAlias = Callable[[str], object]

FORMATS = ("onnx",)
PRECISIONS = ("int8",)


def export(
    run: str | Path,
    output: str | Path | None = None,
    *,
    to: str = "onnx",
    quantise: str | None = None,
    at_most: float = AT_MOST,
    best: str | None = None,
    tell: Tell = lambda _: None,
) -> Path:
    """Write a model as a folder that onnxruntime runs, without torch.

    :func:`polyhead.load`, ``predict`` and ``evaluate`` open it like any model.

    Args:
        run: A finished run; without ``quantise`` also a model folder or an id on the Hub.
        output: The folder, new or empty; by default ``onnx`` in the run, or ``onnx-int8``.
        to: ``onnx``.
        quantise: ``int8`` computes the encoder's matrix products with whole numbers of eight bits.
        at_most: How many points int8 may cost a task on the dev split; products that cost more stay as they are.
        best: A task whose own best weights to take.
        tell: Called with what is worth knowing: how well the answers agree, what int8 costs.

    Returns:
        The folder.

    Raises:
        PolyheadError: There is no such model, it cannot be exported, its answers are not those of torch, or the folder
            cannot be written.
    """
    if to not in FORMATS:
        raise PolyheadError(f"--to {to} is no format for models.", remedy=nearest(to, FORMATS))
    if quantise is not None and quantise not in PRECISIONS:
        raise PolyheadError(f"--quantise {quantise} is not known.", remedy=nearest(quantise, PRECISIONS))
    place = Path(output) if output is not None else _usual_place(Path(run), quantise)
    if is_exported(Path(run)):
        raise PolyheadError(f"{str(run)!r} is an exported model already.", remedy="Export the run that it came from.")
    check_place(place, folder=True)
    if place.is_dir() and any(place.iterdir()):
        raise PolyheadError("The folder is not empty.", file=place, remedy="Take another --output, or remove it.")
    _see_libraries()
    model = load_model(run, best)
    tasks = {name: task for name, task in model.tasks.items() if task.answers}
    if not tasks:
        raise PolyheadError("The model annotates nothing, so there is nothing to export.")
    _see_exportable(model, tasks)
    sample = sample_of(run, model, tasks, calibrated=quantise is not None)
    with whole(place) as draft:
        draft.mkdir()
        parities, cost = _write(model, tasks, sample, draft, None if quantise is None else at_most, tell)
        write_text(draft / CARD, exported_card(run, parities, cost))
    for parity in parities:
        for note in parity.notes():
            tell(note)
    return place


def _usual_place(run: Path, quantise: str | None) -> Path:
    name = "onnx" if quantise is None else f"onnx-{quantise}"
    return run / name if run.is_dir() else Path(run.name.partition("@")[0] + f"-{name}")


def _see_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise PolyheadError(
            f"Exporting needs onnx and onnxruntime: {error}.", remedy="Install them: pip install 'polyhead[onnx]'"
        ) from error


def _see_exportable(model: Model, tasks: Mapping[str, Task]) -> None:
    for name in tasks:
        head = type(model.head(name))
        lost = next((one for one in ("scores", "chooser") if getattr(head, one) is getattr(Head, one)), None)
        if lost is None and head.predict is Head.predict:
            continue
        if lost is None and getattr(head, "exports", False):
            continue
        raise PolyheadError(
            f"tasks.{name} cannot be exported: its head, {head.__name__}, "
            + (f"has no {lost}()." if lost else "answers by a predict() of its own."),
            remedy="Give the head scores() and chooser() in place of predict(): see docs/task-types.md.",
        )


def _write(
    model: Model, tasks: Mapping[str, Task], sample: Sample, draft: Path, int8: float | None, tell: Tell
) -> tuple[list[Parity], Cost | None]:
    """Write everything but the card. ``int8`` is how many points it may cost; ``None`` leaves everything in fp32."""
    heads = list(dict.fromkeys(task.head_of or name for name, task in tasks.items()))
    with TemporaryDirectory(dir=draft.parent, prefix=f"{draft.name}.") as temporary:
        rough = Path(temporary)
        graphs = _graphs(model, heads, rough)
        for graph in graphs.values():
            optimise(rough / graph.file, draft / graph.file)
        model.encoder.tokenizer.tokenizer.save(str(draft / TOKENIZER))
        write_json(draft / WORDS, word_rules())
        write_json(draft / TASKS, {"tasks": [describe_task(task) for task in tasks.values()]})
        config = _config(model, tasks, heads, graphs, draft)
        _finish(config, draft)
        parities = [compare(model, draft, sample, "fp32", strict=True)]
        cost = None
        if int8 is not None:
            config["precision"] = "int8"
            raw = rough / graphs[MAIN].file
            cost = quantised(model, draft, raw, sample, int8, lambda: _finish(config, draft), tell)
            _finish(config | {"int8": cost.to_dict()}, draft)
            parities.append(compare(model, draft, sample, "int8", strict=False))
    write_json(draft / PARITY, {parity.precision: parity.to_dict() for parity in parities})
    return parities, cost


def _graphs(model: Model, heads: Sequence[str], folder: Path) -> dict[str, Graph]:
    """Write all graphs as they are traced."""
    first, second = (_inputs(model, odd_examples(model, number)) for number in (0, 1))
    graphs = {MAIN: write_main(model, heads, (first, second), folder)}
    for name in heads:
        for key in model.head(name).networks():
            graphs[f"{name}.{key}"] = write_network(name, key, model.head(name), folder)
    return graphs


def _inputs(model: Model, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
    items = model.encoder.tokenise(examples)
    rows = lay_out(items, model.encoder.tokenizer, model.encoder.window)
    return {name: torch.from_numpy(array) for name, array in feeds(rows, list(INPUTS)).items()}


def _config(
    model: Model, tasks: Mapping[str, Task], heads: Sequence[str], graphs: Mapping[str, Graph], draft: Path
) -> dict[str, Any]:
    encoder = model.encoder
    return {
        MARK: FORMAT,
        "polyhead": __version__,
        "precision": "fp32",
        "pieces": {
            "file": TOKENIZER,
            "window": encoder.window,
            "unknown": encoder.tokenizer.unknown,
            "padding": encoder.tokenizer.padding,
            "before": list(encoder.tokenizer.single.before),
            "after": list(encoder.tokenizer.single.after),
            "gap": encoder.tokenizer.gap,
        },
        "graphs": {name: graph.to_dict() for name, graph in graphs.items()},
        "heads": {
            name: {
                "temperature": model.head(name).temperature,
                "scores": {key: f"{name}.{key}" for key in _keys(graphs[MAIN].outputs, name, heads)},
                "networks": {key: f"{name}.{key}" for key in model.head(name).networks()},
            }
            for name in heads
        },
        "answers": {name: _answers(model, task, draft) for name, task in tasks.items()},
        "info": model.info,
    }


def _keys(outputs: Iterable[str], name: str, heads: Sequence[str]) -> list[str]:
    """The names of a head's scores, of all outputs: a task may be called as another one and more, behind a dot."""
    owned = {output: max((h for h in heads if output.startswith(f"{h}.")), key=len) for output in outputs}
    return [output.removeprefix(f"{name}.") for output, owner in owned.items() if owner == name]


def _answers(model: Model, task: Task, draft: Path) -> dict[str, Any]:
    """What a task answers, and how."""

    def keep(field: str, text: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        (draft / f"{field}-{digest}.json").write_text(text, encoding="utf-8")
        return f"{field}-{digest}.json"

    return {
        "head": task.head_of or task.name,
        "data": task.data,
        "layer": task.layer,
        "kind": KIND_NAMES[task.kind],
        "words": task.words,
        "annotates": task.annotates,
        "answers": task.answers,
        "chooser": describe(task.chooser(model.head(task.name)), keep),
    }


def _finish(config: dict[str, Any], draft: Path) -> None:
    """Write config.json with the size and the sum of each other file."""
    files = {}
    for path in sorted(draft.iterdir()):
        if path.name not in (CONFIG, PARITY, CARD):
            content = path.read_bytes()
            files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    config["files"] = files
    (draft / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
