"""The plan of a study: which values its variables have in which run.

Rows of the run table, levels and joint points multiply: the variable with the lowest displayOrder
varies slowest, then come random points, which are the same in every cell of the grid, then the
rows of the case file (studies reference, section 4). Counting a plan makes none of its rows.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from simyard.domain.designs import (
    DESIGNS,
    BadDesign,
    DesignKind,
    Way,
    coded,
    design_kind,
    level_count,
    levels_of,
    one_at_a_time,
    placed,
    unknown_options,
)
from simyard.domain.errors import Invalid, Path, Problem
from simyard.domain.generators import (
    BadSettings,
    Distribution,
    Levels,
    generator,
    passed_over,
    text_of,
)
from simyard.domain.numberformat import canonical
from simyard.domain.records import dataclass
from simyard.domain.runtable import LONGEST_NAME, RunTable, is_name, value
from simyard.domain.studies import INPUTS, Design, Study, Value, Variable

MOST_VARIABLES = 1_000
MOST_VALUES = 2_000_000  # of all variables in all runs
_MOST_POINTS = 2**30  # of a sequence
_MOST_NOTICES = 20
_MOST_SINGLE = 100_000  # levels in one-at-a-time, which is expanded to be counted

Sample = Callable[..., list[list[float]]]  # numerics/sampling.py: `sample`
Row = tuple[Value, ...]
Raw = float | str  # a number that was drawn, or a text that is kept as it is


class BadPlan(Invalid):
    """The study cannot be expanded into runs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    count: int  # of the rows; the nominal run comes on top
    names: tuple[str, ...]  # of the values in a row: the inputs by displayOrder
    notices: tuple[str, ...] = ()
    nominal: Row | None = None  # of the nominal run, whose id is the last one
    reals: tuple[str, ...] = ()  # variables whose values are real numbers, whatever their texts
    _make: Callable[[], Iterator[Row]]

    def rows(self) -> Iterator[Row]:
        """The values of each run, in run order; the same at every call."""
        return self._make()


def plan(
    study: Study,
    table: RunTable | None,
    cases: RunTable | None,
    sample: Sample,
    *,
    defaults: Mapping[str, str] | None = None,
    most_runs: int,
) -> Plan:
    """What the study comes to. `defaults` are those of its templates, for nominal values.

    A study with an optimizer has no rows: it chooses them. Raises BadPlan with everything that is
    wrong, and what `sample` raises where a design needs packages that are not there.
    """
    planning = _Planning(study, table, cases, defaults or {})
    blocks = [] if study.optimizer else planning.blocks()
    nominal = planning.nominal_row() if study.nominal_run else None
    if not planning.problems and not study.optimizer:
        planning.check_count(blocks, most_runs)
    if planning.problems:
        raise BadPlan(planning.problems)
    _try_out(blocks, sample, study.seed or 0)
    return Plan(
        count=0 if study.optimizer else math.prod(block.count for block in blocks),
        names=planning.names,
        notices=tuple(planning.notices),
        nominal=nominal,
        reals=planning.reals(),
        _make=lambda: iter(()) if study.optimizer else planning.rows(blocks, sample),
    )


def faults(
    study: Study,
    table: RunTable | None,
    cases: RunTable | None,
    defaults: Mapping[str, str] | None = None,
) -> list[Problem]:
    """What is wrong with a study of which a table cannot be read, whatever may be in it."""
    planning = _Planning(study, table, cases, defaults or {}, is_whole=False)
    if not study.optimizer:
        planning.blocks()
    return planning.problems


