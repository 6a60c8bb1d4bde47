"""Nothing of a run is left after its end, however it began and however it came to it.

Payloads scatter what they start: sessions of their own, daemons that were forked twice and have
neither their environment nor anything open, ranks of MPI, all deaf to TERM. For each way to the end
all of that must be gone within five seconds after the grace time. The ways go side by side, each
attempt with marks of its own, in an engine of one kind: as root and as another user, with and
without bubblewrap. As another user this file is run as a program.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from harness import RunningServer, command_line, strays, wait_for
from simyard.domain.runs import Allowance, Cause
from simyard.engines import cgroups, sandbox
from simyard.engines.local import LocalEngine
from simyard.engines.protocol import AttemptSpec, Phase, Request, Step

pytestmark = [pytest.mark.faults, pytest.mark.sandbox, pytest.mark.mpi]

ROOT = os.getuid() == 0
OTHER = 1234
GRACE_SECONDS = 0.5
WITHIN_SECONDS = 5.0
WALLTIME_SECONDS = 5

# One mark for each kind of process that is hard to find.
KINDS = ("child", "session", "bare", "daemon", "rank")
DAEMON = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
os.closerange(0, 1024)
os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
"""


def payload(mark: str, then: str) -> str:
    """Start one of each kind, then go on with this."""
    return f"""trap '' TERM
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader OMPI_MCA_plm_rsh_agent=false
sleep {mark}0 &
(setsid sleep {mark}1 &)
(env -i setsid -f sleep {mark}2)
cat > daemon.py <<'END'
{DAEMON}
END
python3 daemon.py {mark}3
mpirun -np 2 sleep {mark}4 &
{then}
"""


