"""Laying out a run: a fresh folder with its inputs, and what the engine is to start in it."""

import contextlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from simyard.blobs.sealed import SealedBlobs
from simyard.domain import jobs as rules
from simyard.domain.catalogue import Catalogue, Placement, Resolution
from simyard.domain.errors import Damaged, NotFound, Refused, StorageFull
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job, JobAnalysis
from simyard.domain.records import dataclass, replace
from simyard.domain.runs import Again, Run
from simyard.engines import payload
from simyard.engines.protocol import AttemptSpec, Bind, Engine, Folder, Request, Step
from simyard.service import archives, templates, workfolder
from simyard.service.archives import ArchiveRefused, Budget
from simyard.service.catalogue import SYSTEM_PATH, fill, helper_folder
from simyard.service.site import Site

LOG_NAME = "process_output.log"
MANIFEST = "staged.json"  # in the attempt's folder: what was laid out, to tell it from results
PREFIX = "[simyard] "  # of lines that the platform writes into a run's log


class CannotStart(Refused):
    """The run cannot be laid out, whoever tries it again; the text is a clause that says why."""


class StopWanted(Exception):
    """Somebody asked for the end of the run while it was being laid out."""


@dataclass(frozen=True)
class _Program:
    """One analysis of a job with what the catalogue makes of it."""

    number: int  # from 1
    sent: JobAnalysis
    resolution: Resolution
    version: str  # of what runs, as its probe saw it
    helpers: str  # where the payload sees its helper programs; "" where it has none
    binds: tuple[Bind, ...]


def programs(site: Site, catalogue: Catalogue, job: Job, run: Run) -> list[dict[str, str]]:
    """What was asked for and what runs, for the record of an attempt."""
    return [
        {
            "code": program.resolution.analysis.code,
            "asked": program.resolution.asked,
            "runs": program.resolution.runs.code,
        }
        for program in _programs(site, catalogue, job, site.engine_of(run), None)
    ]


def stage(
    site: Site,
    catalogue: Catalogue,
    job: Job,
    run: Run,
    files: Mapping[str, File],
    stop_wanted: Callable[[], bool],
    add: Callable[[Folder, Budget, dict[str, int]], None] | None = None,
) -> None:
    """Lay out the run's folder. Starts afresh each time; what an earlier attempt left is gone.

    add: puts more into the folder after the inputs, and notes what lies there as it is stored.
    Raises CannotStart where it can never work, StopWanted, or StorageFull, which a retry may cure.
    """
    assert run.token is not None

    def keep_going() -> None:
        if stop_wanted():
            raise StopWanted
        if site.blobs.store.free_bytes() == 0:
            raise StorageFull("There is no room left on the server's disk to lay out its inputs.")

    placement = rules.placement(job.definition, catalogue, site.machine, site.limits)
    engine = site.engine_of(run)
    folder = engine.prepare(run.token, _request(job, placement))
    crash_point("stage.prepared")
    all_programs = _programs(site, catalogue, job, engine, run.token)
    _need_installed(site, catalogue, all_programs)
    _write_log(folder, [n.message for n in job.notices])
    budget = Budget(site.unpack_max_bytes, site.unpack_max_entries, keep_going)

    def lay_out(work: Path) -> dict[str, int]:
        """Returns the blob ids of inputs that lie there as they were uploaded, by path."""
        staged: dict[str, int] = {}
        for program in all_programs:
            _lay_out(site, program.sent, files, work, budget, staged)
        return staged

    try:
        if run.inputs is not None and has_inputs(job):
            staged = site.shared.copy(job, run.engine, folder.work, lay_out, keep_going)
        else:
            staged = lay_out(folder.work)
        written = templates.render(site.templates, job, run, files, folder, budget)
        for path in written:
            staged.pop(path, None)
        if add is not None:
            add(folder, budget, staged)
        crash_point("stage.unpacked")
        if run.inputs is not None:
            templates.write_params(job, run, folder)
    except ArchiveRefused as error:
        raise CannotStart(f"an input archive was refused: {error}") from error
    except Damaged as error:
        raise CannotStart(f"an input could not be read: {error}") from error
    except KeyError as error:
        raise CannotStart(f"its input file {error.args[0]} was deleted") from None
    except (templates.Unrenderable, NotFound) as error:
        raise CannotStart(f"a template could not be written: {error}") from error
    _write_hosts(folder, placement)
    if placement.nodes > 1:
        with contextlib.suppress(FileExistsError):  # an input's own
            (folder.work / "shared").symlink_to(".")
    _hand_over(folder, staged, frozenset(written))
    crash_point("stage.done")


