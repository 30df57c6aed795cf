"""Several processes that train one model together: who this one is, and what they tell each other.

All of it does nothing, at no cost, in one process. The first process (rank 0) writes and speaks. Values that are no
tensors go through a group of their own on the CPU, whose waits may be long: there the others wait while the first one
reads, scores or writes.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from polyhead.errors import PolyheadError
from polyhead.launch import Launch, launched, wishes

T = TypeVar("T")

TIMEOUT = "POLYHEAD_TIMEOUT_MINUTES"
"""The variable that says for how long an exchange of gradients may take before the run is given up."""

MINUTES, HOURS = 30.0, 24.0
"""How long that is by default; and how long others wait while the first process reads, scores or writes. Where a
process has ended, its connections are closed, and the others know at once."""

SETTLING = 2.0
"""The seconds within which processes that end find out which of them tells why."""

_SEVERED = re.compile(r"gloo|nccl|connection (closed|reset|refused)|by peer|broken pipe|timed out", re.IGNORECASE)
"""What the messages of torch hold where another process is not there any more."""


class LostError(PolyheadError):
    """Another process of the same run has ended, or cannot be reached."""


@dataclass
class _Group:
    """The processes that this one belongs to.

    Attributes:
        launch: Which one this is.
        store: Where each can leave a note for the others.
        control: The group on the CPU for all that is no gradient.
        waited: The seconds for which this process has waited for others so far.
    """

    launch: Launch
    store: Any
    control: Any
    waited: float = 0.0


_group: _Group | None = None
_notes: Any = None  # also after the group is left, for the last words


def rank() -> int:
    """Which process this is, from 0."""
    return 0 if _group is None else _group.launch.rank


def world() -> int:
    """How many there are."""
    return 1 if _group is None else _group.launch.world


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def several() -> bool:
    """Whether there is more than one."""
    return world() > 1


def waited() -> float:
    """The seconds for which this process has waited for others, or sent them something, so far."""
    return 0.0 if _group is None else _group.waited


@contextmanager
def joined() -> Iterator[None]:
    """Inside the block the processes that a launcher started know each other; nothing where there is one alone.

    Raises:
        PolyheadError: The others cannot be reached, or one of them has ended (:class:`LostError`).
    """
    global _group
    here = launched()
    if here.world == 1 or _group is not None:
        yield
        return
    began = not dist.is_initialized()
    _group = _meet(here)
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not _SEVERED.search(str(error)):
            raise
        raise _lost(error) from error
    else:
        if began:
            wait()
            dist.destroy_process_group()
    finally:
        _group = None


def _meet(here: Launch) -> _Group:
    """Meet the other processes."""
    global _notes
    minutes = _minutes()
    if here.alone:
        _stay_on_this_machine()
    gpu = torch.cuda.is_available() and not wishes().cpu
    if gpu:
        torch.cuda.set_device(here.local_rank % torch.cuda.device_count())
    try:
        if not dist.is_initialized():
            store, number, count = next(dist.rendezvous("env://", here.rank, here.world))  # type: ignore[attr-defined]
            backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
            dist.init_process_group(
                backend, store=store, rank=number, world_size=count, timeout=timedelta(minutes=minutes)
            )
        else:
            store = dist.distributed_c10d._get_default_store()
        control = dist.new_group(backend="gloo", timeout=timedelta(hours=HOURS))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise PolyheadError(
            f"Process {here.rank} of {here.world} does not reach the others at {where}: {_line(error)}",
            remedy="See that all were started, with the same address, and that no firewall stands between them.",
        ) from error
    _notes = store
    return _Group(here, store, control)


def _minutes() -> float:
    given = os.environ.get(TIMEOUT, "")
    try:
        found = float(given or MINUTES)
        if not 0 < found < 1e5:
            raise ValueError
    except ValueError:
        raise PolyheadError(f"{TIMEOUT} = {given!r} is no number of minutes.", remedy="Set it to 30, say.") from None
    return found


def _stay_on_this_machine() -> None:
    """Let gloo use the loopback alone: else it looks up the machine's own name, which may lead nowhere or outside."""
    with suppress(OSError, AttributeError):
        names = [name for _, name in socket.if_nameindex()]
        loopback = next((name for name in ("lo", "lo0") if name in names), None)
        if loopback is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)


def _line(error: BaseException) -> str:
    """The first sentence of what torch says, without the place in its sources."""
    said = re.sub(r"^\[\S*\]\s*", "", str(error).strip())
    return re.split(r"\n|\. ", said or type(error).__name__)[0].rstrip(".")[:200]


def _lost(error: BaseException) -> LostError:
    return LostError(
        f"Another process of this run has ended, or is out of reach ({_line(error)}).",
        remedy="If none of them says why: it was killed, or the machine's memory was full. Go on from the last "
        "checkpoint with: polyhead train --resume RUN, under any number of processes.",
    )


