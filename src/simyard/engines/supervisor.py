"""The one process that stays with a run attempt from its start to its end.

It outlives the server, and it talks to it only through files in the attempt's folder:

    spec.json  what to start (the server writes it)
    lock       flock()ed by the supervisor for its whole life
    pid.json   written, and flushed, before the payload may run: no pid.json, never started
    steps      what the payload's driver says about its steps (an append-only record)
    cancel     a request to end it, by being there; what it says is how: see `_request`
    samples    what it uses: see meter.py, beside this file
    exit.json  the end: written aside, flushed, renamed; appears once

What follows from it is the whole of recovery: exit.json there = ended; lock busy = running;
otherwise nobody is left, and whoever takes the lock may write the exit.json that says so (`bury`).

Run as a file (`python -I -S supervisor.py FOLDER`) it supervises one attempt. With
`--fork-server FD` it is a small process that forks a detached supervisor for every folder it is
sent: much faster than a new interpreter each time. Standard library only, single-threaded; of the
package it loads group.py and meter.py, by their place.
"""

import ctypes
import errno
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import time

if __package__:
    from simyard.engines import group as groups
    from simyard.engines import meter as meters
else:  # run as a file: what lies beside it, and after the standard library
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import group as groups
    import meter as meters

descendants = meters.descendants

BUSY = 75  # somebody supervises this attempt already
ENDED = 76  # it has ended: it is not started again
STARTED_BEFORE = 77  # its payload may have run under a supervisor that is gone

RECORD_FD = 9  # where the payload's driver writes about its steps
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_OOM_SCORE = "500"  # where the machine's memory is full, the kernel takes payloads before servers
_RETRY_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def start_ticks(pid):
    """When a process began, in clock ticks since boot; with the pid it names one process ever.
    None where there is no such process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rsplit(b")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def read_json(path):
    """The content of a file that is written in one piece; None where it is absent."""
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def write_durably(folder, name, content):
    """All or nothing, and there after a power loss."""
    aside = os.path.join(folder, f"{name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = json.dumps(content).encode()
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    crash_point(f"supervisor.{name}-aside")
    os.rename(aside, os.path.join(folder, name))
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)


def take_lock(folder):
    """The attempt's lock, or None where somebody holds it. It is held until it is closed."""
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def bury(folder, cause, message=""):
    """Write the end of an attempt that has no supervisor (any more), so that it never starts.

    Does nothing where it has a supervisor or an end. Returns whether it has an end now.
    """
    lock = take_lock(folder)
    if lock is None:
        return False
    try:
        if not os.path.exists(os.path.join(folder, "exit.json")):
            pids = read_json(os.path.join(folder, "pid.json"))
            end = {
                "cause": cause,
                "message": message,
                "code": None,
                "started_at": pids["started_at"] if pids else None,
                "ended_at": time.time(),
            }
            write_durably(folder, "exit.json", end)
        return True
    finally:
        os.close(lock)


def supervise(folder):
    """Start the attempt in this folder and stay until nothing of it is alive."""
    lock = take_lock(folder)
    if lock is None:
        return BUSY
    if os.path.exists(os.path.join(folder, "exit.json")):
        return ENDED
    if os.path.exists(os.path.join(folder, "pid.json")):
        return STARTED_BEFORE
    crash_point("supervisor.locked")
    spec = read_json(os.path.join(folder, "spec.json"))
    if spec is None:
        return ENDED  # the folder was made anew for something else
    if os.path.exists(os.path.join(folder, "cancel")):
        _end(folder, spec, {"cause": "stopped"})
        return 0
    group = _make_group(spec)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of the payload come to us
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    payload, go, failure = _fork_payload(folder, spec, group)
    crash_point("supervisor.forked")
    started_at = time.time()
    pids = {
        "supervisor": os.getpid(),
        "supervisor_ticks": start_ticks(os.getpid()),
        "payload": payload,
        "payload_ticks": start_ticks(payload),
        "boot_id": boot_id(),
        "started_at": started_at,
    }
    write_durably(folder, "pid.json", pids)
    crash_point("supervisor.pid-written")
    meter = meters.Meter(folder, spec, group)
    try:
        os.write(go, b"g")  # from here on the payload runs
    except BrokenPipeError:
        pass  # it has failed already, and tells why
    os.close(go)
    reason = os.read(failure, 200).decode()  # ends at the payload's exec, empty where it worked
    os.close(failure)
    if reason:
        os.waitpid(payload, 0)
        _end(folder, spec, {"cause": "refused", "message": reason})
        _remove_group(group)
        return 0
    crash_point("supervisor.started")
    _notify(folder, spec)
    try:
        end, status = _Watch(folder, spec, payload, group, meter).until_the_end()
    finally:  # whatever it was: nobody else would end what is left
        _kill_descendants(payload, group)
    code = os.waitstatus_to_exitcode(status)
    crash_point("supervisor.payload-ended")
    end.update(started_at=started_at, code=code if code >= 0 else 128 - code)
    _end(folder, spec, {**end, "usage": meter.finish()})
    _remove_group(group)
    return 0


