"""The tree of a run's files: of its live folder while it executes, of its stored outputs before and
after.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from simyard.domain.errors import Refused
from simyard.domain.files import modified_microseconds
from simyard.domain.runs import Run
from simyard.domain.trees import Entry, Page, Tree, Wanted
from simyard.service import live, workfolder
from simyard.service.site import Site
from simyard.store import files as store
from simyard.store.files import StoredRow

_MOST_LIVE = 150_000  # files of a live folder that are looked at
_LIVE_SECONDS = 2.0  # how old what is shown of a live folder may be
_ROWS_AT_ONCE = 5000
_MOST_KEPT = 250_000  # files, of all runs together: 300 bytes each


@dataclass(frozen=True)
class Look:
    page: Page
    is_live: bool
    is_partial: bool  # there are more files than are looked at


@dataclass
class _Kept:
    version: object = None
    tree: Tree = field(default_factory=lambda: Tree(()))
    lock: threading.Lock = field(default_factory=threading.Lock)


class TreeBook:
    """The trees of the runs that were looked at last. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by id of the run
        self._lock = threading.Lock()

    def page(self, run: Run, wanted: Wanted) -> Look:
        """Reads every file's row, or the whole folder: call it in a thread. Raises NotFound."""
        try:
            work = live.folder(self._site, run).work
        except Refused:
            work = None
        kept = self._entry(run)
        # The first who asks looks, the others wait for what he finds.
        with kept.lock:
            version: object = (run.token, run.outputs_version)  # ids of runs come again
            if work is not None:
                version = (run.token, time.monotonic() // _LIVE_SECONDS)
            if kept.version != version:
                kept.tree = self._stored(run) if work is None else _live(work)
                kept.version = version
            tree = kept.tree
        self._shrink()
        return Look(tree.page(wanted), work is not None, tree.is_partial)

    def _entry(self, run: Run) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(run.id, _Kept())
            self._kept.move_to_end(run.id)
            return kept

    def _shrink(self) -> None:
        """Forget what was asked for least lately, but for the last."""
        with self._lock:
            count = sum(1 + kept.tree.count for kept in self._kept.values())
            while count > _MOST_KEPT and len(self._kept) > 1:
                _, kept = self._kept.popitem(last=False)
                count -= 1 + kept.tree.count

    def _stored(self, run: Run) -> Tree:
        return Tree(
            Entry(row.relative_path, row.size_bytes, row.modified, row.code)
            for row in stored(self._site, run.job_id, run.number)
        )


def stored(site: Site, job_id: int, number: int) -> Iterator[StoredRow]:
    """All files that are listed of a run, in the order of the list."""
    after = -1
    while True:
        rows = site.db.read(store.stored_of_run, job_id, number, after=after, most=_ROWS_AT_ONCE)
        yield from rows
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = rows[-1].run_ordinal


def _live(work: Path) -> Tree:
    entries = list(islice(_entries(work), _MOST_LIVE + 1))
    return Tree(entries[:_MOST_LIVE], is_partial=len(entries) > _MOST_LIVE)


def _entries(work: Path) -> Iterator[Entry]:
    for found in workfolder.walk(work):
        at = modified_microseconds(found.mtime_ns)
        yield Entry(workfolder.shown(found.path), found.size, at)
