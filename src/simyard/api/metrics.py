"""`/metrics` in the text format of Prometheus.

What happens is counted in plain numbers; the library that writes the format is loaded when
somebody asks, so that an idle server does without its memory.
"""

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from simyard import __version__
from simyard.domain.lifecycle import State
from simyard.service import figures
from simyard.service.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    from prometheus_client.core import Metric

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    def __init__(self, site: Site, streams: "Sized") -> None:
        """streams: those that are open."""
        self._site = site
        self._streams = streams
        self._replies: Counter[int] = Counter()
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0

    def replied(self, status: int, seconds: float) -> None:
        """A reply was sent. Called in the event loop only."""
        self._replies[status] += 1
        self._buckets[bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def text(self) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)  # `collect` is all that it needs
        return generate_latest(registry)

    def collect(self) -> "Iterator[Metric]":
        """Every figure, as the library wants them."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        site = self._site
        replies = CounterMetricFamily("simyard_http_replies", "HTTP replies", labels=["status"])
        for status, count in sorted(self._replies.items()):
            replies.add_metric([str(status)], count)
        yield replies
        below, cumulative = 0, []
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._buckets, strict=True):
            below += count
            cumulative.append((bound, below))
        text = "Time from a request's head to the end of its reply"
        yield HistogramMetricFamily(
            "simyard_http_seconds", text, buckets=cumulative, sum_value=self._seconds
        )
        by_state = GaugeMetricFamily("simyard_runs", "Unfinished runs by state", labels=["state"])
        counts = site.db.read(figures.runs_by_state)
        for state in State:
            if state not in (State.DRAFT, State.CLOSED):
                by_state.add_metric([state.value], counts.get(state, 0))
        yield by_state
        for name, text, value in (
            ("simyard_cores", "Cores that runs may take", site.machine.cores),
            (
                "simyard_cores_held",
                "Cores that are set aside for runs",
                site.db.read(figures.cores_held),
            ),
            ("simyard_blob_bytes_free", "Room left for blobs", site.blobs.store.free_bytes() or 0),
            ("simyard_event_streams", "Streams of events that are open", len(self._streams)),
            ("simyard_commits", "Commits since the start", site.db.commits),
            ("simyard_writes", "Writes since the start", site.db.writes),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        info = GaugeMetricFamily("simyard_info", "What runs here", labels=["version", "engine"])
        info.add_metric([__version__, site.engine.capabilities().name], 1)
        yield info