def _make_group(spec):
    """The attempt's control group; None where there is none, or where it cannot be made now."""
    group = spec.get("group")
    if group is not None:
        try:
            groups.make(group)
        except OSError:
            groups.remove(group)
            return None  # its limits are kept as well as they can be without
    return group


def _remove_group(group):
    if group is not None:
        groups.remove(group)


def _fork_payload(folder, spec, group):
    """Fork the payload, which waits. Returns (pid, pipe to let it go, pipe that tells why not)."""
    wait, go = os.pipe()
    failure, tell = os.pipe()
    supervisor = os.getpid()
    payload = os.fork()
    if payload:
        os.close(wait)
        os.close(tell)
        return payload, go, failure
    try:
        os.close(go)
        os.close(failure)
        if group is not None:
            groups.join(group, 0)  # slow at times, which is why the supervisor does not wait for it
        if os.read(wait, 1) != b"g":
            os._exit(0)  # the supervisor died before it had written down that we exist
        _become_payload(folder, spec, supervisor)
    except BaseException as error:
        os.write(tell, str(error).encode()[:200] or b"unknown")
    os._exit(127)


def _become_payload(folder, spec, supervisor):
    os.setsid()
    os.umask(0o022)
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    steps = os.path.join(folder, "steps")
    record = os.open(steps, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(record, RECORD_FD)  # inheritable, as dup2 makes it
    os.chdir(spec["cwd"])
    _prefer_for_oom()
    if spec.get("uid") is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # cleared by setuid, so after it
    if os.getppid() != supervisor:
        os._exit(0)  # it died before we asked to be told
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; a solver should not
        signal.signal(number, signal.SIG_DFL)
    beginnings = tuple(spec.get("inherits", ()))
    inherited = {name: os.environ[name] for name in os.environ if name.startswith(beginnings)}
    os.execve(spec["argv"][0], spec["argv"], {**inherited, **spec["env"]})


def _prefer_for_oom():
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_OOM_SCORE)
    except OSError:
        pass


class _Watch:
    """Waits for the payload's end, and brings it about when it is time."""

    def __init__(self, folder, spec, payload, group, meter):
        self._folder, self._spec, self._payload = folder, spec, payload
        self._group, self._meter = group, meter
        self._walltime_at = time.monotonic() + spec["walltime"]
        self._end = {}  # for exit.json, once there is a reason to end it
        self._term_at = None  # when it is told to end: later where it was asked in its own way
        self._kill_at = None  # when that has not helped

    def until_the_end(self):
        """Returns (what to record of it, the payload's status)."""
        status = None
        while True:
            got = signal.sigtimedwait(_WATCHED, self._patience())
            reaped = _reap(self._payload)
            status = reaped if status is None else status
            now = time.monotonic()
            if status is not None and self._is_over(now):
                if not self._end and status != 0 and self._is_ended_by_others(got):
                    self._end["cause"] = "interrupted"
                return self._end or {"cause": "exited"}, status
            over = self._meter.look() if now >= self._meter.next_at else None
            if status is None:
                self._look_for_a_reason(now, over, got)
            if self._term_at is not None and now >= self._term_at:
                self._term_at = None
                self._kill_at = now + self._spec["grace"]
                _ask_to_end(self._spec)
            elif self._kill_at is not None and now >= self._kill_at:
                killed = _kill_descendants(self._payload, self._group)
                status = killed if status is None else status
                self._kill_at = now + 1.0

    def _patience(self):
        """Seconds until something is due."""
        due = [at for at in (self._term_at, self._kill_at) if at is not None]
        if not self._end:
            due.append(self._walltime_at)
        return max(0.0, min([*due, self._meter.next_at]) - time.monotonic())

    def _is_ended_by_others(self, got):
        """Whether somebody told the payload and us at once to end, as schedulers do."""
        while got is not None and got.si_signo == signal.SIGCHLD:
            got = signal.sigtimedwait(_WATCHED, 0)
        return got is not None and _request(self._folder) is None

    def _is_over(self, now):
        """With the payload's end, but what one left behind that was told to end has the rest of
        its time.
        """
        return self._kill_at is None or now >= self._kill_at or not descendants(os.getpid())

    def _look_for_a_reason(self, now, over, got):
        request = _request(self._folder)
        if self._end:
            # A plain request ends the waiting for what was asked for in another way.
            if self._term_at is not None and request is not None and not request["after"]:
                self._term_at = now
            return
        self._term_at = now
        if request is not None:
            self._end["cause"] = "stopped"
            if request["after"] and _ask_politely(self._spec, self._payload, request["signal"]):
                self._term_at = min(now + request["after"], max(now, self._walltime_at))
        elif over is not None:
            self._end.update(cause="limit", limit=over)
        elif now >= self._walltime_at:
            self._end["cause"] = "walltime"
        elif got is not None and got.si_signo != signal.SIGCHLD:
            self._end["cause"] = "interrupted"  # somebody ends us, and it is not our server
        else:
            self._term_at = None


