"""Reading the catalogue's files, and seeing what of it is really installed."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from simyard import __version__
from simyard.domain.catalogue import Analysis, Catalogue, CoreType, Machine, Presence, Probe, fold
from simyard.domain.grammar import Endings, Grammar, Rules
from simyard.domain.lifecycle import LOCAL
from simyard.domain.records import dataclass
from simyard.domain.rulechecks import problems
from simyard.domain.stops import Checkpoint, Edit, StopRecipe

_T = TypeVar("_T")
# Folders beside the catalogue's files.
_HELPERS = "helpers"
_TEMPLATES = "templates"

log = logging.getLogger(__name__)

# Where programs of jobs are looked for, and what a job's PATH is made of.
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/games", "/usr/games")
_PROBE_SECONDS = 20
_LOOK_AGAIN_SECONDS = 5
_REMEMBERED_SECONDS = 3600
_NICENESS = 10
_NOT_ANALYSES = {"common.toml", "coretypes.toml", "endings.toml"}


class CatalogueError(Exception):
    """A catalogue file that cannot be used; the text names the file and the place."""


def own_folder() -> Path:
    """The catalogue that comes with the product."""
    return Path(__file__).parent.parent / "catalogue"


def templates() -> dict[str, Path]:
    """Files that a site completes and adds: programs that no distribution brings. By code."""
    return {path.stem: path for path in sorted((own_folder() / _TEMPLATES).glob("*.toml"))}


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Common:
    strip_suffix: str = ""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _CoreTypes:
    core_type: tuple[CoreType, ...] = ()


def load(folders: Iterable[Path], machine: Machine, engines: Sequence[str] = (LOCAL,)) -> Catalogue:
    """The catalogue of these folders, later ones stronger: a file replaces the entry of its code.
    Within one folder a code may stand once. engines: those of the installation, its own first.

    Nothing is probed yet: everything counts as not installed. What comes with the product is taken
    as it is: its tests have looked at it. Raises CatalogueError.
    """
    common = _Common()
    endings = Endings()
    analyses: dict[str, Analysis] = {}
    core_types: dict[str, CoreType] = {}
    for folder in folders:
        here: dict[str, Path] = {}
        ours = folder == own_folder()
        for path in sorted(folder.glob("*.toml")):
            content = _read(path)
            if path.name == "common.toml":
                common = _convert(path, content, _Common)
                _check_pattern(path, "strip_suffix", common.strip_suffix)
            elif path.name == "endings.toml":
                endings = _convert(path, content, Endings, ours)
                if not ours:
                    _check_rules(path, endings.rules)
            elif path.name == "coretypes.toml":
                found = _convert(path, _fit(content, machine), _CoreTypes).core_type
                _check_core_types(path, found, engines)
                core_types.update((fold(core_type.code), core_type) for core_type in found)
            else:
                analysis = _convert(path, content, Analysis, ours)
                if not ours:
                    _check_analysis(path, analysis)
                code = fold(analysis.code)
                if code in here:
                    raise CatalogueError(f"{path}: code: {here[code]} has {analysis.code} too")
                here[code] = path
                analyses[code] = _flowing(analysis)
    _check_rules_of(analyses)
    ordered = [
        dataclasses.replace(core_type, display_order=order, engine=_engine_of(core_type, engines))
        for order, core_type in enumerate(core_types.values(), start=1)
    ]
    return Catalogue(
        analyses=tuple(sorted(analyses.values(), key=lambda a: (not a.featured, a.name.lower()))),
        core_types=tuple(ordered),
        presence={
            analysis.code: Presence(installed=False, detail="not probed")
            for analysis in analyses.values()
        },
        strip_suffix=common.strip_suffix,
        env=common.env,
        endings=endings,
    )


# What `stdbuf -oL` sets, without starting through it: scripts of users name the program itself.
_LINE_BUFFERS = (
    "/usr/libexec/coreutils/libstdbuf.so",
    "/usr/lib/coreutils/libstdbuf.so",
    "/usr/lib64/libexec/coreutils/libstdbuf.so",
)


def _flowing(analysis: Analysis) -> Analysis:
    """With the variables that make its output flow, where this machine has what it takes."""
    library = next((path for path in _LINE_BUFFERS if os.path.exists(path)), None)
    if not analysis.line_buffered or library is None:
        return analysis
    flow = {"LD_PRELOAD": library, "_STDBUF_O": "L"}
    return dataclasses.replace(analysis, env={**flow, **analysis.env})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:  # bad TOML, or no UTF-8
        raise CatalogueError(f"{path}: {error}") from None


def _convert(path: Path, content: Mapping[str, Any], into: type[_T], ours: bool = False) -> _T:
    unknown = [] if ours else list(_unknown_keys(content, into, ""))
    if unknown:
        raise CatalogueError(f"{path}: there is no {', '.join(unknown)}")
    try:
        return msgspec.convert(content, into, strict=True)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{path}: {error}") from None


def _unknown_keys(content: Any, into: Any, place: str) -> Iterable[str]:
    """Keys that no field takes: a misspelt key must not be passed over."""
    origin = typing.get_origin(into)
    if origin in (types.UnionType, typing.Union):
        into = next(arg for arg in typing.get_args(into) if arg is not type(None))
        origin = typing.get_origin(into)
    if origin is tuple and isinstance(content, list):
        for i, item in enumerate(content):
            yield from _unknown_keys(item, typing.get_args(into)[0], f"{place}[{i}]")
    elif dataclasses.is_dataclass(into) and isinstance(content, dict):
        hints = _hints(typing.cast("Any", into))
        for key, value in content.items():
            name = f"{place}.{key}" if place else key
            if key in hints:
                yield from _unknown_keys(value, hints[key], name)
            else:
                yield name


@functools.cache
def _hints(into: Any) -> dict[str, Any]:
    return typing.get_type_hints(into)


def _check_analysis(path: Path, analysis: Analysis) -> None:
    """What the types do not say. A file that passes makes no trouble later."""
    for i, alias in enumerate(analysis.aliases):
        _check_pattern(path, f"aliases[{i}].pattern", alias.pattern)
    if analysis.probe:
        if not analysis.probe.command:
            raise CatalogueError(f"{path}: probe.command: it is empty")
        _check_pattern(path, "probe.pattern", analysis.probe.pattern)
    if analysis.helpers and analysis.helpers.folder not in _shipped_helpers():
        raise CatalogueError(
            f"{path}: helpers.folder: {analysis.helpers.folder!r} is none of those that come with"
            f" Simyard ({', '.join(_shipped_helpers())}); show your own by binds and path"
        )
    if analysis.grammar:
        _check_grammar(path, analysis.grammar)
    for i, recipe in enumerate(analysis.stop):
        _check_stop(path, f"stop[{i}]", recipe)
    if analysis.checkpoint:
        _check_checkpoint(path, analysis.checkpoint)
    if analysis.rules and analysis.rules_of:
        raise CatalogueError(f"{path}: rules_of: it has rules of its own")
    if analysis.rules:
        _check_rules(path, analysis.rules)


def _check_rules(path: Path, rules: Rules) -> None:
    for problem in problems(rules):
        raise CatalogueError(f"{path}: rules.{problem}")


def _check_rules_of(analyses: Mapping[str, Analysis]) -> None:
    for analysis in analyses.values():
        if analysis.rules_of and fold(analysis.rules_of) not in analyses:
            raise CatalogueError(
                f"{analysis.code}: rules_of: there is no analysis {analysis.rules_of}"
            )


def _check_grammar(path: Path, grammar: Grammar) -> None:
    if grammar.x_pattern:
        _check_pattern(path, "grammar.x_pattern", grammar.x_pattern, group="x")
    elif grammar.series or not all(table.x for table in grammar.tables):
        raise CatalogueError(f"{path}: grammar.x_pattern: nothing else says what a step is")
    _check_pattern(path, "grammar.end_pattern", grammar.end_pattern)
    if grammar.target_pattern:
        _check_pattern(path, "grammar.target_pattern", grammar.target_pattern, group="label")
        _check_pattern(path, "grammar.target_pattern", grammar.target_pattern, group="y")
    if grammar.last_x_file or grammar.last_x_pattern:
        _check_pattern(path, "grammar.last_x_pattern", grammar.last_x_pattern, group="x")
    for i, rule in enumerate(grammar.series):
        place = f"grammar.series[{i}]"
        pattern = _check_pattern(path, f"{place}.pattern", rule.pattern, group="y")
        try:
            rule.label.format_map(dict.fromkeys(pattern.groupindex, ""))
        except (LookupError, ValueError, AttributeError):
            raise CatalogueError(
                f"{path}: {place}.label: {rule.label!r} names no group of the pattern"
            ) from None
    for i, table in enumerate(grammar.tables):
        _check_pattern(path, f"grammar.tables[{i}].header", table.header)
        if table.width < 0:
            raise CatalogueError(f"{path}: grammar.tables[{i}].width: it is negative")


def _check_stop(path: Path, place: str, recipe: StopRecipe) -> None:
    if recipe.needs:
        _check_pattern(path, f"{place}.needs.pattern", recipe.needs.pattern)
    if sum(map(bool, (recipe.edit, recipe.create, recipe.signal))) != 1:
        raise CatalogueError(f"{path}: {place}: give one of edit, create and signal")
    if recipe.signal and f"SIG{recipe.signal}" not in signal.Signals.__members__:
        raise CatalogueError(f"{path}: {place}.signal: there is no signal {recipe.signal}")
    if not recipe.signal and not recipe.needs:
        raise CatalogueError(f"{path}: {place}.needs: nothing says which file or folder")
    if recipe.edit:
        _check_edit(path, f"{place}.edit", recipe.edit)


def _check_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    for i, pattern in enumerate(checkpoint.files):
        _check_pattern(path, f"checkpoint.files[{i}]", pattern)
    for i, edit in enumerate(checkpoint.edit):
        place = f"checkpoint.edit[{i}]"
        if not edit.file:
            raise CatalogueError(f"{path}: {place}.file: nothing says which file")
        _check_edit(path, place, edit)


def _check_edit(path: Path, place: str, edit: Edit) -> None:
    if bool(edit.set) == bool(edit.pattern):
        raise CatalogueError(f"{path}: {place}: give one of set and pattern")
    pattern = _check_pattern(path, f"{place}.pattern", edit.pattern)
    try:
        pattern.sub(edit.text, "")
    except (re.error, IndexError) as error:
        raise CatalogueError(f"{path}: {place}.text: {edit.text!r}: {error}") from None


def _check_pattern(path: Path, field: str, pattern: str, group: str = "") -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CatalogueError(f"{path}: {field}: {pattern!r}: {error}") from None
    if group and group not in compiled.groupindex:
        raise CatalogueError(f"{path}: {field}: {pattern!r} has no group (?P<{group}>...)")
    return compiled


def _engine_of(core_type: CoreType, engines: Sequence[str]) -> str:
    """The `local` one of our own catalogue is this machine, where that runs jobs."""
    if core_type.engine:
        return core_type.engine if core_type.engine in engines else engines[0]
    return engines[0]


def _check_core_types(path: Path, core_types: Iterable[CoreType], engines: Sequence[str]) -> None:
    seen: set[str] = set()
    for i, core_type in enumerate(core_types):
        cores, place = core_type.cores, f"core_type[{i}]"
        if fold(core_type.code) in seen:
            raise CatalogueError(f"{path}: {place}.code: {core_type.code} is there twice")
        seen.add(fold(core_type.code))
        if not cores or cores[0] < 1 or list(cores) != sorted(set(cores)):
            raise CatalogueError(f"{path}: {place}.cores: give counts from 1 on, ascending")
        if core_type.engine and core_type.engine not in engines and path.parent != own_folder():
            raise CatalogueError(
                f"{path}: {place}.engine: {core_type.engine} is not an engine of this installation"
                f" ({', '.join(engines)}); see the settings `engine` and `more_engines`"
            )
        if core_type.gpus and len(core_type.gpus) != len(cores):
            raise CatalogueError(f"{path}: {place}.gpus: give as many counts as in cores")


def _fit(content: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Put the machine's own figures where a core type says "auto"."""
    counts = [2**n for n in range(32) if 2**n < machine.cores] + [machine.cores]
    auto = {
        "cores": counts,
        "memory_mb": machine.memory_mb // machine.cores,
        "storage_gb": machine.storage_gb // machine.cores,
    }

    def fitted(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        return {k: auto.get(k, v) if v == "auto" else v for k, v in entry.items()}

    entries = content.get("core_type")
    if not isinstance(entries, list):
        return dict(content)
    return {**content, "core_type": [fitted(entry) for entry in entries]}


def machine(data: Path, cores: int = 0) -> Machine:
    """What this computer has. `cores` overrides the count that is seen."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cores=cores or len(os.sched_getaffinity(0)),
        memory_mb=pages * size // 10**6,
        storage_gb=shutil.disk_usage(data).total // 10**9,
        gpus=sum(1 for n in range(64) if os.path.exists(f"/dev/nvidia{n}")),
    )


# --- helper programs ------------------------------------------------------------------------------


def lay_out_helpers(catalogue: Catalogue, into: Path) -> None:
    """Put the helper programs of every analysis where jobs can be shown them. Idempotent."""
    for analysis in catalogue.analyses:
        if analysis.helpers is None:
            continue
        source = own_folder() / _HELPERS / analysis.helpers.folder
        target = helper_folder(analysis, into)
        for path in sorted(source.rglob("*")):
            if path.is_file():
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                content = path.read_bytes()
                if not copy.exists() or copy.read_bytes() != content:
                    copy.write_bytes(content)
                copy.chmod(0o755)
        for name, destination in analysis.helpers.links.items():
            link = target / name
            if not (link.is_symlink() and os.readlink(link) == destination):
                link.unlink(missing_ok=True)
                link.symlink_to(destination)
        for folder in (into, target, *(p for p in target.rglob("*") if p.is_dir())):
            if not folder.is_symlink():
                folder.chmod(0o755)


def _shipped_helpers() -> list[str]:
    return sorted(path.name for path in (own_folder() / _HELPERS).iterdir())


def helper_folder(analysis: Analysis, root: Path) -> Path:
    assert analysis.helpers is not None
    return root / analysis.helpers.folder


def fill(text: str, places: Mapping[str, str]) -> str:
    """Put places such as {helpers}, {home} and {version} into a value of the catalogue."""
    for name, value in places.items():
        text = text.replace("{" + name + "}", value)
    return text


# --- probing --------------------------------------------------------------------------------------


def probe(analysis: Analysis, helpers: Path) -> Presence:
    """Whether the program is there: it is found, and what it prints is what it should print."""
    if analysis.probe is None:
        return Presence(installed=True)
    places, path = _where(analysis, helpers)
    env = {name: fill(value, places) for name, value in analysis.env.items()}
    name, *arguments = analysis.probe.command
    for needed in _needed(analysis.probe):
        program = shutil.which(needed, path=path)
        if program is None:
            return Presence(installed=False, detail=f"{needed} was not found")
    assert program is not None
    try:
        # Several solvers leave files behind that tell what was wrong with their input.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as nowhere:
            done = subprocess.run(
                [program, *arguments],
                env={**env, "PATH": path, "LANG": "C.UTF-8", "HOME": "/nonexistent"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PROBE_SECONDS,
                cwd=nowhere,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Presence(installed=False, detail=f"{name} does not answer: {error}")
    found = re.search(analysis.probe.pattern, done.stdout.decode(errors="replace"))
    if found is None:
        return Presence(installed=False, detail=f"{name} does not print what it should")
    return Presence(installed=True, version=found.groupdict().get("version") or "")


def _where(analysis: Analysis, helpers: Path) -> tuple[dict[str, str], str]:
    """What stands for the placeholders of an analysis while it is probed, and its PATH."""
    where = str(helper_folder(analysis, helpers)) if analysis.helpers else ""
    places = {"helpers": where, "version": analysis.default_version, "home": "/nonexistent"}
    folders = [
        *(fill(folder, places) for folder in analysis.path),
        *SYSTEM_PATH,
        *(fill(folder, places) for folder in analysis.path_after),
    ]
    return places, ":".join(folders)


def _needed(probe: Probe) -> tuple[str, ...]:
    """The programs that have to be there; the last is the one that is started."""
    name = probe.command[0]
    return (probe.program or name, name)


def _what_is_probed(analysis: Analysis) -> str:
    """The same for analyses whose probes can only see the same."""
    if analysis.probe is None:
        return ""
    places = (analysis.path, analysis.path_after, analysis.env, analysis.helpers)
    return repr((analysis.probe, analysis.default_version, places))


def _give_way() -> None:
    """Probes are many, and a server that starts has better things to do: Linux keeps a niceness
    for each thread, and what a thread starts has its own.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Memory:
    """What probes have seen, in a file: a server that comes back after a moment, on a machine
    that is busy with its runs, can go on at once. Taken is what is less than an hour old, of
    programs whose files are the same ever since. Losing the file loses nothing.
    """

    def __init__(self, path: Path, helpers: Path) -> None:
        self._path = path
        self._helpers = helpers
        self._names: dict[str, str] = {}  # by what is probed, as it was before it was probed
        self._kept: dict[str, _Remembered] = {}  # by name

    def recall(self, alike: Mapping[str, Analysis]) -> dict[str, Presence]:
        """What is known of analyses, by what is probed of them."""
        self._names = {what: self._name(what, analysis) for what, analysis in alike.items()}
        now = time.time()
        self._kept = {
            name: found
            for name, found in self._read().items()
            if 0 <= now - found.at < _REMEMBERED_SECONDS
        }
        return {what: self._kept[n].presence for what, n in self._names.items() if n in self._kept}

    def _read(self) -> dict[str, "_Remembered"]:
        try:
            return _memories.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}

    def keep(self, seen: Mapping[str, Presence]) -> None:
        """Write down what was seen after `recall`; what is not there is asked for the next time."""
        there = {what: presence for what, presence in seen.items() if presence.installed}
        if not there:
            return
        now = time.time()
        self._kept.update((self._names[w], _Remembered(now, there[w])) for w in there)
        aside = self._path.with_suffix(".new")
        try:
            aside.write_bytes(msgspec.json.encode(self._kept))
            aside.rename(self._path)
        except OSError as error:
            log.warning("what was probed is not remembered: %s", error)

    def _name(self, what: str, analysis: Analysis) -> str:
        """Another one as soon as the programs, or what is asked of them, are others."""
        files = []
        _, path = _where(analysis, self._helpers)
        for needed in _needed(analysis.probe) if analysis.probe else ():
            program = shutil.which(needed, path=path)
            if program is not None:
                with contextlib.suppress(OSError):  # it goes away just now
                    found = os.stat(program)
                    files.append((program, found.st_ino, found.st_size, found.st_mtime_ns))
        return hashlib.sha256(repr((__version__, what, files)).encode()).hexdigest()


