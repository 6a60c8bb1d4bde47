"""Parameter studies: what makes a job one, in the job's definition.

A study is a job of many runs. Each run has values for the job's variables, which templates, the
environment and the user's program see. Words are those of the API (studies reference, section 1);
what has no public source there is ours and listed in docs/extensions.md.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from simyard.domain.records import dataclass


class Role(StrEnum):
    """`variableType` on the wire."""

    PARAM = "Param"
    DESIGN = "Design"  # an optimizer may choose it
    OUTPUT = "Output"  # a run brings it about
    CASE = "Case"  # the same design under several circumstances
    CONSTRAINT = "Constraint"  # an output that has limits
    OBJECTIVE = "Objective"  # an output that is to be small, large or near a target


INPUTS = frozenset({Role.PARAM, Role.DESIGN, Role.CASE})
OUTPUTS = frozenset({Role.OUTPUT, Role.CONSTRAINT, Role.OBJECTIVE})


@dataclass(frozen=True, kw_only=True)
class Variable:
    name: str
    role: Role = Role.PARAM
    order: int = 0  # displayOrder: the first varies slowest
    generator: str = ""  # valueGeneratorType as it was sent; "": values come from elsewhere
    settings: Mapping[str, object] = field(default_factory=dict)  # valueGeneratorSettings, as sent


@dataclass(frozen=True, kw_only=True)
class TemplateTask:
    template: str  # file id
    target: str  # where the rendered text goes, relative to the work folder
    keep_unknown: bool = False  # `${HOME}` of a shell script stays as it is


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the values of the variables with a generator are combined."""

    kind: str  # "sobol", "lhs", "box-behnken", ...: domain/designs.py
    count: int | None = None  # runs, where the kind lets one choose
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What chooses the next runs from those that are done."""

    method: str = "gp"  # "gp", "optuna", or "external": the runs come over the API
    budget: int = 0  # most runs
    settings: Mapping[str, object] = field(default_factory=dict)  # stop rules and the like
    sent: Mapping[str, object] = field(default_factory=dict)  # as it came over the wire


@dataclass(frozen=True, kw_only=True)
class Study:
    """The part of a job's definition that asks for more than one plain run."""

    param_file: str | None = None  # file id of the run-definition CSV
    case_file: str | None = None  # file id
    variables: tuple[Variable, ...] = ()  # as sent; of a saved job by displayOrder
    draws: int | None = None  # monteCarloIterations
    nominal_run: bool = False  # one more run with the nominal values
    dry_run: bool = False  # templates are rendered, nothing is executed
    design: Design | None = None
    optimizer: Optimizer | None = None
    seed: int | None = None  # of everything random; chosen once, when the job is saved
    expected_runs: int | None = None  # found when the job is saved, and when it is closed
    reals: tuple[str, ...] = ()  # found when it is saved: variables of real numbers

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but outputs: one run, as any job's."""
        given = (self.param_file, self.case_file, self.design, self.optimizer, self.inputs())
        return not any(given)

    def inputs(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.role in INPUTS)

    def outputs(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.role in OUTPUTS)


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a variable is in one run."""

    name: str
    text: str  # displayValue: what templates insert
    number: float | None  # None: the text is no finite number
    is_relative: bool = False  # text and number are the difference or factor to a default
