"""What a payload may see and do: bubblewrap where it works, an honest less where it does not.

In the sandbox a run has its own process, mount and ipc namespaces, a read-only system, a private
/tmp, and writes to its own home only. A server that is root gives its runs an ordinary user id.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from simyard.domain.records import dataclass
from simyard.engines.payload import DRIVER
from simyard.engines.protocol import Bind

HOME_INSIDE = "/home/job"
_OURS_INSIDE = "/simyard"  # what the platform shows to a payload lies here
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
_SHELL = "/bin/bash"


@dataclass(frozen=True)
class Sandbox:
    """How payloads are started on this machine. Made by `probe`."""

    isolation: str  # "bubblewrap" or "none"
    detail: str  # a sentence for people
    uid: int | None  # user and group of payloads where the server is root; None: the server's own
    bwrap: str = ""
    setpriv: str = ""
    # User and group of supervisors that are not the server's, and of their payloads.
    supervised_as: int | None = None

    @property
    def owned_by(self) -> int | None:
        """Whom the content of a payload's home must belong to; None: the server's user."""
        return self.uid if self.supervised_as is None else self.supervised_as

    def home_inside(self, folder: Path) -> str:
        """Where the payload of the attempt in this folder sees its home."""
        return HOME_INSIDE if self.bwrap else f"{folder}/home"

    def shown_at(self, source: Path, name: str) -> str:
        """Where a payload sees a folder of the platform's that is bound under this name."""
        return f"{_OURS_INSIDE}/{name}" if self.bwrap else str(source)

    def argv(
        self, folder: Path, shared: Path, *, binds: Sequence[Bind], network: bool
    ) -> list[str]:
        """The command that runs the driver over the scripts of the attempt in this folder.

        shared: the folder that `write_shared` filled.
        """
        ours = Bind(f"{shared}/driver", f"{_OURS_INSIDE}/driver")
        its = Bind(f"{folder}/scripts", f"{_OURS_INSIDE}/scripts")
        driver, scripts = (each.target if self.bwrap else each.source for each in (ours, its))
        inner = ["/bin/sh", driver, scripts, "1" if self.bwrap else "0"]
        if not self.bwrap:
            return inner
        command = [
            self.bwrap,
            "--die-with-parent",  # the parent is the attempt's supervisor
            "--new-session",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-cgroup-try",
        ]
        if self.uid is None:
            command += ["--unshare-user"]
        if not network:
            command += ["--unshare-net"]
        command += _system(os.stat("/").st_mtime_ns)
        command += ["--ro-bind", "/etc", "/etc"]
        command += ["--ro-bind", f"{shared}/passwd", "/etc/passwd"]
        command += ["--ro-bind", f"{shared}/group", "/etc/group"]
        resolver = os.path.realpath("/etc/resolv.conf")
        if not resolver.startswith("/etc/") and os.path.isfile(resolver):
            command += ["--ro-bind", resolver, resolver]
        command += ["--proc", "/proc", "--dev", "/dev"]
        command += ["--perms", "1777", "--tmpfs", "/dev/shm"]
        command += ["--bind", f"{folder}/tmp", "/tmp"]
        shown = [ours, its, *binds]
        for parent in _parents(HOME_INSIDE, "/var/tmp", "/run/x", *(b.target for b in shown)):
            command += ["--perms", "0755", "--dir", parent]  # 0700 if bubblewrap made them itself
        command += ["--perms", "1777", "--tmpfs", "/var/tmp"]
        for bind in shown:
            command += ["--ro-bind", bind.source, bind.target]
        command += ["--bind", f"{folder}/home", HOME_INSIDE, "--chdir", HOME_INSIDE]
        if self.uid is not None:
            # bubblewrap lays out the mounts as root; setpriv then gives everything away.
            command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            command += ["--", self.setpriv, f"--reuid={self.uid}", f"--regid={self.uid}"]
            command += ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
            command += ["--no-new-privs"]
        return [*command, "--", *inner]

    def write_shared(self, shared: Path) -> None:
        """What all attempts see alike: the driver, and a passwd and group that know the payload,
        root, and nobody else. Attempts that started before keep what they see.
        """
        uid = os.getuid() if self.owned_by is None else self.owned_by
        gid = os.getgid() if self.owned_by is None else self.owned_by
        users, groups = ["root:x:0:0:root:/root:/usr/sbin/nologin"], ["root:x:0:"]
        # setpriv first looks for a user of the name "65534", wherever the site has its users, which
        # takes longer than all else that it does; so there is one.
        names = ["job"] if self.uid is None else ["job", str(self.uid)]
        if uid:
            rest = f"x:{uid}:{gid}:simulation job:{HOME_INSIDE}:{_SHELL}"
            users += [f"{name}:{rest}" for name in names]
        if gid:
            groups += [f"{name}:x:{gid}:" for name in names]
        shared.mkdir(exist_ok=True)
        shared.chmod(0o755)
        for name, content in (
            ("driver", DRIVER),
            ("passwd", "\n".join([*users, ""])),
            ("group", "\n".join([*groups, ""])),
        ):
            aside = shared / f"{name}.new"
            aside.write_text(content)
            aside.chmod(0o644)
            aside.rename(shared / name)