class _Remembered(msgspec.Struct):
    at: float  # seconds since the epoch
    presence: Presence


_memories = msgspec.json.Decoder(dict[str, _Remembered])


class CatalogueBook:
    """The catalogue with what was seen of it. Thread-safe; `current` waits for the first look.

    memory: a file where it is kept what was seen.
    """

    def __init__(self, catalogue: Catalogue, helpers: Path, memory: Path | None = None) -> None:
        self.helpers = helpers
        self._memory = _Memory(memory, helpers) if memory else None
        self._catalogue = catalogue
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._looked_at: dict[str, float] = {}

    def look(self) -> None:
        """Lay out the helper programs and probe once what is not remembered."""
        try:
            lay_out_helpers(self._catalogue, self.helpers)
            same: dict[str, list[Analysis]] = {}
            for analysis in self._catalogue.analyses:
                same.setdefault(_what_is_probed(analysis), []).append(analysis)
            alike = {what: analyses[0] for what, analyses in same.items()}
            seen = self._memory.recall(alike) if self._memory else {}
            asked = [what for what in alike if what not in seen]
            with ThreadPoolExecutor(max_workers=4, initializer=_give_way) as pool:
                found = pool.map(lambda what: probe(alike[what], self.helpers), asked)
                fresh = dict(zip(asked, found, strict=True))
            if self._memory:
                self._memory.keep(fresh)
            seen.update(fresh)
            self._note({a.code: seen[what] for what, analyses in same.items() for a in analyses})
        finally:
            self._ready.set()

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    def current(self) -> Catalogue:
        self._ready.wait()
        return self._catalogue

    def look_again(self, code: str) -> Catalogue:
        """Probe one analysis again if it is not installed: it may have been, meanwhile."""
        catalogue = self.current()
        analysis = catalogue.analysis(code)
        if analysis is None or catalogue.present(analysis).installed:
            return catalogue
        now = time.monotonic()
        with self._lock:
            if now - self._looked_at.get(fold(code), -1e9) < _LOOK_AGAIN_SECONDS:
                return catalogue
            self._looked_at[fold(code)] = now
        self._note({analysis.code: probe(analysis, self.helpers)})
        return self._catalogue

    def _note(self, seen: Mapping[str, Presence]) -> None:
        with self._lock:
            presence = {**self._catalogue.presence, **seen}
            self._catalogue = dataclasses.replace(self._catalogue, presence=presence)
        for code, found in seen.items():
            log.info("%s: %s", code, found.version or found.detail or "installed")