def _need_installed(site: Site, catalogue: Catalogue, wanted: Sequence[_Program]) -> None:
    for program in wanted:
        analysis = program.resolution.analysis
        if not (site.run_uninstalled or catalogue.present(analysis).installed):
            raise CannotStart(f"{analysis.name} is not installed on this machine")


def has_inputs(job: Job) -> bool:
    """Whether anything is laid out for each of a job's runs alike."""
    return any(a.input_files or a.pre_script or a.post_script for a in job.definition.analyses)


def _request(job: Job, placement: Placement) -> Request:
    """What a scheduler is asked for."""
    return Request(
        cores=placement.ranks,
        nodes=placement.nodes,
        gpus=placement.gpus,
        scheduler=placement.core_type.scheduler,
        low_priority=job.definition.low_priority,
        name=job.code,
        group=job.code if job.definition.study and not job.definition.study.is_plain else "",
        at_once=max(1, rules.slots(job.definition)),
    )


def _programs(
    site: Site, catalogue: Catalogue, job: Job, engine: Engine, token: str | None
) -> list[_Program]:
    """token: of the attempt that is to see the helper programs; None: nobody is."""
    found = []
    for number, sent in enumerate(job.definition.analyses, start=1):
        analysis = catalogue.analysis(sent.code)
        resolution = catalogue.resolve(analysis, sent.version) if analysis else None
        if analysis is None or resolution is None:
            raise CannotStart(f"{sent.code} {sent.version} is no longer in the catalogue")
        binds = [Bind(path, path) for path in analysis.binds]
        helpers = ""
        if analysis.helpers and token is not None:
            source = helper_folder(analysis, site.book.helpers)
            bind = engine.shown(token, source, analysis.helpers.folder)
            helpers = bind.target
            binds.append(bind)
        version = catalogue.present(analysis).version or analysis.default_version
        found.append(_Program(number, sent, resolution, version, helpers, tuple(binds)))
    return found


# --- inputs ---------------------------------------------------------------------------------------


def _lay_out(
    site: Site,
    sent: JobAnalysis,
    files: Mapping[str, File],
    work: Path,
    budget: Budget,
    staged: dict[str, int],
) -> None:
    for wanted in sent.input_files:
        file = _file(files, wanted.code)
        path = _put(site.blobs, file, file.input_path, work, budget, staged)
        if wanted.decompress:
            try:
                archives.unpack(path, path.parent, budget, root=work)
            except ArchiveRefused as error:
                raise ArchiveRefused(f"{file.name}: {error}") from error
            except OSError as error:
                raise StorageFull(f"{file.name} could not be unpacked: {error.strerror}") from error
    for code in (sent.pre_script, sent.post_script):
        if code:
            file = _file(files, code)  # called by its name, whatever folder it came with
            _put(site.blobs, file, file.name, work, budget, staged)


def _file(files: Mapping[str, File], code: str) -> File:
    try:
        return files[code]
    except KeyError:
        raise CannotStart(f"its input file {code} was deleted") from None


def _put(
    blobs: SealedBlobs, file: File, at: str, work: Path, budget: Budget, staged: dict[str, int]
) -> Path:
    """Write an uploaded file into the work folder, at a path below it; one that an archive put
    there is replaced.
    """
    path = work / at
    try:
        _make_folders(work, at)
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            raise CannotStart(f"the input {at} is in the way of a folder of that name")
        with blobs.open(file.blob) as source, path.open("xb") as out:
            for part in source.read_range(0, file.blob.size_bytes):
                budget.keep_going()
                out.write(part)
    except OSError as error:
        raise StorageFull(f"{at} could not be laid out: {error.strerror}") from error
    archives.make_scripts_executable(path)
    if file.blob.id is not None:
        staged[at] = file.blob.id
    return path


def _make_folders(work: Path, at: str) -> None:
    """Those that a path below the work folder, which nobody else changes, goes through. A link that
    an archive put there is not followed.
    """
    folder = work
    for name in at.split("/")[:-1]:
        folder /= name
        if folder.is_symlink() or folder.is_file():
            shown = folder.relative_to(work)
            raise CannotStart(f"{shown} is in the way of the folder of the input {at}")
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)  # whatever the server's umask


def _write_log(folder: Folder, messages: list[str]) -> None:
    """The log lies outside the work folder too: a run that clears its folder does not lose it."""
    log = f"{folder.root}/{LOG_NAME}"
    payload.write(log, "".join(f"{PREFIX}{message}\n" for message in messages))
    os.link(log, f"{folder.work}/{LOG_NAME}")


