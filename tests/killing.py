"""Runs in processes of their own that die by SIGKILL at a chosen moment, or that meet a full disk.

What a run does to its folder is a sequence of events, such as ``os.mkdir checkpoints/000-00000-000000003.unfinished``.
A moment is a pattern and which of the events that match it. Half-written weights, scoring and the loop's records are
events, too.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import MappingProxyType
from typing import Any

WRITING = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Moment:
    """The event to die at.

    Attributes:
        pattern: A regular expression that an event must hold.
        occurrence: Which of them, from 1.
    """

    pattern: str
    occurrence: int = 1


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, its error if any, what it told, and its events."""

    status: int
    error: str
    told: list[str]
    events: list[str]


def spawner() -> ForkServerContext:
    """Processes forked from one that has everything imported: a run then starts in a moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["polyhead.training", "transformers.models.bert.modeling_bert", "killing"])
    return context


def run(
    context: ForkServerContext,
    recipe: Path | None,
    folder: Path,
    moment: Moment | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Ended:
    """Train from a recipe into a folder, or resume what is in it, with a checkpoint at every step.

    Args:
        context: What ``spawner`` gave.
        recipe: ``None`` resumes.
        folder: The run's folder.
        moment: When to die.
        environment: Variables to set; the others are those that the first process of the context had.
    """
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(recipe, folder, moment, dict(environment), sender))
    process.start()
    sender.close()
    told: list[str] = []
    events: list[str] = []
    error = ""
    try:
        while True:
            kind, text = receiver.recv()
            if kind == "error":
                error = text
            else:
                (events if kind == "event" else told).append(text)
    except EOFError:
        pass
    process.join()
    return Ended(process.exitcode or 0, error, told, events)


def _work(recipe: Path | None, folder: Path, moment: Moment | None, environment: dict[str, str], sender: Any) -> None:
    import torch

    import polyhead

    os.environ.update(environment)
    torch.set_num_threads(1)
    seen = 0
    busy = False

    def happened(event: str) -> None:
        nonlocal seen, busy
        if busy:
            return
        busy = True
        sender.send(("event", event))
        if moment is not None and re.search(moment.pattern, event):
            seen += 1
            if seen == moment.occurrence:
                os.kill(os.getpid(), signal.SIGKILL)
        busy = False

    _listen(folder, happened)

    def watch(record: object) -> None:
        happened(f"record {type(record).__name__} {getattr(record, 'stage', '')} {getattr(record, 'step', '')}")

    def tell(text: str) -> None:
        sender.send(("told", text))

    try:
        if recipe is None:
            polyhead.resume(folder, watch=watch, tell=tell, checkpoint_seconds=0)
        else:
            polyhead.train(recipe, folder, watch=watch, tell=tell, checkpoint_seconds=0)
    except polyhead.PolyheadError as error:
        sender.send(("error", str(error)))
        os._exit(1)
    except BaseException:
        sender.send(("error", traceback.format_exc()))
        os._exit(2)
    os._exit(0)


def _listen(folder: Path, happened: Callable[[str], None]) -> None:
    """Call ``happened`` before anything changes in ``folder``, in the middle of weights, and in scoring."""
    top = f"{folder}/"

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in WRITING or not str(args[0]).startswith(top):
            return
        if event == "open" and not set(str(args[1] or "")) & set("wax+"):
            return
        paths = [re.sub(r"\.\d+\.unfinished", ".unfinished", str(arg)) for arg in args if str(arg).startswith(top)]
        if event == "shutil.rmtree" and not Path(str(args[0])).exists():
            return
        happened(" ".join([event, *(path.removeprefix(top) for path in paths)]))

    sys.addaudithook(hook)
    from polyhead.training import checkpoint, loop, start

    def torn(save: Callable[..., None]) -> Callable[..., None]:
        def save_file(tensors: Any, path: Path, **rest: Any) -> None:
            save(tensors, path, **rest)
            content = path.read_bytes()
            os.truncate(path, len(content) // 2)
            happened(f"half-written {path.relative_to(folder)}")
            path.write_bytes(content)

        return save_file

    def scored(score: Callable[..., Any], which: str) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            happened(f"before {which}")
            found = score(*args)
            happened(f"after {which}")
            return found

        return wrapped

    checkpoint.save_file = torn(checkpoint.save_file)
    sys.modules["polyhead.model"].save_file = torn(sys.modules["polyhead.model"].save_file)
    loop.score = scored(loop.score, "evaluation")
    start.measure = scored(start.measure, "final scores")