@contextmanager
def _exchange() -> Iterator[_Group]:
    """Around each exchange: counts the time, and tells in plain words that another process is gone."""
    assert _group is not None
    start = time.perf_counter()
    try:
        yield _group
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise _lost(error) from error
    finally:
        if _group is not None:
            _group.waited += time.perf_counter() - start


# --- values ---


def told(value: T) -> T:
    """The first process's value, on all of them."""
    if not several():
        return value
    with _exchange() as group:
        box: list[Any] = [value if first() else None]
        dist.broadcast_object_list(box, src=0, group=group.control)
    return cast(T, box[0])


def once(work: Callable[[], T]) -> T:
    """Let the first process do something, the others wait; all get what came out of it, also an error.

    Raises:
        PolyheadError: What ``work`` raised on the first process.
    """
    if not several():
        return work()
    found: T | None = None
    failed: PolyheadError | None = None
    if first():
        try:
            found = work()
        except PolyheadError as error:
            failed = error
    failed = told(failed)
    if failed is not None:
        raise failed
    return cast(T, told(found))


def in_turn(work: Callable[[], T]) -> T:
    """Let the first process of each machine do something before its others, which so find on disk what it wrote."""
    if not several():
        return work()
    assert _group is not None
    leads = _group.launch.local_rank == 0
    found = work() if leads else None
    wait()
    return cast(T, found) if leads else work()


def gathered(value: T) -> list[T]:
    """Each process's value in the order of ranks, on the first one; elsewhere nothing."""
    if not several():
        return [value]
    with _exchange() as group:
        found: list[Any] | None = [None] * world() if first() else None
        dist.gather_object(value, found, dst=0, group=group.control)
    return found or []


def shared(value: T) -> list[T]:
    """Each process's value in the order of ranks, on all of them."""
    if not several():
        return [value]
    with _exchange() as group:
        found: list[Any] = [None] * world()
        dist.all_gather_object(found, value, group=group.control)
    return found


def wait() -> None:
    """Wait for all processes to come here."""
    if several():
        with _exchange() as group:
            dist.barrier(group=group.control)


def see_same(name: str, value: str) -> None:
    """See that a value is the same everywhere, such as what was read.

    Raises:
        PolyheadError: It is not; names the machines.
    """
    found = shared((value, socket.gethostname()))
    other = next((i for i, (one, _) in enumerate(found) if one != found[0][0]), None)
    if other is not None:
        raise PolyheadError(
            f"Process {other} on {found[other][1]} has read another {name} than process 0 on {found[0][1]}.",
            remedy="Let all machines read the same files and run the same version of polyhead.",
        )


# --- tensors ---


def add(tensor: Tensor) -> Tensor:
    """Put the sum over all processes into a tensor, on each of them."""
    if several():
        with _exchange():
            dist.all_reduce(tensor)
    return tensor


def begin_adding(tensor: Tensor) -> Callable[[], None]:
    """As :func:`add`, behind what goes on meanwhile; what it returns waits for the end."""
    with _exchange():
        work = dist.all_reduce(tensor, async_op=True)

    def end() -> None:
        with _exchange():
            work.wait()

    return end


def added_on_first(tensor: Tensor) -> Tensor:
    """Put the sum over all processes into a tensor on the first one; elsewhere it is anything."""
    if several():
        with _exchange():
            dist.reduce(tensor, dst=0)
    return tensor


def spread(tensors: Iterable[Tensor]) -> None:
    """Put the first process's values into these tensors on all of them."""
    if several():
        with _exchange(), torch.no_grad():
            for tensor in tensors:
                if tensor.numel():
                    dist.broadcast(tensor, src=0)


def parts(count: int) -> list[int]:
    """Which of so many things that come one after the other this process does."""
    return list(range(rank(), count, world()))


def sums(values: Sequence[float]) -> list[float]:
    """The sums of some numbers over all processes."""
    if not several():
        return list(values)
    with _exchange() as group:
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=group.control)
    found: list[float] = total.tolist()
    return found


# --- last words ---


def speaks(error: BaseException) -> bool:
    """Whether this process is the one that tells why all of them end.

    Each leaves a note on why it ends. Who has a reason of its own comes before those that only lost another one, and
    a lower rank before a higher one. The others are silent.
    """
    here = launched()
    if here.world == 1:
        return True
    if _notes is None:
        return True if isinstance(error, LostError) else here.first
    mine = isinstance(error, LostError), here.rank
    try:
        _notes.set(f"polyhead/end/{here.rank}", str(int(mine[0])))
        end = time.monotonic() + SETTLING
        while True:
            ended = [number for number in range(here.world) if _notes.check([f"polyhead/end/{number}"])]
            reasons = [(_notes.get(f"polyhead/end/{number}") == b"1", number) for number in ended]
            if len(ended) == here.world or time.monotonic() > end:
                return min(reasons) == mine
            time.sleep(0.02)
    except RuntimeError:  # the store went with the process that kept it
        return True