def say(folder: Folder, message: str) -> None:
    """End the run's log with a line of the platform's. For runs of which nothing is alive; said
    once, however often it is asked for.
    """
    log = folder.root / LOG_NAME
    line = f"{PREFIX}{message}\n".encode()
    if log.exists():
        with log.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(line)))
            if file.read() != line:
                file.write(line)


def _write_hosts(folder: Folder, placement: Placement) -> None:
    """Host lists where scripts look for them: every rank is on this machine."""
    hosts = f"{folder.home}/machinefile"
    payload.write(hosts, "localhost\n" * placement.ranks)
    os.link(hosts, f"{folder.home}/mpd.hosts")


# --- the manifest ---------------------------------------------------------------------------------


def _hand_over(folder: Folder, staged: Mapping[str, int], rendered: Collection[str]) -> None:
    """Everything in the run's home belongs to the user that it runs as, and what is in its work
    folder is noted as it lies there.
    """
    entries: dict[str, list[int | None]] = {}
    for inner in workfolder.folders(folder.home):
        place, _, below = inner.path.partition("/")
        if folder.owner is not None:
            for name in inner.folders:
                os.chown(name, *folder.owner, dir_fd=inner.descriptor, follow_symlinks=False)
        for name in inner.others:
            seen = _give(name, inner.descriptor, folder.owner)
            path = f"{below}/{name}" if below else name
            is_of_work = place == folder.work.name and path != LOG_NAME
            if is_of_work and stat.S_ISREG(seen.st_mode):
                # The change time of a file cannot be set back by anybody: the same one, the same
                # content.
                noted = [seen.st_size, seen.st_ctime_ns, seen.st_ino, staged.get(path)]
                entries[path] = [*noted, 1] if path in rendered else noted
    if entries:
        (folder.root / MANIFEST).write_text(json.dumps(entries))


def _give(name: str, inside: int, owner: tuple[int, int] | None) -> os.stat_result:
    """Give a file to its owner once, whatever other names it has: its change time stays then."""
    seen = os.stat(name, dir_fd=inside, follow_symlinks=False)
    if owner is None or (seen.st_uid, seen.st_gid) == owner:
        return seen
    os.chown(name, *owner, dir_fd=inside, follow_symlinks=False)
    return os.stat(name, dir_fd=inside, follow_symlinks=False)


def read_manifest(folder: Folder) -> dict[str, list[int | None]]:
    """Path -> [size, ctime, inode, blob id or None, 1 if a template was rendered into it], of every
    file that was laid out.
    """
    try:
        entries: dict[str, list[int | None]] = json.loads((folder.root / MANIFEST).read_text())
    except FileNotFoundError:
        return {}
    return entries


# --- what to start --------------------------------------------------------------------------------


def attempt(
    site: Site, catalogue: Catalogue, job: Job, run: Run, files: Mapping[str, File]
) -> AttemptSpec:
    """What the engine is to start for a run that is laid out."""
    assert run.token is not None
    engine = site.engine_of(run)
    folder = engine.folder(run.token)
    placement = rules.placement(job.definition, catalogue, site.machine, site.limits)
    all_programs = _programs(site, catalogue, job, engine, run.token)
    before: dict[str, None] = {}
    after: dict[str, None] = {}
    steps: list[Step] = []
    binds: dict[Bind, None] = {}
    for program in all_programs:
        places = _places(program, folder)
        before.update(dict.fromkeys(fill(p, places) for p in program.resolution.analysis.path))
        after.update(dict.fromkeys(fill(p, places) for p in program.resolution.analysis.path_after))
        steps += _steps(program, places, files, run)
        binds.update(dict.fromkeys(program.binds))
    places = {"home": folder.inside_home, "helpers": "", "version": ""}
    return AttemptSpec(
        token=run.token,
        request=_request(job, placement),
        steps=steps,
        env={
            **{name: fill(value, places) for name, value in catalogue.env.items()},
            **_environment(site, job, run, placement, folder),
        },
        path=[*before, *SYSTEM_PATH, *after],
        binds=list(binds),
        network=all(p.resolution.analysis.network for p in all_programs),
        allowance=replace(
            site.allowance,
            memory=site.allowance.memory or _memory(site, placement),
            walltime=min(
                rules.walltime_seconds(a.hardware, site.limits) for a in job.definition.analyses
            ),
        ),
        grace_seconds=site.stop_grace_seconds,
    )