def extend(
    study: Study,
    table: RunTable | None,
    cases: RunTable | None,
    sample: Sample,
    *,
    done: int,
    more: int,
    most_runs: int,
) -> Iterator[Row]:
    """The rows of `more` points of a sequence of which `done` are there already.

    Points, not runs: each is combined with the grid and the cases as in the plan. Raises BadPlan
    for designs that were made for their number of runs.
    """
    planning = _Planning(study, table, cases, {})
    name = study.design.kind if study.design else "monte-carlo"
    kind = design_kind(name)
    if kind is not None and not kind.can_grow:
        growing = ", ".join(k.name for k in DESIGNS.values() if k.can_grow)
        planning.problem(
            ("design", "kind"),
            f"{kind.name} was made for its number of runs; only {growing} can be extended",
        )
    if study.optimizer:
        planning.problem(("optimizer",), "the optimizer chooses the runs of this study")
    if done < 0 or more < 1 or done + more > _MOST_POINTS:
        planning.problem(("design", "count"), "the number of points to add is not possible")
    blocks = planning.blocks(points=(done, more))
    if not planning.problems and not any(block.kind for block in blocks):
        planning.problem(("jobvariables",), "no variable is random: there is nothing to extend")
    count = math.prod(block.count for block in blocks)
    if count > most_runs or count * max(len(planning.names), 1) > MOST_VALUES:
        planning.problem(("count",), f"{_many(count)} more runs are too many")
    if planning.problems:
        raise BadPlan(planning.problems)
    _try_out(blocks, sample, study.seed or 0)
    return planning.rows(blocks, sample)


# --- what multiplies ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Variables whose values belong together: one factor of the product."""

    names: tuple[str, ...]
    count: int
    rows: Callable[[], Sequence[tuple[Raw, ...]]] = tuple  # not for samples
    # Samples only:
    kind: str = ""
    distributions: tuple[Distribution, ...] = ()
    skip: int = 0

    def made(self, sample: Sample, seed: int) -> Sequence[tuple[Raw, ...]]:
        if not self.kind:
            return self.rows()
        points = sample(
            self.kind,
            dimensions=len(self.distributions),
            count=self.count,
            seed=seed,
            skip=self.skip,
        )
        return [
            tuple(d.at(u) for d, u in zip(self.distributions, point, strict=True))
            for point in points
        ]