def _request(folder):
    """How the attempt is to end: {"signal": number or None, "after": seconds}; None: nobody wants
    it. An empty file, or one that cannot be read, is the plain request.
    """
    try:
        with open(os.path.join(folder, "cancel")) as file:
            asked = json.loads(file.read() or "{}")
        return {"signal": asked.get("signal"), "after": float(asked.get("after", 0))}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, TypeError):
        return {"signal": None, "after": 0.0}


def _reap(payload):
    """Take note of everything that has ended; the payload's status if it was among it."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == payload:
            status = ended


def _ask_to_end(spec):
    """TERM to everything of the payload but the sandbox around it, which would end at once."""
    for pid in _spoken_to(spec, descendants(os.getpid())):
        _signal(pid, signal.SIGTERM)


def _ask_politely(spec, payload, number):
    """Send a signal to everything of the payload that has a way to deal with it, and let the
    driver begin nothing more. Returns whether there is anybody to wait for.
    """
    driver = next(_spoken_to(spec, [payload, *descendants(payload)]), None)
    asked = number is None
    for pid in _spoken_to(spec, descendants(os.getpid())):
        if number is not None and pid != driver and _catches(pid, number):
            _signal(pid, number)
            asked = True
    if asked and driver is not None and _catches(driver, signal.SIGUSR1):
        _signal(driver, signal.SIGUSR1)
    return asked


def _spoken_to(spec, pids):
    for pid in pids:
        try:
            with open(f"/proc/{pid}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue
        if name not in spec["spare"]:
            yield pid


def _catches(pid, number):
    """Whether a process has a handler for a signal. Without, it would only be killed by it."""
    try:
        with open(f"/proc/{pid}/status") as file:
            (mask,) = (line.split()[1] for line in file if line.startswith("SigCgt:"))
    except (OSError, ValueError):
        return False
    return bool(int(mask, 16) >> (number - 1) & 1)


def _kill_descendants(payload, group):
    """KILL until nothing is left below us or in the group; give up after a while
    (uninterruptible sleep). Returns the payload's status if it ended meanwhile.
    """
    status = None
    for _ in range(200):
        left = descendants(os.getpid())
        if group is not None and groups.members(group):
            groups.strike(group)
        elif not left:
            break
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.01)
        reaped = _reap(payload)
        status = reaped if status is None else status
    return status


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass  # it has ended


def _end(folder, spec, told):
    """told: the cause, and what else is known."""
    nothing = {"message": "", "code": None, "started_at": None}
    end = {**nothing, **told, "ended_at": time.time()}
    while True:
        try:
            write_durably(folder, "exit.json", end)
            break
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            time.sleep(_RETRY_SECONDS)  # nobody else knows how it ended: wait for room
    crash_point("supervisor.exit-written")
    _notify(folder, spec)


def _notify(folder, spec):
    """Tell the server that there is news. Best effort: it also looks by itself."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            os.chdir(folder)  # the address is relative: a path of the whole might be too long
            sock.sendto(spec["token"].encode(), spec["notify"])
    except OSError:
        pass


def crash_point(name):
    """See domain/faults.py, which this file cannot import."""
    if os.environ.get("SIMYARD_CRASH_AT") == name:
        try:
            os.close(os.open(os.environ["SIMYARD_CRASH_ONCE"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def fork_server(descriptor):
    """Fork a detached supervisor for every folder that arrives, until the server goes away."""
    requests = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are nobody's children to wait for
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # our end is the end of the socket
    gc.collect()
    gc.freeze()
    while True:
        folder = requests.recv(8192)
        if not folder:
            return
        crash_point("forkserver.received")
        try:
            child = os.fork()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOMEM):
                raise
            continue  # the server asks again
        if child == 0:
            try:
                requests.close()
                _detach()
                supervise(folder.decode())
            finally:
                os._exit(0)


def _detach():
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def alone(folder):
    """Supervise one attempt in a process of its own, and exit."""
    os.umask(0o077)
    sys.exit(supervise(folder))


if __name__ == "__main__":
    if sys.argv[1] == "--fork-server":
        fork_server(int(sys.argv[2]))
    else:
        alone(sys.argv[1])
