"""`/metrics` in the text format of Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from simyard import __version__
from simyard.domain.lifecycle import State
from simyard.service import figures
from simyard.service.site import Site

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    def __init__(self, site: Site) -> None:
        self._registry = CollectorRegistry()
        self._replies = Counter(
            "simyard_http_replies", "HTTP replies", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "simyard_http_seconds",
            "Time from a request's head to the end of its reply",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_SiteCollector(site))

    def replied(self, status: int, seconds: float) -> None:
        self._replies.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _SiteCollector(Collector):
    """What is asked of the installation when somebody looks."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        site = self._site
        counts = site.db.read(figures.runs_by_state)
        by_state = GaugeMetricFamily("simyard_runs", "Unfinished runs by state", labels=["state"])
        for state in State:
            if state not in (State.DRAFT, State.CLOSED):
                by_state.add_metric([state.value], counts.get(state, 0))
        yield by_state
        yield _gauge("simyard_cores", "Cores that runs may take", site.machine.cores)
        held = site.db.read(figures.cores_held)
        yield _gauge("simyard_cores_held", "Cores that are set aside for runs", held)
        free = site.blobs.store.free_bytes()
        if free is not None:
            yield _gauge("simyard_blob_bytes_free", "Room left for blobs", free)
        yield _gauge("simyard_commits", "Commits since the start", site.db.commits)
        yield _gauge("simyard_writes", "Writes since the start", site.db.writes)
        info = GaugeMetricFamily("simyard_info", "What runs here", labels=["version", "engine"])
        info.add_metric([__version__, site.engine.capabilities().name], 1)
        yield info


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
