"""Several processes that train together, as a launcher would start them, from one that has everything imported."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import killing
from killing import Ended, Moment


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environments(count: int) -> list[dict[str, str]]:
    """What a launcher of so many processes on this machine sets for each."""
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    common |= {"GLOO_SOCKET_IFNAME": "lo"} if any(name == "lo" for _, name in socket.if_nameindex()) else {}
    return [
        {name: str(value) for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        for rank in range(count)
    ]


def train(
    context: ForkServerContext,
    count: int,
    recipe: Path | None,
    folder: Path,
    moments: Mapping[int, Moment] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[Ended]:
    """Train from a recipe into a folder, or resume what is in it, with so many processes; see ``killing.run``.

    Args:
        moments: By rank when to die.
    """
    given = environments(count) if count > 1 else [{}]

    def one(rank: int) -> Ended:
        return killing.run(context, recipe, folder, moments.get(rank), given[rank] | dict(environment))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def call(context: ForkServerContext, count: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What a function returns in each of so many processes that know each other; the text of an error, if it fails."""
    ends = []
    for environment in environments(count):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_call, args=(work, given, environment, sender))
        process.start()
        sender.close()
        ends.append((receiver, process))
    found = [receiver.recv() for receiver, _ in ends]
    for _, process in ends:
        process.join()
    return found


def _call(work: Callable[..., Any], given: tuple[Any, ...], environment: dict[str, str], sender: Any) -> None:
    import torch

    from polyhead import ranks

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        with ranks.joined():
            sender.send(work(*given))
    except BaseException:
        sender.send(traceback.format_exc())


# --- what processes do in tests ---


def held(run: Path, precision: str) -> tuple[int, int]:
    """The bytes of a run's encoder with what an optimizer keeps of it, and how many of these this process holds."""
    import torch

    from polyhead.model import load_model
    from polyhead.nn.sharding import Sharding, bytes_held
    from polyhead.stage import Stage
    from polyhead.training.optim import Optimizer

    model = load_model(run)
    model.precision = precision  # type: ignore[assignment]
    own = {f"encoder.transformer.{name}" for name, _ in model.encoder.transformer.named_parameters()}
    size = sum(weight.numel() for weight in model.encoder.transformer.parameters())
    sharding = Sharding(model.encoder, torch.device("cpu"), model.precision)
    optimizer = Optimizer(model, Stage(learning_rate=1e-3, average=1.0), 100, None, sharding)
    for step in range(8):
        held = {name: optimizer._updated(name) for name in own}
        optimizer.step(step, {name: torch.ones_like(part) for name, part in held.items()})
    kept = [optimizer.adamw.state[part] for part in held.values()]
    moments = {f"{i} {key}": value for i, one in enumerate(kept) for key, value in one.items() if value.dim()}
    averages = {name: value for name, value in optimizer.averages.items() if name in own}
    assert averages, "they are kept, too"
    return 4 * 4 * size, sum(bytes_held(one) for one in (held, moments, averages))


def last_words(alike: bool) -> bool:
    """Whether this process tells why all end, where all have a reason, or the second one alone has."""
    from polyhead import PolyheadError, ranks

    own = alike or ranks.rank() == 1
    return ranks.speaks(PolyheadError("a reason") if own else ranks.LostError("another one is gone"))


def read(first: Path, other: Path, run: Path) -> None:
    """Begin a run from a recipe, the first process from one file and the others from another."""
    import polyhead
    from polyhead import ranks

    polyhead.train(first if ranks.first() else other, run)