def _memory(site: Site, placement: Placement) -> int:
    """Bytes that a run may use where the site has not said it; 0: any number."""
    here = site.machine.memory_mb * 10**6 * 9 // 10
    return 0 if placement.core_type.is_elsewhere else here


def _places(program: _Program, folder: Folder) -> dict[str, str]:
    return {
        "helpers": program.helpers,
        "home": folder.inside_home,
        "version": program.version,
    }


def _steps(
    program: _Program, places: Mapping[str, str], files: Mapping[str, File], run: Run
) -> list[Step]:
    """Pre-processing, the command, post-processing: those that there are. What a post-processing
    prints is kept for the run's output variables; that of a study's run may fail without making its
    result a failure.
    """
    sent, analysis = program.sent, program.resolution.analysis
    env = {
        **{name: fill(value, places) for name, value in analysis.env.items()},
        "USE_MPI": str(sent.use_mpi).lower(),
        "PROGRAM_PATH": program.helpers or "/usr",
        **(sent.env_vars or {}),
    }
    of = f"of analysis {program.number}"
    steps = []
    extracts = run.restart is not None and run.restart.kind is Again.EXTRACT
    for label, script, command, is_post in (
        (f"the pre-processing {of}", sent.pre_script, sent.pre_command, False),
        (f"the command {of}", None, sent.command, False),
        (f"the post-processing {of}", sent.post_script, sent.post_command, True),
    ):
        if extracts and not is_post:
            continue
        what = command
        if not command.strip() and script:
            # A script without a command of its own is run as it is.
            what = shlex.quote(f"./{_file(files, script).name}")
        if what.strip():
            lenient = is_post and run.inputs is not None
            steps.append(
                Step(label=label, command=what, env=env, is_told=is_post, is_lenient=lenient)
            )
    return steps


def _environment(
    site: Site, job: Job, run: Run, placement: Placement, folder: Folder
) -> dict[str, str]:
    """The variables that scripts of the platform's users read (api-v2 reference, section 5).

    They tell what is so here: on this one machine every rank is on it, whatever number of nodes the
    core type would have taken.
    """
    nodes = placement.nodes if placement.core_type.is_elsewhere else 1
    ranks, on_a_node = str(placement.ranks), str(-(-placement.ranks // nodes))
    gpus = placement.gpus
    hardware = job.definition.analyses[0].hardware
    return {
        "RESCALE_JOB_ID": job.code,
        "RESCALE_CLUSTER_ID": run.token or "",
        "INSTANCE_ID": run.token or "",
        "RESCALE_CORE_TYPE": hardware.core_type,
        "RESCALE_CORES_PER_SLOT": ranks,
        "RESCALE_CORES_PER_NODE": on_a_node,
        "RESCALE_NODES_PER_SLOT": str(nodes),
        "RESCALE_SLOTS_PER_NODE": "1",
        "RESCALE_GPUS_PER_SLOT": str(gpus * nodes),
        "RESCALE_GPUS_PER_NODE": str(gpus),
        "RESCALE_THREADS_PER_SLOT": ranks,
        "RESCALE_THREADS_PER_NODE": on_a_node,
        "RESCALE_INTERCONNECT": "shared-memory" if nodes == 1 else "network",
        "RESCALE_PROVIDER": "simyard",
        "RESCALE_PREFERRED_REMSH": "ssh",
        "MPI_FLAVOR": "openmpi",
        "MPI_ROOT": "/usr",
        **({"MACHINES": f"localhost:{ranks}"} if nodes == 1 else {}),
        "FLUENT_HOSTS": f"{folder.inside_home}/machinefile",
        "JOB_ID": job.code,
        "RUN_ID": str(run.number),
        **_values(run, folder),
        **_door(site, run),
    }


def _values(run: Run, folder: Folder) -> dict[str, str]:
    """The values of a study's run, for scripts that take no template."""
    if run.inputs is None:
        return {}
    values = {
        f"PARAM_{value.name.upper()}": value.text
        for value in run.inputs
        if len(value.text.encode()) < rules.ENV_VAR_BYTES and "\0" not in value.text
    }
    params = f"{folder.inside_home}/{templates.CONTROL}/{templates.PARAMS}"
    return {**values, "SIMYARD_PARAMS": params}


def _door(site: Site, run: Run) -> dict[str, str]:
    """How a run reaches the API as its owner, while it lives (api-v2 reference, section 1.2)."""
    if not site.job_api_url or run.token is None:
        return {}
    key = site.keyring.job_key(run.token)
    return {"RESCALE_API_KEY": key, "RESCALE_API_BASE_URL": site.job_api_url}
