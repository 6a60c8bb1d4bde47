"""Attempts as jobs of a Slurm cluster, each under the same supervisor as everywhere.

The folders of the attempts lie on a file system that the nodes share with the server. What is known
of an attempt comes from its folder; Slurm is asked, once a beat for all of them, only who waits for
what and who is gone. So a controller that is down costs nothing but the starts of new attempts, and
`sacct` is not needed.

Attempts are handed over in batches: one job, or an array with as many at a time as its study has
slots. A batch has a name that is never used twice and is written down before it is submitted. After
an answer that did not come it is looked for by that name before it is submitted again; if it is in
the queue twice all the same, the second start of an attempt finds the first one's lock.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pwd
import shlex
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from simyard.domain.catalogue import Scheduler
from simyard.domain.errors import NotFound
from simyard.domain.faults import crash_point
from simyard.domain.lifecycle import Wait
from simyard.domain.records import dataclass
from simyard.domain.runs import Resource, Waiting
from simyard.engines import group, meter, sandbox, slurm_programs, supervisor
from simyard.engines.attempts import (
    SHARED,
    AttemptFolders,
    bury,
    instant,
    need_way,
    remove_tree,
    request,
)
from simyard.engines.plugins import EngineError, Host
from simyard.engines.protocol import (
    AttemptSpec,
    Bind,
    Capabilities,
    Engine,
    Folder,
    Observation,
    Phase,
    Request,
)
from simyard.engines.sandbox import Sandbox
from simyard.engines.slurm_programs import (
    CONFIGURING,
    PREFIX,
    ArrayTooLarge,
    Programs,
    Rejected,
    Silent,
    Task,
)

log = logging.getLogger(__name__)

NAME = "slurm"
_BATCHES = ".batches"
_BARE = "bare"  # in the folder of an attempt that is not sandboxed: it has several nodes
_PROOF = "proof"  # beside the supervisor: what a node must be able to read
_BEAT_SECONDS = 1.0
_BEAT_MOST = 10.0  # also where squeue takes long
_SHARE = 0.1  # of the time at most is spent in waiting for squeue
_GATHER_SECONDS = 0.3  # without another one, until a study's attempts are handed over
_GATHER_MOST_SECONDS = 5.0
_ARRAY_MOST = 1000
_AHEAD = 500  # attempts of one study that are handed over at a time
_RETRY_SECONDS = 2.0
_BAD_NODE_SECONDS = 600.0
_SILENT_SECONDS = 3.0  # of one call, until it is said that Slurm does not answer
_SILENT = "Slurm does not answer"
_CHECKS = ".checks"  # what nodes have written
_CHECK_SECONDS = 3600.0  # for which the last check is good
_NO_PYTHON = 98  # a node has no Python that supervisors run with
_NO_FOLDER = 97  # the batch script does not see what the server has written
_MARGIN_SECONDS = 120  # of Slurm's time limit beyond ours, which comes first
_SAVED = (  # of a batch
    "name",
    "tokens",
    "options",
    "script",
    "group",
    "at_once",
    "walltime",
    "share",
    "job",
)
_NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")
_NEEDS_BOX = "it runs on several nodes, where no sandbox holds it, and this site requires one"
_NOT_WANTED = "-"  # in place of a number: nothing of it is to come into the queue
_TIME_LIMIT = "time limit"
_NAMED = ("partition", "constraint", "account", "qos")  # options of sbatch, as in Scheduler
# The payload of an attempt on several nodes starts the others' ranks through these.
_INHERITED = ("SLURM_", "SLURMD_", "MACHINES")

_SCRIPT = """#!/bin/sh
# Starts the supervisor of one attempt. Whatever happens here, an attempt never runs twice: its
# supervisor holds a lock and leaves a record.
set -- {tokens}
shift "${{SLURM_ARRAY_TASK_ID:-0}}"
root={root}
[ "$(cat "$root/{shared}/{proof}" 2>/dev/null)" = {nonce} ] || exit {no_folder}
folder=$root/$1
[ -d "$folder" ] || exit 0
[ ! -e "$folder/pid.json" ] || exit 0
umask 077
{hosts}exec {python} -I -S -c {start} "$root/{shared}" "$folder"
"""
# What a node has to show before anybody relies on it: it reads what we wrote, we what it writes.
_CHECK = """#!/bin/sh
root={root}
[ "$(cat "$root/{shared}/{proof}" 2>/dev/null)" = {nonce} ] || exit {no_folder}
{python} -c 'import sys; sys.exit(sys.version_info < (3, 9))' || exit {no_python}
printf '%s' "$SLURMD_NODENAME" >"$root/{checks}/{name}.new"
mv "$root/{checks}/{name}.new" "$root/{checks}/{name}"
"""
# Imported, and not run as a file: that way it need not be compiled each time.
_START = "import sys; sys.path.insert(0, sys.argv[1]); import supervisor as s; s.alone(sys.argv[2])"
# The nodes of the job, each as often as it has ranks: "2(x3),1" stands for 2, 2, 2, 1.
_HOSTS = """MACHINES=$({python} -I -S "$root/{shared}/hosts.py" "$folder/home") || exit 1
export MACHINES
"""


@dataclass
class _Batch:
    """Attempts that are handed over together. Saved before Slurm hears of it."""

    name: str
    tokens: list[str]
    options: list[str]
    script: str
    group: str = ""
    at_once: int = 1
    walltime: int = 0  # seconds
    share: int = 1  # of the slots of its group
    job: str = ""  # its number in Slurm, once known
    # Not saved. Whether it may be in the queue although we have no number: it is looked for first.
    is_unsure: bool = True
    not_before: float = 0.0  # monotonic
    found_at: float = 0.0  # likewise: since when its number is known
    said: str = ""  # why it is not in the queue
    left: set[str] = field(default_factory=set)  # attempts that still have a folder


@dataclass(frozen=True)
class _Asked:
    """An attempt that is to be handed over."""

    token: str
    request: Request
    walltime: int  # seconds
    grace: float  # seconds, until it has ended then


@dataclass(frozen=True)
class _Look:
    """What squeue said last."""

    began_at: float = -1e9  # monotonic
    tasks: Mapping[tuple[str, int], Task] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)  # batch -> job
    unfinished: Mapping[str, int] = field(default_factory=dict)  # batch -> how many of it


class SlurmEngine(AttemptFolders):
    """See AttemptFolders for `on_news`.

    root: a folder that the nodes see at the same path. python: what runs the supervisor there.
    patience_seconds: how long Slurm may not know an attempt, and its folder not tell of its end,
    until it counts as lost. needs_box: whether what cannot be sandboxed is refused.
    """

    def __init__(
        self,
        root: Path,
        sandbox: Sandbox,
        on_news: Callable[[str], None],
        *,
        network: bool,
        python: str = "/usr/bin/python3",
        patience_seconds: float = 30.0,
        needs_box: bool = False,
        programs: Programs | None = None,
    ) -> None:
        as_user = sandbox.supervised_as
        super().__init__(
            root,
            sandbox,
            on_news,
            network=network,
            mode=0o711 if as_user is not None else 0o700,
            supervised_as=None if as_user is None else (as_user, as_user),
        )
        self._uid = os.getuid() if as_user is None else as_user
        self._user = _user_name(self._uid)
        self._bare = dataclasses.replace(sandbox, isolation="none", bwrap="")
        self._python = python
        self._patience = patience_seconds
        self._needs_box = needs_box
        self._programs = programs or Programs()
        self._proof = ""  # what lies in the shared folder for the nodes to read
        self._array_most = 0  # not known yet
        self._lock = threading.Lock()
        self._batches: dict[str, _Batch] = {}
        self._of: dict[str, tuple[_Batch, int]] = {}  # token -> where it is
        self._new: dict[str, list[tuple[float, _Asked]]] = {}  # by group; monotonic
        self._look = _Look()
        self._asked: set[str] = set()  # tokens that are in `_new`, or on their way into a batch
        self._held: set[str] = set()  # those of them for which their study has no slot free
        self._unwritten: set[str] = set()  # tokens that wait, and of which nothing has begun
        self._gone: dict[str, float] = {}  # token -> since when Slurm does not have it
        self._stopped_at: dict[str, float] = {}
        self._bad_nodes: dict[str, float] = {}
        self._cancelled: list[str] = []
        self._trouble = ""
        self._calling_since: float | None = None  # monotonic
        self._check = ""  # the name of the check under way
        self._check_until: float | None = None  # monotonic; what the node wrote must be here then
        self._check_trouble = ""
        self._write_supervisor()
        self._load()
        self._closing = False
        self._wake = threading.Event()
        self._wake.set()
        self._thread = threading.Thread(target=self._run, name="slurm", daemon=True)
        self._thread.start()

    def _write_supervisor(self) -> None:
        """What the nodes need of us: supervisors that run already have read it."""
        shared = self._root / SHARED
        here = Path(__file__).parent
        for source in (supervisor.__file__, meter.__file__, group.__file__, here / "hosts.py"):
            aside = shared / f"{Path(source).name}.new"
            shutil.copyfile(source, aside)
            aside.chmod(0o644)
            aside.rename(shared / Path(source).name)
        proof = shared / _PROOF
        if not proof.exists():
            supervisor.write_durably(str(shared), _PROOF, uuid.uuid4().hex)
            proof.chmod(0o644)
        self._proof = proof.read_text()
        (self._root / _BATCHES).mkdir(mode=0o700, exist_ok=True)
        checks = self._root / _CHECKS
        checks.mkdir(mode=0o700, exist_ok=True)
        if self._supervised_as is not None:
            os.chown(checks, *self._supervised_as)

    def _load(self) -> None:
        """Take up what an earlier server has left: batches, and what had not come into one."""
        for path in (self._root / _BATCHES).iterdir():
            if path.suffix == ".json":
                saved = json.loads(path.read_text())
                self._adopt(_Batch(**{name: saved[name] for name in _SAVED if name in saved}))
            else:
                path.unlink()  # what somebody who was killed was about to save
        for token in self.tokens():
            self._take_up(token)

    def _take_up(self, token: str) -> None:
        """Ask for the start of an attempt as it was asked for before, if it is still to start."""
        if token in self._of or not self._is_to_start(token):
            return
        spec = supervisor.read_json(str(self._root / token / "spec.json")) or {}
        if "request" in spec:
            asked = spec["request"]
            wanted = Scheduler(
                **{name: _tuples(value) for name, value in asked["scheduler"].items()}
            )
            asked = Request(**{**asked, "scheduler": wanted})
            self._ask_for(_Asked(token, asked, spec["walltime"], spec["grace"]))

    def _is_written(self, token: str) -> bool:
        """Whether anything of an attempt has begun or ended."""
        root = self._root / token
        return (root / "pid.json").exists() or (root / "exit.json").exists()

    def _adopt(self, batch: _Batch) -> None:
        batch.left = {token for token in batch.tokens if (self._root / token).is_dir()}
        if not batch.left:
            self._drop(batch)
            return
        self._batches[batch.name] = batch
        for index, token in enumerate(batch.tokens):
            self._of[token] = batch, index

    def _save(self, batch: _Batch) -> None:
        content = {name: getattr(batch, name) for name in _SAVED}
        supervisor.write_durably(str(self._root / _BATCHES), f"{batch.name}.json", content)

    def _drop(self, batch: _Batch) -> None:
        (self._root / _BATCHES / f"{batch.name}.json").unlink(missing_ok=True)
        self._batches.pop(batch.name, None)

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name=NAME,
            isolation=self._sandbox.isolation,
            isolation_detail=self._sandbox.detail,
            network=self._network,
            limits=dict.fromkeys(Resource, "watched"),
            trouble=f"{_SILENT}." if self._is_silent() else self._trouble,
            ahead=min(_AHEAD, self._array_most or _AHEAD),
        )

    def _box(self, token: str) -> Sandbox:
        return self._bare if (self._root / token / _BARE).exists() else self._sandbox

    def prepare(self, token: str, request: Request) -> Folder:
        super().prepare(token, request)
        if request.nodes > 1:
            (self._root / token / _BARE).touch()
        return self.folder(token)

    def shown(self, token: str, source: Path, name: str) -> Bind:
        return super().shown(token, self._where_nodes_see(source, name), name)

    def _where_nodes_see(self, source: Path, name: str) -> Path:
        """A copy in the shared folder. Copies that runs may have are never changed."""
        seen = hashlib.sha256()
        for path in sorted(source.rglob("*")):
            seen.update(f"{path.relative_to(source)}\0".encode())
            if path.is_symlink():
                seen.update(os.readlink(path).encode())
            elif path.is_file():
                seen.update(path.read_bytes())
        target = self._root / SHARED / f"{name}-{seen.hexdigest()[:16]}"
        if not target.exists():
            aside = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
            shutil.copytree(source, aside, symlinks=True)
            for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
                folder.chmod(0o755)
            try:
                aside.rename(target)
            except OSError:  # somebody was quicker
                shutil.rmtree(aside)
        return target

    # --- life -------------------------------------------------------------------------------------

    def submit(self, attempt: AttemptSpec) -> None:
        folder = self.folder(attempt.token)
        with self._lock:
            known = attempt.token in self._of
        if known or not folder.root.is_dir():
            return
        if attempt.request.nodes > 1 and self._needs_box:
            if supervisor.bury(str(folder.root), "refused", _NEEDS_BOX):
                self._on_news(attempt.token)
            return
        walltime, grace = attempt.allowance.walltime, attempt.grace_seconds
        if not (folder.root / "spec.json").exists():
            self._write_spec(
                folder,
                attempt,
                inherits=_INHERITED if attempt.request.nodes > 1 else (),
                more={"request": dataclasses.asdict(attempt.request)},
            )
        self._ask_for(_Asked(attempt.token, attempt.request, walltime, grace))
        self._wake.set()

    def _ask_for(self, asked: _Asked) -> None:
        with self._lock:
            if asked.token not in self._asked and asked.token not in self._of:
                self._asked.add(asked.token)
                waiting = self._new.setdefault(_queue_of(asked), [])
                waiting.append((time.monotonic(), asked))

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        look = self._look
        return {token: self._observe(token, look) for token in tokens}

    def _observe(self, token: str, look: _Look) -> Observation:
        root = self._root / token
        with self._lock:
            batch, index = self._of.get(token, (None, 0))
        task = look.tasks.get((batch.name, index)) if batch else None
        if task is not None and task.is_pending and self._has_not_begun(token):
            return Observation(phase=Phase.WAITING, waiting=_waiting(task))
        end = supervisor.read_json(f"{root}/exit.json")
        pids = supervisor.read_json(f"{root}/pid.json")
        if end is not None:
            if end["cause"] == "interrupted" and task is not None and task.is_over:
                end["message"] = end["message"] or slurm_programs.end_in_words(task, "")
            return self._over(str(root), pids, end, same_boot=True)
        if pids is None and not root.is_dir():
            return Observation(phase=Phase.VANISHED)
        if pids is None and (batch is None or not batch.job):
            if not (root / "spec.json").exists():
                return Observation(phase=Phase.UNKNOWN)
            # From here on nobody needs to ask for it again.
            said = self._why_not(token, batch)
            return Observation(phase=Phase.WAITING, waiting=Waiting(Wait.QUEUE, said))
        alive = Observation(phase=Phase.UNKNOWN)
        if pids is not None:
            alive = Observation(phase=Phase.RUNNING, started_at=instant(pids["started_at"]))
        if not self._is_gone(token, task, look, has_begun=pids is not None):
            return alive
        return self._bury(token, task, pids is not None) or alive

    def _why_not(self, token: str, batch: _Batch | None) -> str:
        """Why an attempt is not in Slurm's queue yet."""
        if self._is_silent() or (batch is not None and batch.said):
            why = batch.said if batch is not None and batch.said else _SILENT
            return f"it could not be put into the queue yet ({why})"
        if token in self._held:
            return "all slots of its study are taken"
        return "it is being put into the queue"

    def _has_not_begun(self, token: str) -> bool:
        """Whether nothing is in the folder of one that is in Slurm's queue. It is looked for once:
        that it began is seen in Slurm's next words too.
        """
        if token not in self._unwritten:
            if self._is_written(token):
                return False
            self._unwritten.add(token)
        return True

    def _is_silent(self) -> bool:
        """Whether a question to Slurm has been waiting for its answer for a while."""
        since = self._calling_since
        return since is not None and time.monotonic() - since > _SILENT_SECONDS

    @contextlib.contextmanager
    def _calling(self) -> Iterator[Programs]:
        self._calling_since = time.monotonic()
        try:
            yield self._programs
        finally:
            self._calling_since = None

    def _is_gone(self, token: str, task: Task | None, look: _Look, *, has_begun: bool) -> bool:
        """Whether Slurm has said for long enough that nothing of an attempt runs or will run."""
        is_there = task is not None and not task.is_over and not (has_begun and task.is_pending)
        since = self._gone.get(token)
        if is_there:
            self._gone.pop(token, None)
            return False
        if since is None:
            self._gone[token] = time.monotonic()
            return False
        # Only what Slurm says after that counts: while it does not answer, nothing is gone.
        patience = self._patience
        if task is not None and task.exit_code == _NO_FOLDER:
            patience = 0.0
        return look.began_at >= since + patience

    def _bury(self, token: str, task: Task | None, has_begun: bool) -> Observation | None:
        """Write the end of an attempt that nobody will; None where somebody has it all the same."""
        root = str(self._root / token)
        _refresh(root)
        cause, said = "lost", ""
        if has_begun:
            said = slurm_programs.end_in_words(task)
            if task is None or task.state in _NODE_LOST:
                cause = "interrupted"  # what its driver wrote last may be lost with the node
            if task is not None and task.is_pending:
                said = "it was put back into Slurm's queue after it had begun"
        elif task is not None and task.exit_code == _NO_FOLDER:
            self._note_bad(task.nodes)
        elif task is not None and task.state == "CANCELLED" and not task.nodes:
            # Of one that had a node and never began, Slurm itself does that: after a crash it may
            # give a number again that the node remembers.
            cause = "refused"
            said = slurm_programs.end_in_words(task)
        elif task is not None and task.state == "FAILED":
            cause = "refused"
            said = f"its batch script ended with exit code {task.exit_code} on {task.nodes}"
        if not bury(root, cause, said):
            return None
        self._unwritten.discard(token)
        if task is not None and not task.is_over:
            self._ask_to_cancel(token)
        pids = supervisor.read_json(f"{root}/pid.json")
        return self._over(root, pids, supervisor.read_json(f"{root}/exit.json"), same_boot=True)

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        root = self._root / token
        if not root.is_dir():
            return
        request(root, signal, after_seconds)  # its supervisor looks for that by itself
        pids = supervisor.read_json(str(root / "pid.json"))
        if pids is None:
            if supervisor.bury(str(root), "stopped"):
                self._unwritten.discard(token)
                self._ask_to_cancel(token)
                self._on_news(token)
            return
        is_here = pids["boot_id"] == supervisor.boot_id()  # no need to wait until it looks
        if is_here and supervisor.start_ticks(pids["supervisor"]) == pids["supervisor_ticks"]:
            with contextlib.suppress(OSError):
                supervisor.wake(pids)
        asked_at = self._stopped_at.setdefault(token, time.monotonic())
        if not after_seconds and time.monotonic() > asked_at + self._patience + 30.0:
            self._stopped_at[token] = time.monotonic()
            self._ask_to_cancel(token)  # it does not hear: Slurm ends it

    def _ask_to_cancel(self, token: str) -> None:
        with self._lock:
            self._cancelled.append(token)
        self._wake.set()

    def remove(self, token: str) -> None:
        root = self._root / token
        if root.is_dir():
            if supervisor.read_json(str(root / "exit.json")) is None:
                if not supervisor.bury(str(root), "lost"):
                    self.cancel(token)
                    raise NotFound(f"attempt {token} is still alive")
                self._ask_to_cancel(token)
            remove_tree(root)
        with self._lock:
            self._forget(token)

    def _forget(self, token: str) -> None:
        for known in (self._gone, self._stopped_at):
            known.pop(token, None)
        self._unwritten.discard(token)
        batch, _ = self._of.get(token, (None, 0))
        if batch is None:
            return
        batch.left.discard(token)
        if not batch.left and token not in self._cancelled:
            for each in batch.tokens:
                self._of.pop(each, None)
            self._drop(batch)

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        # A call that takes longer may go on: all of it is safe to repeat.
        self._thread.join(timeout=5)
        self._close_news()

    # --- the thread that talks to Slurm -----------------------------------------------------------

    def _compile(self) -> None:
        """For nodes whose Python is ours; on others each supervisor compiles what it needs."""
        command = [self._python, "-m", "compileall", "-q", str(self._root / SHARED)]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=60, check=False, umask=0o022)

    def _begin_check(self) -> None:
        """Have a node of the default partition show that it shares our folder, unless one did a
        short time ago. Jobs do not wait for it: each of them looks by itself too.
        """
        done = [path for path in (self._root / _CHECKS).iterdir() if not path.suffix]
        if any(time.time() - path.stat().st_mtime < _CHECK_SECONDS for path in done):
            return
        for path in done:
            path.unlink()
        name = f"check-{uuid.uuid4().hex}"
        script = _CHECK.format(**self._places(), no_python=_NO_PYTHON, checks=_CHECKS, name=name)
        asked = _Asked("", Request(cores=1, name="a check of the shared folder"), 0, 0.0)
        try:
            with self._calling() as programs:
                programs.submit([f"--job-name={PREFIX}{name}", *self._options(asked)], script)
        except Rejected as error:  # there may be no default partition
            log.warning("no node was asked whether it shares %s: %s", self._root, error)
            return
        self._check, self._check_until = name, None

    def _look_at_check(self, task: Task | None) -> None:
        """What came of it. It is over when a node's name has come, or something is wrong."""
        written = self._root / _CHECKS / self._check
        if written.exists():
            log.info("%s is shared with %s", self._root, written.read_text())
            self._check = self._check_trouble = ""
        elif task is not None and task.is_over and task.exit_code == _NO_FOLDER:
            self._note_bad(task.nodes)
            self._check = ""
        elif task is not None and task.is_over and task.exit_code == _NO_PYTHON:
            self._check_trouble = f"{self._python} is not Python 3.9 or newer on {task.nodes}."
            self._check = ""
        elif task is None or task.is_over:
            now = time.monotonic()
            self._check_until = self._check_until or now + self._patience
            if now > self._check_until:
                node = task.nodes if task is not None else "a node"
                self._check_trouble = f"What {node} writes into {self._root} does not come here."
                self._check = ""

    def _run(self) -> None:
        self._compile()
        checked = False
        look_at = 0.0
        while True:
            self._wake.wait(self._pause(look_at))
            self._wake.clear()
            if self._closing:
                return
            try:
                if time.monotonic() >= look_at:
                    began = time.monotonic()
                    self._ask()
                    spent = time.monotonic() - began
                    look_at = began + spent + min(max(_BEAT_SECONDS, spent / _SHARE), _BEAT_MOST)
                    self._give_slots()
                    if not checked:
                        self._begin_check()
                        checked = True
                self._gather()
                self._hand_over()
                self._cancel_asked()
            except Silent as error:
                log.warning("Slurm does not answer: %s", error)
            except Exception:
                log.exception("a turn of the Slurm engine failed; it goes on")
                time.sleep(_BEAT_SECONDS)

    def _pause(self, look_at: float) -> float | None:
        """Seconds until something is due; None: nothing is, until somebody asks."""
        with self._lock:
            if not (self._batches or self._new or self._cancelled or self._check):
                return None
            arrived = max((waiting[-1][0] for waiting in self._new.values()), default=0.0)
            at_hand = any(not batch.job for batch in self._batches.values())
        now = time.monotonic()
        if at_hand or now - arrived < 2 * _GATHER_SECONDS:
            return 0.1
        return max(0.0, look_at - now)

    def _ask(self) -> None:
        """One squeue for everything."""
        began = time.monotonic()
        try:
            with self._calling() as programs:
                tasks = programs.queue(self._user)
                if not self._array_most:
                    self._array_most = programs.array_most()
        except Silent as error:
            self._tell_trouble(f"{_SILENT}: {error}")
            return
        if self._check:
            name = self._check
            self._look_at_check(next((task for task in tasks if task.batch == name), None))
        self._tell_trouble()
        # Of one that was submitted twice, whatever is alive counts.
        tasks.sort(key=lambda task: not task.is_over)
        before, found = self._look.tasks, {(task.batch, task.index): task for task in tasks}
        numbers = {task.batch: task.job for task in tasks}
        unfinished = Counter(task.batch for task in found.values() if not task.is_over)
        self._look = _Look(began, found, numbers, unfinished)
        with self._lock:
            known = list(self._of.items())
        for token, (batch, index) in known:
            now, then = found.get((batch.name, index)), before.get((batch.name, index))
            if now != then:
                self._unwritten.discard(token)
                self._on_news(token)

    def _tell_trouble(self, silent: str = "") -> None:
        """silent: why nothing else is known now."""
        trouble = silent or f"{self._bad_in_words()} {self._check_trouble}".strip()
        if trouble != self._trouble:
            log.warning("%s", trouble or "Slurm answers again, and all is well")
        self._trouble = trouble

    def _gather(self) -> None:
        """Make batches of what was asked for. Of a study, when no more of it is to be expected soon
        and slots are free that no other batch of it has.
        """
        now = time.monotonic()
        due: list[list[_Asked]] = []
        held: set[str] = set()
        most = min(_ARRAY_MOST, self._array_most or _ARRAY_MOST)
        with self._lock:
            for name, waiting in list(self._new.items()):
                first = waiting[0][1]
                quiet = now - waiting[-1][0] >= _GATHER_SECONDS
                old = now - waiting[0][0] >= _GATHER_MOST_SECONDS
                if first.request.group and not (quiet or old or len(waiting) >= most):
                    continue
                if self._free_slots(first.request.group, first.request.at_once) <= 0:
                    held.update(asked.token for _, asked in waiting)
                    continue
                due.append([asked for _, asked in waiting[:most]])
                del waiting[:most]
                if not waiting:
                    del self._new[name]
        self._held = held
        for some in due:
            wanted = [asked for asked in some if self._is_to_start(asked.token)]
            try:
                if wanted:
                    options = self._options(wanted[0])
                    self._begin(options, [a for a in wanted if self._options(a) == options])
            finally:  # what did not come into it has its turn later: the disk is full, say
                with self._lock:
                    rest = [asked for asked in wanted if asked.token not in self._of]
                    if rest:
                        later = self._new.setdefault(_queue_of(rest[0]), [])
                        later[:0] = [(now, asked) for asked in rest]
                    self._asked -= {a.token for a in some} - {a.token for a in rest}

    def _is_to_start(self, token: str) -> bool:
        return (self._root / token).is_dir() and not self._is_written(token)

    def _begin(self, options: list[str], together: Sequence[_Asked]) -> None:
        asked = together[0].request
        name = uuid.uuid4().hex
        tokens = [each.token for each in together]
        batch = _Batch(
            name=name,
            tokens=tokens,
            options=options,
            script=self._script(tokens, asked),
            group=asked.group,
            at_once=asked.at_once,
            share=max(1, min(len(tokens), self._free_slots(asked.group, asked.at_once))),
            walltime=together[0].walltime,
            is_unsure=False,
            left=set(tokens),
        )
        self._save(batch)
        crash_point("slurm.batch-written")
        with self._lock:
            self._batches[name] = batch
            for index, token in enumerate(tokens):
                self._of[token] = batch, index

    # --- the slots of a study ---------------------------------------------------------------------

    def _free_slots(self, group: str, at_once: int) -> int:
        """How many more of a group may run now."""
        if not group:
            return 1
        batches = [b for b in list(self._batches.values()) if b.group == group]
        return at_once - sum(min(b.share, self._unfinished(b)) for b in batches)

    def _unfinished(self, batch: _Batch) -> int:
        """How many of a batch may run or are to run, as far as Slurm has told."""
        if batch.job == _NOT_WANTED:
            return 0
        if not batch.job or batch.found_at >= self._look.began_at:
            return len(batch.left)
        return self._look.unfinished.get(batch.name, 0)

    def _give_slots(self) -> None:
        """Let arrays have slots that other arrays of their study do not need any more."""
        for batch in list(self._batches.values()):
            if not (batch.group and batch.job.isdigit()):
                continue
            unfinished = self._unfinished(batch)
            if unfinished <= batch.share:
                continue
            free = self._free_slots(batch.group, batch.at_once)
            if free > 0:
                share = min(unfinished, batch.share + free)
                with self._calling() as programs:
                    programs.throttle(batch.job, share)
                batch.share = share
                self._save(batch)

    def _is_over(self, batch: _Batch) -> bool:
        """Whether nothing of it runs or will run."""
        ended = all((self._root / token / "exit.json").exists() for token in batch.left)
        return ended or not batch.left

    def _hand_over(self) -> None:
        """Submit what is not in the queue yet, and learn the numbers of what is."""
        with self._lock:
            waiting = [batch for batch in self._batches.values() if not batch.job]
        for batch in waiting:
            if batch.is_unsure:
                number = self._look.numbers.get(batch.name)
                if number is None and self._look.began_at > batch.not_before:
                    batch.is_unsure = False  # it is not there, and nothing of that is on its way
                elif number is not None:
                    self._found(batch, number)
                continue
            if time.monotonic() >= batch.not_before:
                self._submit_batch(batch)

    def _found(self, batch: _Batch, number: str) -> None:
        batch.job, batch.said, batch.found_at = number, "", time.monotonic()
        self._save(batch)

    def _submit_batch(self, batch: _Batch) -> None:
        if self._is_over(batch):  # all of it was stopped meanwhile
            batch.job = _NOT_WANTED
            return
        options = [f"--job-name={PREFIX}{batch.name}", *batch.options]
        if len(batch.tokens) > 1:
            options.append(f"--array=0-{len(batch.tokens) - 1}%{batch.share}")
        bad = self._bad_now()
        if bad:
            options.append(f"--exclude={','.join(bad)}")
        try:
            with self._calling() as programs:
                number = programs.submit(options, batch.script)
            crash_point("slurm.submitted")
        except ArrayTooLarge as error:
            if len(batch.tokens) == 1:
                self._reject(batch, str(error))
            else:
                self._in_pieces(batch)
        except Rejected as error:
            exact = _time(batch.walltime)
            if _TIME_LIMIT in str(error).lower() and exact not in batch.options:
                # Its partition gives what the job wants, and not what we want beyond it.
                batch.options = [o for o in batch.options if not o.startswith("--time=")]
                batch.options.append(exact)
                self._save(batch)
            else:
                self._reject(batch, str(error))
        except Silent as error:
            batch.is_unsure = True  # it may have been heard
            batch.not_before = time.monotonic() + _RETRY_SECONDS
            batch.said = str(error)
            log.warning("batch %s could not be submitted: %s", batch.name, error)
            for token in batch.tokens:
                self._on_news(token)
        else:
            self._found(batch, number)
            self._wake.set()

    def _reject(self, batch: _Batch, why: str) -> None:
        """Slurm does not take it, and will not."""
        log.warning("batch %s was refused: %s", batch.name, why)
        batch.job = _NOT_WANTED
        why = f"{why}. {self._bad_in_words()}".strip(" .")
        for token in batch.tokens:
            if (self._root / token).is_dir():
                supervisor.bury(str(self._root / token), "refused", f"Slurm refuses it: {why}")
            self._on_news(token)

    def _in_pieces(self, batch: _Batch) -> None:
        """An array was too large for the site: all of it comes again in smaller ones."""
        self._array_most = max(1, len(batch.tokens) // 2)
        with self._lock:
            for token in batch.tokens:
                self._of.pop(token, None)
            self._drop(batch)
        for token in batch.tokens:
            self._take_up(token)

    def _cancel_asked(self) -> None:
        """Take out of the queue what was stopped or removed."""
        with self._lock:
            waiting, self._cancelled = self._cancelled, []
        for n, token in enumerate(waiting):
            with self._lock:
                batch, index = self._of.get(token, (None, 0))
            if batch is None:
                continue
            if not batch.job.isdigit():
                with self._lock:
                    if not (self._root / token).is_dir():
                        self._forget(token)
                continue
            task = self._look.tasks.get((batch.name, index))
            native = f"{batch.job}_{index}" if len(batch.tokens) > 1 else batch.job
            try:
                if task is None or not task.is_over:
                    with self._calling() as programs:
                        programs.cancel(batch.name, native)
            except Silent:
                with self._lock:
                    self._cancelled += waiting[n:]
                return
            with self._lock:
                if not (self._root / token).is_dir():
                    self._forget(token)

    # --- what Slurm is told -----------------------------------------------------------------------

    def _options(self, what: _Asked) -> list[str]:
        asked, wanted = what.request, what.request.scheduler
        options = [
            f"--comment={asked.name}",
            "--output=/dev/null",
            "--chdir=/",
            "--no-requeue",
            _time(what.walltime + what.grace + _MARGIN_SECONDS),
            f"--nodes={asked.nodes}",
            f"--ntasks={asked.cores}",
            f"--ntasks-per-node={-(-asked.cores // asked.nodes)}",
        ]
        named = {name: getattr(wanted, name) for name in _NAMED}
        options += [f"--{name}={value}" for name, value in named.items() if value]
        if asked.gpus:
            options.append(f"--gres={wanted.gpu or 'gpu'}:{asked.gpus}")
        if wanted.memory_mb:
            options.append(f"--mem-per-cpu={wanted.memory_mb}M")
        if asked.low_priority:
            options += wanted.low_priority or ("--nice=1000",)
        if os.getuid() == 0 and self._uid != 0:
            options += [f"--uid={self._uid}", f"--gid={self._uid}"]
        return [*options, *wanted.options]

    def _script(self, tokens: Sequence[str], asked: Request) -> str:
        places = self._places()
        hosts = _HOSTS.format(**places) if asked.nodes > 1 else ""
        start = shlex.quote(_START)
        return _SCRIPT.format(**places, tokens=" ".join(tokens), hosts=hosts, start=start)

    def _places(self) -> dict[str, object]:
        """What scripts name, as they name it."""
        return {
            "root": shlex.quote(str(self._root)),
            "shared": SHARED,
            "proof": _PROOF,
            "nonce": shlex.quote(self._proof),
            "no_folder": _NO_FOLDER,
            "python": shlex.quote(self._python),
        }

    # --- nodes without the folder -----------------------------------------------------------------

    def _note_bad(self, nodes: str) -> None:
        if nodes and "[" not in nodes:  # of several it is not said which
            self._bad_nodes[nodes] = time.monotonic()
            self._tell_trouble()

    def _bad_now(self) -> list[str]:
        now = time.monotonic()
        return [n for n, at in self._bad_nodes.items() if now - at < _BAD_NODE_SECONDS]

    def _bad_in_words(self) -> str:
        bad = self._bad_now()
        if not bad:
            return ""
        return f"These nodes do not see {self._root} as this server does: {', '.join(bad)}."


def _time(seconds: float) -> str:
    return f"--time={max(1, -(-int(seconds) // 60))}"


def _waiting(task: Task) -> Waiting:
    if task.state == CONFIGURING:
        return Waiting(Wait.CLUSTER, f"its nodes are made ready ({task.nodes or 'Slurm'})")
    return Waiting(Wait.QUEUE, slurm_programs.in_words(task.reason))


def _queue_of(asked: _Asked) -> str:
    """What an attempt is gathered with: its study, or nothing."""
    return asked.request.group or asked.token


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them."""
    return tuple(value) if isinstance(value, list) else value


def _refresh(root: str) -> None:
    """Have a network file system look again at what is in a folder: it may remember."""
    path = os.path.join(root, f".look.{os.getpid()}")
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.unlink(path)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def open_engine(host: Host) -> SlurmEngine:
    """The engine of the Slurm cluster that this machine can submit to. Raises EngineError."""
    for program in ("sbatch", "squeue", "scancel", "scontrol"):
        if shutil.which(program) is None:
            raise EngineError(f"{program} is not installed (apt install slurm-client)")
    try:
        root = Path(host.options.get("folder") or host.data / NAME)
        if os.getuid() == 0:  # jobs are another user's
            if root.is_relative_to(host.data):
                host.data.chmod(0o711)
            root.mkdir(mode=0o711, parents=True, exist_ok=True)
            root.chmod(0o711)
            need_way(root, host.job_uid)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        box = sandbox.probe(host.sandbox, host.job_uid, root / ".probe", supervised=True)
    except OSError as error:
        raise EngineError(f"the shared folder {error.filename}: {error.strerror}") from None
    except RuntimeError as error:
        raise EngineError(str(error)) from None
    return SlurmEngine(
        root,
        box,
        host.on_news,
        network=host.network,
        python=str(host.options["python"]),
        patience_seconds=float(host.options["patience_seconds"]),
        needs_box=host.sandbox == "required",
    )


def _conforms(engine: SlurmEngine) -> Engine:
    """Only for the type checker: a drift from the protocol shows here."""
    return engine
