"""A private Slurm for tests, demonstrations and benchmarks.

One controller and a few nodes that are all this machine, from the distribution's packages
(`apt install slurmctld slurmd slurm-client munge`), on free loopback ports, below one folder.
Nothing of a Slurm that the machine may have is read or changed. As root it starts jobs for any
user, as anybody else for himself only.
"""

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
_SBIN = "/usr/sbin:/sbin"
_START_SECONDS = 60.0

_CONF = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={base}/munge.socket
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=1,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=300
MaxJobCount=20000
MaxArraySize={array}
ReturnToService=2
SlurmdTimeout=30
KillWait=5
Waittime=0
InactiveLimit=0
EnforcePartLimits=ALL
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if _which(name) is None]


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """`start` it, and `stop` it. Its daemons are children of this process."""

    def __init__(
        self, base: Path, *, nodes: int = 2, cpus: int = 8, array_most: int = 10001
    ) -> None:
        self.base = base
        self.nodes = [f"node{n}" for n in range(1, nodes + 1)]
        self._cpus, self._array = cpus, array_most
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """What the programs of Slurm need to find it."""
        return {"SLURM_CONF": str(self.base / "slurm.conf")}

    def start(self) -> "Cluster":
        """Raises RuntimeError, with what the controller said, where it does not come up."""
        for name in ("state", *(f"spool/{node}" for node in self.nodes)):
            (self.base / name).mkdir(parents=True)
        self.base.chmod(0o755)  # the socket of munge is for everybody
        key = self.base / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        port, *node_ports = _free_ports(1 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        conf = _CONF.format(
            base=self.base, host=host, port=port, user=getpass.getuser(), array=self._array
        )
        for node, node_port in zip(self.nodes, node_ports, strict=True):
            conf += (
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port}"
                f" CPUs={self._cpus} CoresPerSocket={self._cpus} RealMemory=8000 State=UNKNOWN\n"
            )
        conf += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        conf += f"PartitionName=small Nodes={self.nodes[0]} MaxTime=60 State=UP\n"
        (self.base / "slurm.conf").write_text(conf)
        self._run("munged", "--foreground", "--force", *self._munge())
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_up()
        return self

    def _munge(self) -> list[str]:
        base = self.base
        return [
            f"--key-file={base}/munge.key",
            f"--socket={base}/munge.socket",
            f"--pid-file={base}/munged.pid",
            f"--log-file={base}/munged.log",
            f"--seed-file={base}/munge.seed",
        ]

    def start_controller(self) -> None:
        self._run("slurmctld", "-D")

    def start_node(self, node: str, *, without: Path | None = None) -> None:
        """without: a folder that the node is not to see, which takes root."""
        command = [_which("slurmd") or "slurmd", "-D", "-N", node]
        if without is not None:
            hide = f"mount -t tmpfs -o mode=755 none {shlex.quote(str(without))}"
            command = ["unshare", "--mount", "sh", "-c", f"{hide} && exec {' '.join(command)}"]
        self._run(*command, of=node)

    def kill(self, name: str) -> None:
        """As by `kill -9`: "slurmctld", or a node's slurmd by the node's name."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def wait_until_up(self, seconds: float = _START_SECONDS) -> None:
        """Until the controller answers and every node is ready for jobs."""
        until = time.monotonic() + seconds
        said = ""
        while time.monotonic() < until:
            done = self.call("sinfo", "-h", "-N", "-o", "%N %t", check=False)
            said = done.stdout + done.stderr
            lines = [line.split() for line in set(done.stdout.splitlines())]
            if sorted(node for node, _ in lines) == self.nodes and all(
                state in ("idle", "mix", "alloc", "comp") for _, state in lines
            ):
                return
            time.sleep(0.1)
        log = self.base / "slurmctld.log"
        said += "".join(log.read_text().splitlines(keepends=True)[-5:]) if log.exists() else ""
        raise RuntimeError(f"the private Slurm did not come up: {said.strip()}")

    def call(
        self, *command: str, check: bool = True, seconds: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """One of Slurm's programs, on this cluster."""
        return subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=check,
        )

    def stop(self) -> None:
        """End everything, jobs too, and remove the folder."""
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        for _ in range(5):  # what begins others may come after them
            for pid in self._of_jobs():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.base, ignore_errors=True)

    def _of_jobs(self) -> list[int]:
        """Processes of jobs of this cluster, and those that Slurm has around them."""
        mark, found = f"SLURM_CONF={self.base}/slurm.conf".encode(), []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        if mark in file.read().split(b"\0"):
                            found.append(int(entry))
        return found

    def _run(self, program: str, *arguments: str, of: str = "") -> None:
        name = of or program
        with (self.base / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [_which(program) or program, *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


@contextmanager
def cluster(base: Path, *, nodes: int = 2, cpus: int = 8) -> Iterator[Cluster]:
    """A cluster while the block runs."""
    made = Cluster(base, nodes=nodes, cpus=cpus)
    try:
        yield made.start()
    finally:
        made.stop()