class Scene:
    """An engine, and attempts in it that have started everything."""

    def __init__(self, root: Path, mode: str) -> None:
        self.root = root
        box = sandbox.probe(mode, 65534, root / "probe")
        assert (box.isolation == "bubblewrap") == (mode == "required")
        self.groups = cgroups.probe(root / "runs")
        self.box = box
        self.engine = self.make()

    def make(self) -> LocalEngine:
        return LocalEngine(
            self.root / "runs", self.box, lambda _: None, network=True, groups=self.groups
        )

    def start(self, token: str, then: str = "wait", **allowance: int) -> None:
        self.engine.prepare(token, Request(cores=1))
        step = Step(label="it", command=payload(self.mark(token), then), env={})
        self.engine.submit(
            AttemptSpec(
                token=token,
                request=Request(cores=1),
                steps=[step],
                env={},
                path=["/usr/bin", "/bin"],
                binds=[],
                network=True,
                allowance=Allowance(**{"walltime": 60, **allowance}),
                grace_seconds=GRACE_SECONDS,
            )
        )

    def mark(self, token: str) -> str:
        """Digits that no other attempt's processes have."""
        return f"7{os.getpid()}{sum(token.encode()):05}"

    def alive(self, tokens: Iterable[str]) -> dict[str, set[str]]:
        """The kinds of each that are alive."""
        lines = {command_line(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
        return {
            token: {
                kind
                for n, kind in enumerate(KINDS)
                if any(f"sleep {self.mark(token)}{n}" in line for line in lines)
            }
            for token in tokens
        }

    def are_up(self, tokens: Iterable[str]) -> bool:
        return all(kinds == set(KINDS) for kinds in self.alive(tokens).values())

    def pid(self, token: str, name: str) -> int:
        pids = json.loads((self.root / "runs" / token / "pid.json").read_text())
        return int(pids[name])

    def cause(self, token: str) -> Cause | None:
        ending = self.engine.observe([token])[token].ending
        return ending.cause if ending else None


def remembered(scene: Scene, token: str) -> bool:
    """Whether the supervisor knows of all its processes; a second, where that is of use."""
    path = scene.root / "runs" / token / "samples"
    try:
        return len(json.loads(path.read_text())["processes"]) > len(KINDS)
    except (OSError, ValueError):
        return False


def play(root: Path, mode: str) -> None:
    """All ways to the end, side by side."""
    scene = Scene(root, mode)
    engine = scene.engine
    marks = scene.root / "runs"
    go = "while [ ! -e go ]; do sleep 0.05; done"
    ways = {
        "stop": ("wait", {}, Cause.STOPPED),
        "walltime": ("wait", {"walltime": WALLTIME_SECONDS}, Cause.WALLTIME),
        "limit": (f"{go}; head -c 3M /dev/zero; wait", {"log": 10**6}, Cause.LIMIT),
        "normal": (f"{go}; exit 0", {}, Cause.EXITED),
        "supervisor": ("wait", {}, Cause.INTERRUPTED),
        "takeover": ("wait", {}, Cause.STOPPED),  # stopped by the server's successor
    }
    try:
        late = "walltime"  # its time begins when the machine is not busy with the others
        for token in (*(ways.keys() - {late}), late):
            if token == late:
                wait_for(lambda: scene.are_up(ways.keys() - {late}), "everything")
            then, allowance, _ = ways[token]
            scene.start(token, then, **allowance)
        wait_for(lambda: scene.are_up([late]), "the last of it")
        if scene.groups.layout == "none" and mode == "off":
            wait_for(lambda: remembered(scene, "supervisor"), "what was seen of it")
        began = time.monotonic()
        engine.cancel("stop")
        for token in ("limit", "normal"):
            (marks / token / "home" / "work" / "go").touch()
        os.kill(scene.pid("supervisor", "supervisor"), signal.SIGKILL)
        engine.close()  # the fork server goes with it
        engine = scene.engine = scene.make()
        engine.cancel("takeover")
        gone: dict[str, float] = {}
        end = began + WALLTIME_SECONDS + GRACE_SECONDS + 2 * WITHIN_SECONDS
        while len(gone) < len(ways) and time.monotonic() < end:
            seen = engine.observe(list(ways))  # as the server does, once a second or more often
            for token, kinds in scene.alive(ways.keys() - gone.keys()).items():
                if seen[token].phase is Phase.ENDED and not kinds:
                    gone[token] = time.monotonic() - began
            time.sleep(0.1)
        assert scene.alive(ways.keys() - gone.keys()) == {}
        assert {token: scene.cause(token) for token in ways} == {
            token: cause for token, (_, _, cause) in ways.items()
        }
        assert gone.pop(late) < WALLTIME_SECONDS + GRACE_SECONDS + WITHIN_SECONDS
        assert max(gone.values()) < GRACE_SECONDS + WITHIN_SECONDS, gone
        for token in ways:
            wait_for(lambda token=token: removed(scene, token), "its folder's end")  # type: ignore[misc]
        assert scene.groups.tokens() == set()
    finally:
        engine.close()
        for token in ways:
            for pid in strays(f"sleep {scene.mark(token)}"):
                os.kill(pid, signal.SIGKILL)


def removed(scene: Scene, token: str) -> bool:
    scene.engine.remove(token)
    return token not in scene.engine.tokens()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may walk to."""
    made = Path(tempfile.mkdtemp(prefix="simyard-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("mode", ["required", "off"])
def test_nothing_is_left_behind(open_folder: Path, mode: str) -> None:
    play(open_folder, mode)


@pytest.mark.skipif(not ROOT, reason="the whole run is not root already")
@pytest.mark.parametrize("mode", ["required", "off"])
def test_nothing_is_left_behind_by_a_server_that_is_not_root(open_folder: Path, mode: str) -> None:
    command = python_for_others()
    if command is None:
        pytest.skip("no interpreter of this version that another user may run")
    os.chown(open_folder, OTHER, OTHER)
    done = subprocess.run(
        [*AS_OTHER, *command, __file__, str(open_folder), mode],
        capture_output=True,
        text=True,
        timeout=55,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


AS_OTHER = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]


def python_for_others() -> list[str] | None:
    """The same interpreter if others may run it, else the system's if it is of the same version."""
    tests = Path(__file__).parents[1]
    folders = (tests.parent / "src", tests, sysconfig.get_path("purelib"))
    for program in (sys.executable, "/usr/bin/python3"):
        command = ["env", f"PYTHONPATH={':'.join(map(str, folders))}", program, "-B"]
        check = f"import sys, pytest; assert sys.version_info[:2] == {sys.version_info[:2]}"
        done = subprocess.run([*AS_OTHER, *command, "-c", check], capture_output=True, check=False)
        if done.returncode == 0:
            return command
    return None


def test_a_run_of_a_killed_server_is_stopped_by_the_next(
    fresh: Callable[..., RunningServer],
) -> None:
    server = fresh().start()
    client = server.client()
    mark = f"7{os.getpid()}88888"
    job = client.create(payload(mark, "wait"))
    client.submit(job["id"])
    wait_for(lambda: len(strays(f"sleep {mark}")) >= len(KINDS), "all of it")
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    server.kill()
    time.sleep(0.5)
    assert len(strays(f"sleep {mark}")) >= len(KINDS), "a run outlives its server"
    server.start()
    began = time.monotonic()
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    wait_for(lambda: not strays(f"sleep {mark}"), "the end of all of it")
    assert time.monotonic() - began < 1.0 + WITHIN_SECONDS  # the grace time of tests
    assert client.finished(job["id"]) == "Stopped by the user"


if __name__ == "__main__":
    play(Path(sys.argv[1]), sys.argv[2])
