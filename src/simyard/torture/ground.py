"""What a throw-away server stands on: a folder of its own, and where this process is root a mount
namespace of its own, with a small disk and a boot id that can be changed. Nobody outside sees
either, and both go with the last process in it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

_CLONE_NEWNS = 0x00020000  # linux/sched.h
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


class Ground:
    """A new folder below the temporary folder. To be made before any other thread is started: a
    mount namespace belongs to a thread and to those that it starts.

    disk_megabytes: 0 does without a namespace and all that it makes possible.
    """

    def __init__(self, disk_megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="simyard-torture-"))
        self.folder.chmod(0o755)  # runs without a sandbox walk to their folders
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self._boot_id = self.folder / "boot_id"
        self._clock = self.folder / "clock"
        self._filler = self.disk / "filler"
        own = disk_megabytes > 0 and os.getuid() == 0 and _unshare()
        self.small_disk = own and _mount(
            "-t", "tmpfs", "-o", f"size={disk_megabytes}m", "tmpfs", self.disk
        )
        self._boot_id.write_text(f"{uuid.uuid4()}\n")
        self.can_restart = own and _mount("--bind", self._boot_id, _BOOT_ID)
        if own:
            self._hide_solvers()
        found = [path for pattern in _FAKETIME for path in Path("/").glob(pattern[1:])]
        self._faketime = str(found[0]) if found else ""
        self.set_clock(0)

    def _hide_solvers(self) -> None:
        """Each start of a server asks every solver for its version, which takes seconds: too long
        for a server that is killed twice a second. Its catalogue has the shell alone here.
        """
        catalogue = Path(__file__).parent.parent / "catalogue"
        few = self.folder / "catalogue"
        shutil.copytree(catalogue, few)
        for path in few.glob("*.toml"):
            if "[probe]" in path.read_text():
                path.unlink()
        _mount("--bind", few, catalogue)

    @property
    def data(self) -> Path:
        return self.disk / "data"

    # --- clock ------------------------------------------------------------------------------------

    @property
    def can_jump(self) -> bool:
        return bool(self._faketime)

    def clock_environment(self) -> dict[str, str]:
        """What makes a process live by our clock, if it is started by the code beside it. Monotonic
        time is left alone, as it is where an administrator sets the clock of a machine.
        """
        if not self.can_jump:
            return {}
        return {
            "LD_PRELOAD": self._faketime,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            # Or it rewrites the waits by which Python's threads take turns, and a server of several
            # threads answers one request a second.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    # The library is for the server alone: a sandbox does not start with it. And it takes the end of
    # a sleep, which Python gives in monotonic time, for a time of day.
    BY_OUR_CLOCK = (
        "import os, select, time\n"
        "os.environ.pop('LD_PRELOAD', None)\n"
        "time.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
        "from simyard.cli.main import main\n"
        "main()\n"
    )

    def set_clock(self, offset_seconds: int) -> None:
        """All processes that live by our clock see it within a second."""
        aside = self._clock.with_name("clock.new")
        aside.write_text(f"{offset_seconds:+d}\n")
        aside.rename(self._clock)

    # --- machine ----------------------------------------------------------------------------------

    def change_boot_id(self) -> None:
        """As a restart of the machine does."""
        self._boot_id.write_text(f"{uuid.uuid4()}\n")

    def fill(self) -> int:
        """Take what is free on the small disk. Returns how many bytes that were."""
        taken = 0
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                taken += file.write(bytes(1 << 20))
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                taken += file.write(bytes(4096))
        return taken

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def keep(self) -> None:
        """Have everything outlive the namespace."""
        if self.small_disk:
            shutil.copytree(self.disk, self.folder / "kept", ignore=_no_sockets)

    def remove(self) -> None:
        self._remove_groups()
        if self.small_disk:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_groups(self) -> None:
        """The control groups of attempts that no server lived to clear away."""
        for spec in self.folder.glob("**/runs/*/spec.json"):
            try:
                group = json.loads(spec.read_text()).get("group") or {}
                for folder in reversed(group.get("folders", [])):
                    os.rmdir(folder)
            except (OSError, ValueError):
                continue


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


def _unshare() -> bool:
    """A mount namespace for this thread, from which nothing gets out."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(_CLONE_NEWNS) == 0 and _mount("--make-rprivate", "/")


def _mount(*words: object) -> bool:
    command = ["mount", *(str(word) for word in words)]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False
