"""Two runs of a study side by side: their values, and what their templates became."""

import math
from collections.abc import Iterator, Mapping, Sequence

from simyard.domain import templates as rules
from simyard.domain.errors import Damaged, Invalid, NotFound
from simyard.domain.files import File
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.domain.studies import Value
from simyard.domain.users import User
from simyard.service import templates
from simyard.service.restarting import as_run
from simyard.service.site import Site
from simyard.service.templates import Unrenderable
from simyard.store import files, jobs, runs

_MOST_BYTES = 8 << 20  # of a rendered template
_MOST_DIFF = 64 << 10  # characters of a difference
_MOST_DIFFS = 20
_CONTEXT = 3  # equal lines around a difference
_Block = tuple[int, int, int, int]  # lines [a1, a2) became [b1, b2)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a template differs between two runs."""

    path: str  # where it is written, below the work folder
    diff: str = ""  # unified; "": no difference
    is_cut: bool = False
    problem: str = ""  # why it cannot be said


@dataclass(frozen=True)
class Pair:
    """A variable in both runs."""

    name: str
    values: tuple[Value | None, Value | None]

    @property
    def is_same(self) -> bool:
        one, other = self.values
        if one is None or other is None:
            return one is other
        return one.text == other.text or (one.number is not None and one.number == other.number)

    @property
    def difference(self) -> float | None:
        """The second less the first."""
        one, other = (value.number if value else None for value in self.values)
        if one is None or other is None or not math.isfinite(other - one):
            return None
        return other - one


@dataclass(frozen=True, kw_only=True)
class Comparison:
    runs: tuple[Run, Run]
    inputs: Sequence[Pair]
    outputs: Sequence[Pair]  # what they told, however they ended
    differences: Sequence[Difference]


def compare(site: Site, viewer: User, code: str, asked: str) -> Comparison:
    """asked: the numbers of two runs, `3,9`. Raises NotFound, or Invalid at `runs`. Renders
    templates: call it in a thread.
    """
    job = site.db.read(jobs.visible, code, viewer.id)
    if job is None:
        raise NotFound
    parts = [part.strip() for part in asked.split(",", 3)]
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 10 for p in parts):
        raise Invalid.at("runs", "Name two runs: runs=3,9.")
    both = []
    for number in map(int, parts):
        run = site.db.read(runs.by_number, job.id, number)
        if run is None:
            raise NotFound(f"There is no run {number}.")
        both.append(run)
    first, second = both
    return Comparison(
        runs=(first, second),
        inputs=_pairs(*(run.inputs or () for run in both)),
        outputs=_pairs(*map(_told, both)),
        differences=_differences(site, job, first, second),
    )


def _told(run: Run) -> Sequence[Value]:
    return run.outputs.values if run.outputs and run.completed_at else ()


def _pairs(one: Sequence[Value], other: Sequence[Value]) -> list[Pair]:
    first, second = ({value.name: value for value in side} for side in (one, other))
    return [Pair(name, (first.get(name), second.get(name))) for name in {**first, **second}]


def _differences(site: Site, job: Job, one: Run, other: Run) -> list[Difference]:
    rendered = [_Rendered(site, as_run(job, run), run) for run in (one, other)]
    return [
        _difference(path, (one, rendered[0]), (other, rendered[1]))
        for path in list(dict.fromkeys([*rendered[0].paths, *rendered[1].paths]))[:_MOST_DIFFS]
    ]


