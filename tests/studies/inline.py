"""The runs of a study in the tests' own process."""

from __future__ import annotations

from concurrent.futures import Future

from polyhead.studies.learn import Order, learn
from polyhead.studies.queue import Outcome


class Inline:
    """Runs in this process, in order."""

    room = 1

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def submit(self, order: Order) -> Future[Outcome]:
        self.orders.append(order)
        future: Future[Outcome] = Future()
        future.set_result(learn(order))
        return future

    def close(self, *, now: bool) -> None:
        pass
