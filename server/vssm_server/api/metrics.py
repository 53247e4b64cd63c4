"""Prometheus metrics: this process' own, and the workers' as their heartbeats tell them."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vssm_server.fleet import Fleet
from vssm_server.messages import ROW_BOUNDS, Heartbeat

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counted in this API process."""

    def __init__(self, fleet: Fleet) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("vssm_requests", "Accepted requests.", ["model"], registry=self.registry)
        self.active = Gauge("vssm_requests_active", "Accepted requests not answered yet.", registry=self.registry)
        self.failures = Counter("vssm_failures", "Errors answered.", ["reason"], registry=self.registry)
        self.cancelled = Counter("vssm_requests_cancelled", "Requests whose client left.", registry=self.registry)
        self.seconds = Histogram(
            "vssm_request_seconds", "From request to last byte.", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.first_chunk_seconds = Histogram(
            "vssm_time_to_first_chunk_seconds",
            "From request to first chunk of a stream.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(WorkerMetrics(fleet))


class WorkerMetrics(Collector):
    """Counted in the workers; a worker's numbers start again with it, so each has its own label."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[Metric]:
        """Called for every scrape."""
        fleet = self._fleet
        yield GaugeMetricFamily("vssm_workers", "Workers with a heartbeat.", len(fleet.workers))
        yield GaugeMetricFamily("vssm_requests_waiting", "Requests no worker runs yet.", fleet.waiting)
        running = GaugeMetricFamily("vssm_requests_running", "Requests in a worker's hands.", labels=["worker"])
        steps = CounterMetricFamily("vssm_generated_steps", "Steps generated, all samples.", labels=["worker"])
        rows = HistogramMetricFamily("vssm_batch_rows", "Sequences in a pass.", labels=["worker"])
        for worker in fleet.workers:
            running.add_metric([worker.worker], worker.running)
            steps.add_metric([worker.worker], worker.generated_steps)
            rows.add_metric([worker.worker], _buckets(worker), worker.rows)
        yield from (running, steps, rows)


def _buckets(worker: Heartbeat) -> list[tuple[str, float]]:
    bounds = [*map(str, ROW_BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(worker.row_buckets)), strict=True))