class _Rendered:
    """The templates of a job as one run has them, each when it is asked for."""

    def __init__(self, site: Site, job: Job, run: Run) -> None:
        self._site, self._run = site, run
        self._how = templates.relative(job.definition.study)
        self._reals = templates.reals(job.definition.study)
        self._tasks = {rules.normal_target(task.target): task for task in templates.tasks(job)}
        codes = [task.template for task in self._tasks.values()]
        self._files: Mapping[str, File] = (
            site.db.read(files.usable, codes, job.owner_id) if codes else {}
        )

    @property
    def paths(self) -> list[str]:
        return list(self._tasks)

    def lines(self, path: str) -> list[str]:
        """Raises _CannotSay."""
        task = self._tasks.get(path)
        if task is None:
            return []
        file = self._files.get(task.template)
        if file is None:
            raise _CannotSay("its template was deleted")
        values = {value.name: value for value in self._run.inputs or ()}
        try:
            if file.blob.size_bytes > _MOST_BYTES:
                raise _CannotSay("it is too large to be compared")
            template = self._site.templates.template(file, keep_unknown=task.keep_unknown)
            more = sum(
                len(values[n].text) * len(u) for n, u in template.uses.items() if n in values
            )
            if file.blob.size_bytes + more > _MOST_BYTES:
                raise _CannotSay("it is too large to be compared")
            content = template.render(values, self._how, self._reals)
        except (rules.CannotRender, Unrenderable, Damaged) as error:
            raise _CannotSay(f"{file.name}:{error}") from None
        try:
            return content.decode().split("\n")
        except UnicodeDecodeError:
            return content.decode("latin-1").split("\n")


class _CannotSay(Exception):
    pass


def _difference(path: str, one: tuple[Run, _Rendered], other: tuple[Run, _Rendered]) -> Difference:
    sides = []
    for run, rendered in (one, other):
        try:
            sides.append(rendered.lines(path))
        except _CannotSay as error:
            return Difference(path=path, problem=f"Run {run.number}: {error}.")
    names = (f"run{one[0].number}/{path}", f"run{other[0].number}/{path}")
    text, is_cut = [], False
    left = _MOST_DIFF
    for line in unified(sides[0], sides[1], *names):
        if len(line) >= left:
            text.append(line[:left])
            is_cut = True
            break
        text.append(line)
        left -= len(line) + 1
    return Difference(path=path, diff="\n".join(text), is_cut=is_cut)


# --- differences ----------------------------------------------------------------------------------


def unified(a: Sequence[str], b: Sequence[str], name_a: str, name_b: str) -> Iterator[str]:
    """The lines of a unified diff, in time proportional to the texts: two renderings of a template
    have their lines at the same places. Where they do not, all between the equal lines at both ends
    is one difference.
    """
    blocks = _changed(a, b)
    if not blocks:
        return
    yield f"--- {name_a}"
    yield f"+++ {name_b}"
    hunk = [blocks[0]]
    for block in blocks[1:]:
        if block[0] - hunk[-1][1] > 2 * _CONTEXT:
            yield from _hunk(a, b, hunk)
            hunk = []
        hunk.append(block)
    yield from _hunk(a, b, hunk)


def _changed(a: Sequence[str], b: Sequence[str]) -> list[_Block]:
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    if len(a) != len(b):
        end = 0
        while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
            end += 1
        return [(start, len(a) - end, start, len(b) - end)]
    blocks: list[_Block] = []
    for i in range(start, len(a)):
        if a[i] == b[i]:
            continue
        if blocks and blocks[-1][1] == i:
            first = blocks[-1][0]
            blocks[-1] = (first, i + 1, first, i + 1)
        else:
            blocks.append((i, i + 1, i, i + 1))
    return blocks


def _hunk(a: Sequence[str], b: Sequence[str], blocks: Sequence[_Block]) -> Iterator[str]:
    a1, b1 = max(blocks[0][0] - _CONTEXT, 0), max(blocks[0][2] - _CONTEXT, 0)
    a2, b2 = min(blocks[-1][1] + _CONTEXT, len(a)), min(blocks[-1][3] + _CONTEXT, len(b))
    yield f"@@ -{_range(a1, a2)} +{_range(b1, b2)} @@"
    at = a1
    for start, end, b_start, b_end in blocks:
        yield from (f" {line}" for line in a[at:start])
        yield from (f"-{line}" for line in a[start:end])
        yield from (f"+{line}" for line in b[b_start:b_end])
        at = end
    yield from (f" {line}" for line in a[at:a2])


def _range(start: int, end: int) -> str:
    """First line from 1 and how many; an empty one is told by the line before it."""
    return f"{start + 1 if end > start else start},{end - start}"
