"""The one process that stays with a run attempt from its start to its end.

It outlives the server, and it talks to it only through files in the attempt's folder:

    spec.json  what to start (the server writes it)
    lock       flock()ed by the supervisor for its whole life
    pid.json   written, and flushed, before the payload may run: no pid.json, never started
    steps      what the payload's driver says about its steps (an append-only record)
    cancel     a request to end it, by being there
    exit.json  the end: written aside, flushed, renamed; appears once

What follows from it is the whole of recovery: exit.json there = ended; lock busy = running;
otherwise nobody is left, and whoever takes the lock may write the exit.json that says so (`bury`).

Run as a file (`python -I -S supervisor.py FOLDER`) it supervises one attempt. With
`--fork-server FD` it is a small process that forks a detached supervisor for every folder it is
sent: much faster than a new interpreter each time. Standard library only, single-threaded.
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

BUSY = 75  # somebody supervises this attempt already
ENDED = 76  # it has ended: it is not started again
STARTED_BEFORE = 77  # its payload may have run under a supervisor that is gone

RECORD_FD = 9  # where the payload's driver writes about its steps
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LOOK_SECONDS = 5.0  # a cancel request whose signal was lost is seen after this
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


def descendants(pid):
    """All processes below this one, parents first."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    children = [int(word) for word in file.read().split()]
                found += children
                todo += children
        except OSError:
            pass  # it ended while we looked
    return found


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
        _end(folder, spec, "stopped", None, None)
        return 0
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of the payload come to us
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    payload, go, failure = _fork_payload(folder, spec)
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
    os.write(go, b"g")  # from here on the payload runs
    os.close(go)
    reason = os.read(failure, 200).decode()  # ends at the payload's exec, empty where it worked
    os.close(failure)
    if reason:
        os.waitpid(payload, 0)
        _end(folder, spec, "refused", None, None, reason)
        return 0
    crash_point("supervisor.started")
    _notify(folder, spec)
    cause, status = _watch(folder, spec, payload)
    _kill_descendants(payload)
    code = os.waitstatus_to_exitcode(status)
    crash_point("supervisor.payload-ended")
    _end(folder, spec, cause, started_at, code if code >= 0 else 128 - code)
    return 0


def _fork_payload(folder, spec):
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
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


def _watch(folder, spec, payload):
    """Wait for the payload's end, and bring it about when it is time. Returns (cause, status)."""
    walltime_at = time.monotonic() + spec["walltime"]
    cause, kill_at, status = None, None, None
    while True:
        next_at = walltime_at if kill_at is None else kill_at
        left = next_at - time.monotonic()
        got = signal.sigtimedwait(_WATCHED, max(0.0, min(left, _LOOK_SECONDS)))
        if status is None:
            status = _reap(payload)
        now = time.monotonic()
        if status is not None:
            # What a stopped payload left behind still has the rest of its grace time.
            if cause is None or now >= kill_at or not descendants(os.getpid()):
                return cause or "exited", status
            _reap(payload)
            continue
        if cause is None:
            if os.path.exists(os.path.join(folder, "cancel")):
                cause = "stopped"
            elif now >= walltime_at:
                cause = "walltime"
            elif got is not None and got.si_signo != signal.SIGCHLD:
                cause = "interrupted"  # somebody ends us, and it is not our server
            if cause:
                _ask_to_end(spec)
                kill_at = now + spec["grace"]
        elif now >= kill_at:
            status = _kill_descendants(payload)
            kill_at = now + 1.0


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
    for pid in descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue
        if name not in spec["spare"]:
            _signal(pid, signal.SIGTERM)


def _kill_descendants(payload):
    """KILL until nothing is left below us; give up after a while (uninterruptible sleep).
    Returns the payload's status if it ended meanwhile.
    """
    status = None
    for _ in range(200):
        left = descendants(os.getpid())
        if not left:
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


def _end(folder, spec, cause, started_at, code, message=""):
    end = {
        "cause": cause,
        "message": message,
        "code": code,
        "started_at": started_at,
        "ended_at": time.time(),
    }
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


if __name__ == "__main__":
    if sys.argv[1] == "--fork-server":
        fork_server(int(sys.argv[2]))
    else:
        os.umask(0o077)
        sys.exit(supervise(sys.argv[1]))
