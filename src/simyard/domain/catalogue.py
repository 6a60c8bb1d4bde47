"""The catalogue: which solvers can be asked for, on which core types, and what that means here.

Facts come from TOML files (`simyard/catalogue/*.toml` and the site's own); this module holds their
shape and the rules. Reading files and probing programs is `service/catalogue.py`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from simyard.domain.grammar import Endings, Grammar, Rules, Weight
from simyard.domain.lifecycle import LOCAL
from simyard.domain.records import dataclass
from simyard.domain.stops import Checkpoint, StopRecipe

_T = TypeVar("_T")


class Tier(StrEnum):
    """How close what runs is to what was asked for."""

    SAME = "same"  # it is the version that was asked for
    NEAR = "near"  # another release of the same line: existing cases are expected to run
    FAR = "far"  # another line or another build: a gamble, and said so


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a user should know about a job, beside its status."""

    code: str  # stable, for programs: "version-alias", "cores-shared", ...
    message: str  # a sentence, for people


# --- core types -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the computer that runs the jobs has."""

    cores: int
    memory_mb: int
    storage_gb: int
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """What a batch scheduler is asked for with the cores of a core type. "": nothing is said."""

    partition: str = ""
    constraint: str = ""
    account: str = ""
    qos: str = ""
    gpu: str = ""  # the name of its GPUs, as in "gpu:a100"; the number is the core type's
    memory_mb: int = 0  # per core; 0: what the site gives
    options: tuple[str, ...] = ()  # of the submitting command, as they are
    low_priority: tuple[str, ...] = ()  # likewise, for jobs with low priority


