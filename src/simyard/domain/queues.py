"""When a run would get its cores, from how long those before it may take."""

import heapq
from collections.abc import Iterable

from simyard.domain.records import dataclass


@dataclass(frozen=True)
class Share:
    """Cores, and for how many seconds more (or once it has them) a run may keep them."""

    cores: int
    seconds: float


def seconds_until(
    cores: int, total: int, held: Iterable[Share], ahead: Iterable[Share]
) -> float | None:
    """In how many seconds a run of so many cores begins if those that hold some of the `total` and
    those `ahead` take all their time. The first in the queue is never passed. None where it never
    does: a run is larger than the machine.
    """
    ends = [(share.seconds, share.cores) for share in held]
    heapq.heapify(ends)
    free, now = total - sum(count for _, count in ends), 0.0
    for share in (*ahead, Share(cores, 0.0)):
        while free < share.cores:
            if not ends:
                return None
            end, count = heapq.heappop(ends)
            now, free = max(now, end), free + count
        heapq.heappush(ends, (now + share.seconds, share.cores))
        free -= share.cores
    return now
