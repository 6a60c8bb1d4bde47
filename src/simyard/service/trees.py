"""The tree of a run's files: of its live folder while it executes, of its stored outputs before and
after.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path

from simyard.domain.errors import Refused
from simyard.domain.files import modified_microseconds
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.domain.trees import Entry, Page, StoredTree, Tree, Wanted
from simyard.service import live, workfolder
from simyard.service.site import Site
from simyard.store import files as store
from simyard.store.files import StoredRow

_MOST_LIVE = 150_000  # files, folders and links of a live folder that are looked at
# How old what is shown of a live folder may be: at most so long, and so many times as long as it
# took to look.
_LIVE_SECONDS = 2.0
_LIVE_TIMES = 20
_ROWS_AT_ONCE = 5000
_MOST_KEPT_BYTES = 150_000_000  # of all runs together


@dataclass(frozen=True)
class Look:
    page: Page
    is_live: bool
    is_partial: bool  # there are more files than are looked at


@dataclass
class _Kept:
    version: object = None
    good_until: float = 0.0  # while the folder is live
    tree: Tree = field(default_factory=lambda: Tree(()))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_of(self, run: Run, work: Path | None) -> bool:
        """Whether the tree is that of a run now."""
        is_good = work is None or time.monotonic() < self.good_until
        return self.version == _version(run, work) and is_good


class TreeBook:
    """The trees of the runs that were looked at last. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by id of the run
        self._lock = threading.Lock()

    def known(self, run: Run, wanted: Wanted) -> Look | None:
        """A page that takes no looking up; None where it does. Call it in a thread. Raises
        NotFound.
        """
        work = self._work(run)
        kept = self._entry(run)
        with self._lock:
            tree = kept.tree if kept.is_of(run, work) else None
        if tree is None or not tree.has(wanted):
            return None
        return Look(tree.page(wanted), work is not None, tree.is_partial)

    def page(self, run: Run, wanted: Wanted) -> Look:
        """Looks into the database, or through the whole work folder: call it in a thread. Raises
        NotFound.
        """
        work = self._work(run)
        kept = self._entry(run)
        # The first who asks looks, the others wait for what he finds.
        with kept.lock:
            if not kept.is_of(run, work):
                began = time.monotonic()
                tree = self._stored(run) if work is None else _live(work)
                with self._lock:
                    kept.tree, kept.version = tree, _version(run, work)
                    now = time.monotonic()
                    kept.good_until = now + min(_LIVE_SECONDS, _LIVE_TIMES * (now - began))
            tree = kept.tree
            try:
                page = tree.page(wanted)
            finally:
                self._shrink()
        return Look(page, work is not None, tree.is_partial)

    def _work(self, run: Run) -> Path | None:
        try:
            return live.folder(self._site, run).work
        except Refused:
            return None

    def _entry(self, run: Run) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(run.id, _Kept())
            self._kept.move_to_end(run.id)
            return kept

    def _shrink(self) -> None:
        """Forget what was asked for least lately, but for the last."""
        with self._lock:
            weight = sum(kept.tree.weight_bytes for kept in self._kept.values())
            while weight > _MOST_KEPT_BYTES and len(self._kept) > 1:
                _, kept = self._kept.popitem(last=False)
                weight -= kept.tree.weight_bytes

    def _stored(self, run: Run) -> Tree:
        db, job_id, number = self._site.db, run.job_id, run.number

        def look_up(folder: str | None) -> Iterable[Entry]:
            return db.read(store.tree_of_run, job_id, number, folder)

        return StoredTree(db.read(store.folders_of_run, job_id, number), look_up)


def _version(run: Run, work: Path | None) -> object:
    """Ids of runs come again, tokens do not."""
    return run.token, run.outputs_version if work is None else work


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
    bound = workfolder.Bound(_MOST_LIVE)
    entries = list(_entries(work, bound))
    return Tree(entries, is_partial=bound.is_reached)


def _entries(work: Path, bound: workfolder.Bound) -> Iterator[Entry]:
    for found in workfolder.walk(work, bound):
        at = modified_microseconds(found.mtime_ns)
        yield Entry(workfolder.shown(found.path), found.size, at)
