"""What a server counts and measures, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from polyhead.serving.models import Models

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counts of one server, apart from those of any other in the same process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on = self.registry
        self.requests = Counter("polyhead_requests", "Answered requests.", ["route", "method", "status"], registry=on)
        self.seconds = Histogram(
            "polyhead_request_seconds",
            "From a request's head to the last byte of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=on,
        )
        self.texts = Counter("polyhead_texts", "Texts that were answered.", ["model"], registry=on)
        self.characters = Counter("polyhead_characters", "Their characters.", ["model"], registry=on)
        self.failures = Counter("polyhead_failures", "Texts on which a model failed.", ["model"], registry=on)
        self.rejected = Counter("polyhead_rejected", "Requests that were not let in.", ["reason"], registry=on)
        self.batch_texts = Histogram("polyhead_batch_texts", "Texts in a batch.", ["model"], buckets=TEXTS, registry=on)
        self.batch_seconds = Histogram(
            "polyhead_batch_seconds", "How long a batch took.", ["model"], buckets=SECONDS, registry=on
        )
        self.wait_seconds = Histogram(
            "polyhead_wait_seconds",
            "How long requests waited for their batch.",
            ["model"],
            buckets=SECONDS,
            registry=on,
        )
        self.loads = Counter("polyhead_loads", "Versions that were loaded.", ["model", "outcome"], registry=on)
        self.deaths = Counter(
            "polyhead_worker_deaths", "Model processes that ended by themselves.", ["model"], registry=on
        )
        self.connections = Gauge("polyhead_connections", "Open connections.", registry=on)
        ProcessCollector(registry=on)

    def watch(self, models: Models) -> None:
        """Report of each model its version, its line, and the memory of its process."""
        self.registry.register(_OfModels(models))

    def counting(self, connections: Callable[[], int]) -> None:
        """Report how many connections are open."""
        self.connections.set_function(connections)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _OfModels:
    """What is looked up when somebody asks, and not counted before."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def collect(self) -> Iterable[Metric]:
        """A figure for each model."""
        version = GaugeMetricFamily("polyhead_model_version", "How often the model was loaded.", labels=["model"])
        ready = GaugeMetricFamily("polyhead_model_ready", "Whether the model can answer.", labels=["model"])
        texts = GaugeMetricFamily("polyhead_queue_texts", "Texts that wait for the model.", labels=["model"])
        requests = GaugeMetricFamily("polyhead_queue_requests", "Requests that wait for the model.", labels=["model"])
        memory = GaugeMetricFamily(
            "polyhead_model_resident_memory_bytes", "Memory of the model's process.", labels=["model"]
        )
        for model in self.models:
            version.add_metric([model.name], model.version)
            ready.add_metric([model.name], float(model.ready))
            texts.add_metric([model.name], model.line.texts)
            requests.add_metric([model.name], len(model.line))
            resident = resident_bytes(model.worker.pid)
            if resident is not None:
                memory.add_metric([model.name], resident)
        return [version, ready, texts, requests, memory]


def resident_bytes(pid: int | None) -> int | None:
    """The memory of a process; ``None`` where the system does not tell."""
    import os
    from pathlib import Path

    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
