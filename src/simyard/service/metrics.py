"""What a run used over its time, as series: CPU, memory, processes, disk."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from simyard.domain.grammar import Series
from simyard.domain.lifecycle import LOCAL
from simyard.domain.records import dataclass
from simyard.domain.runs import Run, Sample
from simyard.service.site import Site
from simyard.store import runs as store


@dataclass(frozen=True)
class _Metric:
    key: str
    label: str
    unit: str
    values: Callable[[Sequence[Sample]], Iterable[tuple[float, float | None]]]


def _cores(samples: Sequence[Sample]) -> Iterator[tuple[float, float | None]]:
    """Cores that were busy, on average since the sample before."""
    before = Sample(seconds=0.0, cpu_seconds=0.0)
    for sample in samples:
        if sample.cpu_seconds is None or before.cpu_seconds is None:
            continue
        passed = sample.seconds - before.seconds
        if passed > 0:
            yield sample.seconds, max(0.0, sample.cpu_seconds - before.cpu_seconds) / passed
            before = sample


_METRICS = (
    _Metric("cpu", "CPU", "cores", _cores),
    _Metric("memory", "memory", "bytes", lambda all_: ((s.seconds, s.memory) for s in all_)),
    _Metric("processes", "processes", "", lambda all_: ((s.seconds, s.processes) for s in all_)),
    _Metric("disk", "disk", "bytes", lambda all_: ((s.seconds, s.disk) for s in all_)),
    _Metric("files", "files", "", lambda all_: ((s.seconds, s.files) for s in all_)),
)


def of_run(site: Site, run: Run) -> list[Series]:
    """What is known so far, against seconds since the payload began; empty where nothing is.
    Reads a file of a run that is alive: call it in a thread.
    """
    samples: Sequence[Sample] = ()
    if run.completed_at is not None:
        samples = site.db.read(store.samples, run.id)
    elif run.token is not None:
        samples = site.engine_of(run).samples(run.token)
    found = []
    for metric in _METRICS:
        series = Series(metric.key, metric.label, "metrics", metric.unit, log_scale=False)
        for x, y in metric.values(samples):
            if y is not None:
                series.x.append(x)
                series.y.append(y)
        if series.x:
            found.append(series)
    return found


@dataclass(frozen=True)
class Use:
    """What a run uses, beside what it may. None: nobody knows, or there is no limit."""

    seconds: float  # since its payload began
    used: dict[str, float | None]
    limits: dict[str, float | None]


def newest(site: Site, run: Run) -> Use | None:
    """Of a run that is alive; None where nothing is known (any more). Reads a file: call it in a
    thread.
    """
    if run.completed_at is not None or run.token is None:
        return None
    samples = site.engine_of(run).samples(run.token)
    if not samples:
        return None
    last = samples[-1]
    cores = list(_cores(samples[-2:])) if len(samples) > 1 else []
    allowance, here = site.allowance, site.machine.memory_mb * 10**6 * 9 // 10
    memory = allowance.memory or (here if run.engine == LOCAL else 0)
    return Use(
        last.seconds,
        {
            "cpu": cores[-1][1] if cores else None,
            "memory": last.memory,
            "processes": last.processes,
            "disk": last.disk,
            "files": last.files,
        },
        {
            "cpu": run.cores,
            "memory": memory or None,
            "processes": allowance.processes or None,
            "disk": allowance.disk or None,
            "files": allowance.files or None,
        },
    )
