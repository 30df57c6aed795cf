"""Processes and clusters that do a command's work, begun so that none outlives the command."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError

WATCH_SECONDS = 1.0
"""How often a process looks whether the one that began it is still there."""

STORE = 100 * 2**20
"""The bytes that a Ray cluster on this machine keeps for what its processes send each other: next to nothing."""

STARTS = 3
"""How often a Ray cluster on this machine is begun: ray gives it half a minute, too little where much else runs."""


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that begin in this block do not hear Ctrl-C, which a terminal sends to all of a command's: their parent
    hears it and ends them, where each of them would end with a traceback. One pressed meanwhile is heard afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def limit_threads(count: int) -> None:
    """Let libraries that are loaded from now on compute with so many threads."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(count))


def die_with(parent: int) -> None:
    """End this process when its parent is gone: else it would hold work that the next call wants to go on with."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)  # which ends it at once, whatever its main thread computes

    threading.Thread(target=watch, daemon=True).start()


def need_ray() -> Any:
    """Ray.

    Raises:
        PolyheadError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise PolyheadError("--on ray needs ray.", remedy="Install it: pip install 'polyhead[ray]'") from error
    return ray


def start_ray(ray: Any) -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or begin one here.

    Raises:
        PolyheadError: There is none at that address.
    """
    here = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    own = [path for path in (Path(entry).resolve() for entry in sys.path) if not here & {path, *path.parents}]
    # A user's own task types, and a checkout that is not installed, are found as they are here.
    settings: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, own))}}}
    if "RAY_ADDRESS" not in os.environ:
        settings |= {"include_dashboard": False, "object_store_memory": STORE}
    address = os.environ.get("RAY_ADDRESS")
    error: Exception | None = None
    for _ in range(1 if address else STARTS):
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **settings)
        except Exception as found:  # ray raises plain ones, too
            ray.shutdown()
            error = found
        else:
            return
    if address is None:
        remedy = "See that memory and processors are free, or take --on local."
        raise PolyheadError(f"Ray cannot begin a cluster on this machine: {error}", remedy=remedy) from error
    remedy = "Start one with `ray start`, or unset RAY_ADDRESS to have one on this machine."
    raise PolyheadError(f"There is no Ray cluster at {address}: {error}", remedy=remedy) from error