@lru_cache(maxsize=1)
def _system(_as_of: int) -> list[str]:
    """How the system's folders are shown. _as_of: when something of the root was last changed."""
    found = []
    for path in _SYSTEM:
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    return found


@lru_cache
def _parents(*paths: str) -> list[str]:
    """Folders that must be made for these places, outermost first; the system's are there."""
    found: dict[str, None] = {}
    for path in paths:
        for parent in reversed(PurePosixPath(path).parents):
            text = str(parent)
            if text not in ("/", "/tmp") and not text.startswith((*_SYSTEM, "/etc")):
                found[text] = None
    return list(found)


def probe(mode: str, job_uid: int, scratch: Path, *, supervised: bool = False) -> Sandbox:
    """See what works on this machine, by doing it.

    mode: "auto", "required" (RuntimeError where bubblewrap does not work) or "off".
    supervised: supervisors are of the runs' user themselves, and not root where the server is.
    """
    runs_as = job_uid if os.getuid() == 0 else None
    uid, supervised_as = (None, runs_as) if supervised else (runs_as, None)
    if mode == "off":
        said = "Runs are not isolated: the site has switched it off."
        return Sandbox("none", said, uid, supervised_as=supervised_as)
    found = Sandbox(
        isolation="bubblewrap",
        detail="Runs see a read-only system and write to their own folder only.",
        uid=uid,
        bwrap=shutil.which("bwrap") or "",
        setpriv=shutil.which("setpriv") or "",
        supervised_as=supervised_as,
    )
    problem = _try(found, scratch)
    if not problem:
        return found
    if mode == "required":
        raise RuntimeError(f"the sandbox is required and does not work here: {problem}")
    said = f"Runs are not isolated: {problem}."
    return Sandbox("none", said, uid, supervised_as=supervised_as)


def _try(sandbox: Sandbox, scratch: Path) -> str:
    """Why the sandbox does not work; "" where it does."""
    if not sandbox.bwrap:
        return "bubblewrap is not installed (apt install bubblewrap)"
    if sandbox.uid is not None and not sandbox.setpriv:
        return "setpriv is not installed (apt install util-linux)"
    scratch.mkdir(parents=True, exist_ok=True)
    scratch.chmod(0o755)
    for name in ("home", "tmp", "scripts"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
        (scratch / name).chmod(0o755)
        if sandbox.supervised_as is not None:
            os.chown(scratch / name, sandbox.supervised_as, sandbox.supervised_as)
    sandbox.write_shared(scratch / "shared")
    (scratch / "shared" / "driver").write_text("id -u\n")
    command = sandbox.argv(scratch, scratch / "shared", binds=(), network=False)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            user=sandbox.supervised_as,
            group=sandbox.supervised_as,
            extra_groups=None if sandbox.supervised_as is None else (),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start ({error})"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    expected = os.getuid() if sandbox.owned_by is None else sandbox.owned_by
    if done.returncode != 0 or done.stdout.strip() != str(expected):
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"bubblewrap does not work here ({said[-1] if said else 'no message'})"
    return ""