def _try_out(blocks: Sequence[_Block], sample: Sample, seed: int) -> None:
    """Whether packages are missing should not first be seen when the runs are made."""
    for block in blocks:
        if block.kind and DESIGNS[block.kind].needs_extra:
            sample(block.kind, dimensions=1, count=1, seed=seed, skip=0)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A variable that brings its values with it."""

    variable: Variable
    values: Levels | Distribution

    @property
    def name(self) -> str:
        return self.variable.name


class _Planning:
    """Gathers what the study says, and everything that is wrong with it."""

    def __init__(
        self,
        study: Study,
        table: RunTable | None,
        cases: RunTable | None,
        defaults: Mapping[str, str],
        *,
        is_whole: bool = True,  # no table is missing
    ) -> None:
        self.problems: list[Problem] = []
        self.notices: list[str] = []
        self._study = study
        self._table = table
        self._cases = cases
        self._is_whole = is_whole
        self._defaults = defaults
        self._inputs: list[tuple[int, Variable]] = []
        self._sources: list[_Source] = []
        self._unread: set[str] = set()  # variables whose generator is wrong
        self._relative: dict[str, str] = {}
        self._between: set[str] = set()  # whole numbers, and a design takes others between them
        if len(study.variables) > MOST_VARIABLES:
            message = f"{len(study.variables)} variables; at most {MOST_VARIABLES} are allowed"
            self.problem(("jobvariables",), message)
        else:
            self._look_at_variables()
        listed = [variable.name for _, variable in self._inputs]
        columns = [name for t in (table, cases) if t for name in t.names]
        first = [n for n in (table.names if table else ()) if n not in listed]
        last = [n for n in columns if n not in listed and n not in first]
        self.names = (*first, *listed, *last)

    def problem(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))

    # --- variables

    def _look_at_variables(self) -> None:
        in_table = set(self._table.names) if self._table else set()
        in_cases = set(self._cases.names) if self._cases else set()
        for name in sorted(in_table & in_cases):
            self.problem(("caseFile",), f'"{name}" is also a column of the paramFile')
        known: set[str] = set()
        for i, variable in enumerate(self._study.variables):
            name = variable.name
            path = ("jobvariables", i, "name")
            if not is_name(name):
                self.problem(
                    path,
                    f'"{name[:40]}" cannot be a variable\'s name (letters, digits and _, '
                    f"no digit first, at most {LONGEST_NAME})",
                )
            if name in known:
                self.problem(path, f'there are two variables "{name}"')
                continue
            known.add(name)
            column = "paramFile" if name in in_table else "caseFile" if name in in_cases else ""
            if variable.role in INPUTS:
                self._inputs.append((i, variable))
                self._look_at_input(i, variable, column)
            elif column:
                self.problem(path, f'"{name}" is an output, and also a column of the {column}')

    def _look_at_input(self, i: int, variable: Variable, column: str) -> None:
        name = variable.name
        brings_values = bool(variable.generator.strip()) or "values" in variable.settings
        if column and brings_values:
            message = f'"{name}" has a generator and is also a column of the {column}'
            self.problem(("jobvariables", i, "name"), message)
        elif brings_values:
            self._read_generator(i, variable)
        elif not column and not self._study.optimizer and self._is_whole:
            message = f'"{name}" has no values: it needs a generator or a column in a file'
            self.problem(("jobvariables", i, "valueGeneratorType"), message)
        for key, meant in passed_over(variable.generator, variable.settings):
            if len(self.notices) < _MOST_NOTICES:
                self.notices.append(f'{name}: the setting "{key:.100}" is passed over{meant}.')
        relative = variable.settings.get("relative")
        if relative in ("add", "factor"):
            self._relative[name] = str(relative)
            if any(s.name == name and not s.values.is_numeric for s in self._sources):
                self._setting(i, "relative", "is for numbers; these values are texts")
        elif relative not in (None, "", False):
            self._setting(i, "relative", 'must be "add" or "factor"')

    def _read_generator(self, i: int, variable: Variable) -> None:
        try:
            made = generator(variable.generator, variable.settings)
        except BadSettings as error:
            self._unread.add(variable.name)
            for key, message in error.faults:
                if key:
                    self._setting(i, key, message)
                else:
                    self.problem(("jobvariables", i, "valueGeneratorType"), message)
        else:
            self._sources.append(_Source(variable=variable, values=made))

    def _setting(self, i: int, key: str, message: str) -> None:
        self.problem(("jobvariables", i, "valueGeneratorSettings", key), message)

    # --- blocks

    def blocks(self, points: tuple[int, int] | None = None) -> list[_Block]:
        """The factors of the product, the slowest first; `points`: those there, those to make."""
        generated = self._generated(points)
        listed = {variable.name: n for n, (_, variable) in enumerate(self._inputs)}
        ordered = [(listed[b.names[0]], b) for b in generated if not b.kind]
        if self._table:
            place = min((listed.get(name, -1) for name in self._table.names), default=-1)
            ordered.append((place, _of_table(self._table)))
        ordered.sort(key=lambda pair: pair[0])
        blocks = [block for _, block in ordered]
        blocks += [block for block in generated if block.kind]
        if self._cases:
            blocks.append(_of_table(self._cases))
        return blocks

    def _generated(self, points: tuple[int, int] | None) -> list[_Block]:
        design = self._study.design
        if design is None:
            return self._levels() + self._samples("monte-carlo", points)
        kind = design_kind(design.kind)
        if kind is None:
            known = ", ".join(DESIGNS)
            message = f'there is no design "{design.kind[:40]}"; there are {known}'
            self.problem(("design", "kind"), message)
            return []
        if not self._sources:
            if not self._unread:
                message = f"{kind.name} needs variables with a generator; there are none"
                self.problem(("design", "kind"), message)
            return []
        if points is None:  # else it was planned before
            for key, message in unknown_options(kind, design.options):
                self.problem(("design", "options", key), message)
        try:
            if kind.way is Way.SAMPLE:
                return self._levels() + self._samples(kind.name, points)
            if kind.way is Way.CODED:
                return self._coded(kind, design)
            levels = level_count(design.options, 3 if kind.name == "grid" else 2)
            return self._grid(levels) if kind.name == "grid" else self._one_at_a_time(levels)
        except BadDesign as error:
            for key, message in error.faults:
                path = ("kind",) if key == "kind" else ("options", key)
                self.problem(("design", *path), message)
            return []

    def _levels(self) -> list[_Block]:
        return [
            _of_levels(source.name, source.values)
            for source in self._sources
            if isinstance(source.values, Levels)
        ]

    def _samples(self, kind: str, points: tuple[int, int] | None) -> list[_Block]:
        random = [
            (source.name, source.values)
            for source in self._sources
            if isinstance(source.values, Distribution)
        ]
        design, draws = self._study.design, self._study.draws
        if not random:
            if design and not self._unread:
                message = f"{kind} needs a variable with a distribution (Uniform, Normal, ...)"
                self.problem(("design", "kind"), message)
            return []
        path: Path = ("design", "count") if design else ("monteCarloIterations",)
        count = design.count if design and design.count is not None else draws
        if points is None and (count is None or not 1 <= count <= _MOST_POINTS):
            named = ", ".join(name for name, _ in random[:5])
            message = f"must be at least 1: random variables ({named}) need a number of draws"
            self.problem(path, message if count is None or count < 1 else f"{count} is too many")
            return []
        skip, count = points or (0, count or 0)
        if kind == "sobol" and points is None and count & (count - 1):
            low = 1 << (count.bit_length() - 1)
            self.notices.append(
                f"Sobol points are evenest when there are 2^k of them: "
                f"{low} or {2 * low} rather than {count}."
            )
        names, distributions = zip(*random, strict=True)
        return [_Block(names=names, count=count, kind=kind, distributions=distributions, skip=skip)]

    def _grid(self, levels: int) -> list[_Block]:
        blocks = []
        for source in self._sources:
            if isinstance(source.values, Levels):
                blocks.append(_of_levels(source.name, source.values))
                continue
            texts = self._texts(source.values, levels)
            if texts is None:
                self._no_range("grid", source.name)
            else:
                blocks.append(_of_levels(source.name, texts))
        return blocks

    def _one_at_a_time(self, levels: int) -> list[_Block]:
        """Around the nominal values. Levels that are nominal are not run twice."""
        found: list[tuple[Raw, ...]] = []
        most = sum(s.values.count for s in self._sources if isinstance(s.values, Levels))
        if most > _MOST_SINGLE:
            message = f"one-at-a-time: {most} levels; at most {_MOST_SINGLE} are allowed"
            raise BadDesign([("kind", message)])
        for source in self._sources:
            texts = self._texts(source.values, levels)
            nominal = self._nominal(source.variable, source)
            if texts is None:
                self._no_range("one-at-a-time", source.name)
            if nominal is None:
                message = f"one-at-a-time: no nominal value for {source.name}"
                self.problem(("design", "kind"), message)
            if texts is not None and nominal is not None:
                found.append(_others(nominal, texts))
        if len(found) < len(self._sources):
            return []
        counts = [len(texts) - 1 for texts in found]

        def rows() -> Sequence[tuple[Raw, ...]]:
            return [
                tuple(texts[i] for texts, i in zip(found, indices, strict=True))
                for indices in one_at_a_time(counts)
            ]

        return [_Block(names=self._generated_names(), count=1 + sum(counts), rows=rows)]

    def _coded(self, kind: DesignKind, design: Design) -> list[_Block]:
        table = coded(kind, len(self._sources), design.options)
        if design.count is not None and design.count != table.count:
            self.problem(
                ("design", "count"),
                f"{kind.name} has {_many(table.count)} runs for "
                f"{len(self._sources)} variables, not {design.count}: leave the count out",
            )
        fitting = True
        for source in self._sources:
            ends = [placed(source.values, place) for place in (-1, 1)]
            if None in ends or ends[0] == ends[1]:
                self._no_range(kind.name, source.name)
                fitting = False
            elif any(placed(source.values, place) is None for place in table.places):
                message = f"{kind.name}: the values of {source.name} have none in the middle"
                self.problem(("design", "kind"), message)
                fitting = False
        if not fitting:
            return []
        if max(table.places) > 1:
            self.notices.append(f"Some runs of the {kind.name} design lie beyond the ranges.")
        values = [source.values for source in self._sources]

        for source in self._sources:
            if source.values.choices() is None:
                texts = (placed(source.values, place) or "" for place in table.places)
                if not all(text.lstrip("-").isdigit() for text in texts):
                    self._between.add(source.name)

        def rows() -> Sequence[tuple[Raw, ...]]:
            texts = [{place: placed(v, place) or "" for place in table.places} for v in values]
            return [
                tuple(known[place] for known, place in zip(texts, point, strict=True))
                for point in table.points()
            ]

        return [_Block(names=self._generated_names(), count=table.count, rows=rows)]

    def reals(self) -> tuple[str, ...]:
        """Variables whose numbers have a point in every run. One that is whole by chance in a run
        is of the same kind there as in the others.
        """
        return tuple(
            source.name
            for source in self._sources
            if source.values.is_real or source.name in self._between
        )

    def _generated_names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self._sources)

    def _no_range(self, kind: str, name: str) -> None:
        message = f"{kind}: {name} has no range; give it a lower and an upper limit"
        self.problem(("design", "kind"), message)

    @staticmethod
    def _texts(values: Levels | Distribution, levels: int) -> Levels | None:
        return values if isinstance(values, Levels) else levels_of(values, levels)

    # --- counting, nominal values, rows

    def check_count(self, blocks: Sequence[_Block], most_runs: int) -> None:
        count = math.prod(block.count for block in blocks)
        runs = count + self._study.nominal_run
        values = runs * max(len(self.names), 1)
        if runs <= most_runs and values <= MOST_VALUES and count:
            return
        path: Path = ("jobvariables",)
        if self._study.design:
            path = ("design", "count")
        elif any(block.kind for block in blocks):
            path = ("monteCarloIterations",)
        elif not self._sources:
            path = ("paramFile",) if self._table else ("caseFile",)
        if runs > most_runs:
            self.problem(path, f"{_many(runs)} runs; at most {most_runs} are allowed")
        elif count:
            message = f"{_many(values)} values in all runs; at most {MOST_VALUES} are allowed"
            self.problem(path, message)
        else:
            self.problem(path, "the study comes to 0 runs")

    def nominal_row(self) -> Row | None:
        variables = {variable.name: variable for _, variable in self._inputs}
        sources = {source.name: source for source in self._sources}
        found = []
        for name in self.names:
            if name in self._unread:  # its fault is known already
                continue
            variable = variables.get(name, Variable(name=name))
            raw = self._nominal(variable, sources.get(name))
            if raw is None:
                self.problem(("includeNominalRun",), f"no nominal value for {name}")
            else:
                found.append(self._value(name, raw))
        return tuple(found)

    def _nominal(self, variable: Variable, source: _Source | None) -> Raw | None:
        """The setting; else what stands in the template; else the middle of the values."""
        sent = variable.settings.get("nominal")
        if sent is not None:
            text = text_of(sent)
            if text is not None:
                return text
            i = next(i for i, known in self._inputs if known is variable)
            path = ("jobvariables", i, "valueGeneratorSettings", "nominal")
            problem = Problem(path, "must be a number or a text")
            if problem not in self.problems:
                self.problems.append(problem)
            return ""
        if variable.name in self._relative:  # the default in the template as it is
            return "0" if self._relative[variable.name] == "add" else "1"
        if variable.name in self._defaults:
            return self._defaults[variable.name]
        return None if source is None else source.values.centre()

    def rows(self, blocks: Sequence[_Block], sample: Sample) -> Iterator[Row]:
        made = [block.made(sample, self._study.seed or 0) for block in blocks]
        sent = [name for block in blocks for name in block.names]
        places = [(name, sent.index(name)) for name in self.names]
        for combination in itertools.product(*made):
            raw = tuple(itertools.chain.from_iterable(combination))
            yield tuple(self._value(name, raw[place]) for name, place in places)

    def _value(self, name: str, raw: Raw) -> Value:
        is_relative = name in self._relative
        if isinstance(raw, str):
            plain = value(name, raw)
            return replace(plain, is_relative=True) if is_relative else plain
        return Value(name=name, text=canonical(raw), number=raw, is_relative=is_relative)


# --- values ---------------------------------------------------------------------------------------


def _of_table(table: RunTable) -> _Block:
    return _Block(names=table.names, count=len(table.rows), rows=lambda: table.rows)


def _of_levels(name: str, levels: Levels) -> _Block:
    return _Block(
        names=(name,), count=levels.count, rows=lambda: [(text,) for text in levels.values]
    )


def _others(nominal: Raw, levels: Levels) -> tuple[Raw, ...]:
    """The nominal value and all levels that differ from it."""
    same = value("", nominal).number if isinstance(nominal, str) else nominal
    return (
        nominal,
        *(
            text
            for text in levels.values
            if text != nominal and (same is None or value("", text).number != same)
        ),
    )


def _many(count: int) -> str:
    return str(count) if count < 10**15 else "more than 1e15"