@dataclass(frozen=True, kw_only=True)
class CoreType:
    code: str
    name: str  # the marketing name; accepted in place of the code
    cores: tuple[int, ...]  # core counts within one node, ascending; the last is a whole node
    memory_mb: int  # per core
    storage_gb: int  # per core
    gpus: tuple[int, ...] = ()  # parallel to `cores`; empty: none
    categories: tuple[str, ...] = ("general",)
    processor: str = ""
    description: str = ""
    primary: bool = False
    also: tuple[str, ...] = ()  # codes accepted in its place, never listed
    price: float = 0.0  # per core-hour
    low_priority_price: float = 0.0
    display_order: int = 0
    engine: str = ""  # what runs its jobs; "": the installation's
    scheduler: Scheduler = field(default_factory=Scheduler)

    def offers(self, cores: int) -> bool:
        """A listed count, or a whole number of nodes."""
        return cores in self.cores or (cores > 0 and cores % self.cores[-1] == 0)

    def price_micros(self, *, low_priority: bool) -> int:
        """Of a core and hour, in millionths."""
        return round((self.low_priority_price if low_priority else self.price) * 1_000_000)

    @property
    def is_elsewhere(self) -> bool:
        """Whether a scheduler gives its cores, and not this machine."""
        return self.engine not in ("", LOCAL)

    @property
    def needs_gpus_here(self) -> bool:
        return bool(self.gpus) and not self.is_elsewhere

    def nodes(self, cores: int) -> int:
        return -(-cores // self.cores[-1])

    def gpus_of(self, cores: int) -> int:
        """How many GPUs come with so many cores, on each node."""
        if not self.gpus:
            return 0
        return self.gpus[self.cores.index(cores)] if cores in self.cores else self.gpus[-1]

    @property
    def offer(self) -> str:
        """The counts in words, for an error message."""
        listed = ", ".join(map(str, self.cores))
        return f"{listed}, or a multiple of {self.cores[-1]}"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What a request for cores comes to on this machine (catalogue reference, section 3.3)."""

    core_type: CoreType
    ranks: int  # what the job is told it has (RESCALE_CORES_PER_SLOT)
    charge: int  # cores set aside in the queue
    nodes: int
    gpus: int = 0  # per node; of this machine where it runs here
    notices: tuple[Notice, ...] = ()

    @property
    def shares_cores(self) -> bool:
        return self.ranks > self.charge


_NOT_ISOLATED = Notice(
    code="not-isolated",
    message="This job runs on several nodes, and so without the sandbox: what runs on others than"
    " the first cannot be held in it.",
)


def place(
    core_type: CoreType, cores_per_slot: int, machine: Machine, *, oversubscribe_max: int
) -> Placement:
    """Cores asked for against cores there are.

    A case is decomposed for the number that was asked for, so ranks stay what was requested and
    share cores, up to `oversubscribe_max` times the machine; beyond that the number is cut to the
    machine's, and a notice says so.
    """
    nodes = core_type.nodes(cores_per_slot)
    if core_type.is_elsewhere:  # what the nodes have is its scheduler's affair
        return Placement(
            core_type=core_type,
            ranks=cores_per_slot,
            charge=cores_per_slot,
            nodes=nodes,
            gpus=core_type.gpus_of(cores_per_slot),
            notices=(_NOT_ISOLATED,) if nodes > 1 else (),
        )
    charge = min(cores_per_slot, machine.cores)
    here = f"This machine has {machine.cores} core{'s' if machine.cores > 1 else ''}"
    notices: tuple[Notice, ...] = ()
    if cores_per_slot <= machine.cores:
        ranks = cores_per_slot
    elif cores_per_slot <= oversubscribe_max * machine.cores:
        ranks = cores_per_slot
        notices = (
            Notice(
                code="cores-shared",
                message=f"{here}: the {cores_per_slot} ranks of this job share them.",
            ),
        )
    else:
        ranks = machine.cores
        notices = (
            Notice(
                code="cores-clamped",
                message=f"{here}: the {cores_per_slot} cores asked for are cut to {ranks}.",
            ),
        )
    return Placement(
        core_type=core_type,
        ranks=ranks,
        charge=charge,
        nodes=nodes,
        gpus=machine.gpus,
        notices=notices,
    )


# --- analyses -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How to see whether a program is really there: presence plus a pattern on what it prints.

    The return code proves nothing: several healthy solvers end their version option with an error.
    """

    command: tuple[str, ...]  # argv; the first word is looked up on the job's PATH
    pattern: str  # must be found in the output; a group named `version` names the release
    package: str  # what a Debian or Ubuntu machine installs to have it
    program: str = ""  # must be on the job's PATH too; for a command that only asks about it


@dataclass(frozen=True, kw_only=True)
class Version:
    code: str  # what jobs send as analysis.version
    name: str  # what people read


@dataclass(frozen=True, kw_only=True)
class Alias:
    """Version codes of elsewhere that run on what is installed here."""

    pattern: str  # on the version code without its MPI suffix
    tier: Tier
    listed: tuple[str, ...] = ()  # codes known from public scripts: clients check the list first


@dataclass(frozen=True, kw_only=True)
class Helpers:
    """Small programs that the vendor's image has and a distribution's package leaves out."""

    folder: str  # below simyard/catalogue/helpers
    links: Mapping[str, str] = field(default_factory=dict)  # name in the folder -> absolute target


@dataclass(frozen=True, kw_only=True)
class LicenseSetting:
    """A variable by which jobs say where their licences come from."""

    name: str  # of the environment variable
    label: str
    license_type: str = ""  # "Flex", "RLM", ...
    is_server: bool = True  # its value names a licence server
    help_text: str = ""  # what its value looks like


@dataclass(frozen=True, kw_only=True)
class Analysis:
    code: str
    name: str
    description: str = ""  # HTML, as the API has it
    vendor: str = ""
    industries: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # codes accepted in its place, never listed
    featured: bool = False  # listed before the others: many clients read one page only
    probe: Probe | None = None  # None: always there
    version_code: str = "0"  # may hold {version} of the probe
    version_name: str = "CPU"
    default_version: str = ""  # {version} while it is not installed
    aliases: tuple[Alias, ...] = ()
    std_command: str = ""
    smp_command: str = ""
    mpi_command: str = ""
    path: tuple[str, ...] = ()  # folders put before the job's PATH; {helpers} is the helper folder
    path_after: tuple[str, ...] = ()  # folders put after it
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[str, ...] = ()  # folders beside the system's that the sandbox must show
    helpers: Helpers | None = None
    network: bool = True  # False: no network inside its sandbox
    license_settings: tuple[LicenseSetting, ...] = ()
    grammar: Grammar | None = None
    rules: Rules | None = None  # how its end is judged
    rules_of: str = ""  # in place of `rules`: the analysis whose rules hold here too
    verdict: Weight = Weight.DECIDES
    line_buffered: bool = False  # its programs, in C, are made to write lines and not blocks
    stop: tuple[StopRecipe, ...] = ()  # ways to ask for its end, tried in order
    checkpoint: Checkpoint | None = None  # what it can go on from


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What a probe saw."""

    installed: bool
    version: str = ""
    detail: str = ""  # why not, in words


@dataclass(frozen=True, kw_only=True)
class ListedVersion:
    version: Version
    alias_of: str | None  # version code that really runs; None: this one does


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a requested analysis and version come to."""

    analysis: Analysis
    asked: str  # version code as the job keeps it
    runs: Version
    tier: Tier

    @property
    def notice(self) -> Notice | None:
        if self.tier is Tier.SAME:
            return None
        gamble = " It is of another line: the case may not run." if self.tier is Tier.FAR else ""
        return Notice(
            code=f"version-{self.tier}",
            message=f"{self.analysis.name} {self.asked} was asked for; {self.runs.name} runs in"
            f" its place.{gamble}",
        )


def fold(code: str) -> str:
    """Codes and names are compared without case, and blank, "-" and "_" are the same."""
    return code.strip().lower().replace(" ", "_").replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    analyses: tuple[Analysis, ...]
    core_types: tuple[CoreType, ...]
    presence: Mapping[str, Presence]  # by analysis code
    strip_suffix: str = ""  # regular expression: the MPI suffixes of version codes
    env: Mapping[str, str] = field(default_factory=dict)  # for every job
    endings: Endings = field(default_factory=Endings)

    @cached_property
    def _by_code(self) -> dict[str, Analysis]:
        return _index((a.code, (a.name, *a.also), a) for a in self.analyses)

    @cached_property
    def _core_types(self) -> dict[str, CoreType]:
        return _index((c.code, (c.name, *c.also), c) for c in self.core_types)

    @cached_property
    def all_installed(self) -> bool:
        return all(present.installed for present in self.presence.values())

    def analysis(self, code: str) -> Analysis | None:
        return self._by_code.get(fold(code))

    def core_type(self, code: str) -> CoreType | None:
        """By code or by name."""
        return self._core_types.get(fold(code))

    def present(self, analysis: Analysis) -> Presence:
        return self.presence[analysis.code]

    def version_of(self, analysis: Analysis) -> Version:
        """The version that is installed, or that would be."""
        seen = self.present(analysis).version or analysis.default_version
        return Version(
            code=analysis.version_code.replace("{version}", seen),
            name=analysis.version_name.replace("{version}", seen),
        )

    def versions(self, analysis: Analysis) -> list[ListedVersion]:
        """The real version first: clients take the first as the newest. Then the aliases."""
        real = self.version_of(analysis)
        listed = [ListedVersion(version=real, alias_of=None)]
        for alias in analysis.aliases:
            listed += [
                ListedVersion(version=Version(code=code, name=self._bare(code)), alias_of=real.code)
                for code in alias.listed
                if code != real.code
            ]
        return listed

    def resolve(self, analysis: Analysis, asked: str | None) -> Resolution | None:
        """What runs when this version is asked for; None where no version fits.

        Accepts a version code, a display version, and whatever an alias covers; nothing asked for
        means the newest.
        """
        real = self.version_of(analysis)
        if asked is None or asked == "":
            return Resolution(analysis=analysis, asked=real.code, runs=real, tier=Tier.SAME)
        if asked in (real.code, real.name):
            return Resolution(analysis=analysis, asked=asked, runs=real, tier=Tier.SAME)
        for alias in analysis.aliases:
            if asked in alias.listed or re.search(alias.pattern, self._bare(asked)):
                return Resolution(analysis=analysis, asked=asked, runs=real, tier=alias.tier)
        return None

    def _bare(self, version_code: str) -> str:
        return re.sub(self.strip_suffix, "", version_code) if self.strip_suffix else version_code


def _index(entries: Iterable[tuple[str, Sequence[str], _T]]) -> dict[str, _T]:
    """By folded code; other names only where no code claims them."""
    entries = list(entries)
    found: dict[str, _T] = {}
    for code, _, entry in entries:
        found[fold(code)] = entry
    for _, names, entry in entries:
        for name in names:
            found.setdefault(fold(name), entry)
    return found
