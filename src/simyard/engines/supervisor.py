"""The one process that stays with a run attempt from its start to its end.

It outlives the server, and it talks to it only through files in the attempt's folder:

    spec.json  what to start (the server writes it)
    lock       flock()ed by the supervisor for its whole life; it says `safe` once the end and all
               that was written before it are on the disk
    pid.json   written, and flushed, before the payload may run: no pid.json, never started
    steps      what the payload's driver says about its steps (an append-only record)
    cancel     a request to end it, by being there; what it says is how: see `_request`
    samples    what it uses while it lives: see meter.py, beside this file
    exit.json  the end, and what was used: written aside, flushed, renamed; appears once

What follows from it is the whole of recovery: exit.json there = ended; lock busy = running;
otherwise nobody is left, and whoever takes the lock may write the exit.json that says so (`bury`).

Run as a file (`python -I -S supervisor.py FOLDER`) it supervises one attempt. With
`--fork-server FD` it is a small process that forks a detached supervisor for every folder it is
sent: much faster than a new interpreter each time. One whose attempt has ended waits a moment for
the next: never more than one at a time. Standard library only, single-threaded; of the package it
loads group.py and meter.py, by their place.
"""

import ctypes
import errno
import fcntl
import gc
import json
import os
import select
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
_OPTIONS_FD = 100  # above whatever we have open; where the sandbox reads its options
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python; a solver should not
_TOO_MUCH = (errno.EAGAIN, errno.ENOMEM)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WAKE = signal.SIGUSR1  # there is a request: look. To look in vain does nothing
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, _WAKE}
_SEE_OFF_SECONDS = 0.1
_FORK_SECONDS = 0.05  # between the fork and the exec of a process, with a margin
_IDLE_SECONDS = 2.0  # that a supervisor waits for another attempt
_MOST_DOORS = 500  # fewer than files may be open
_OOM_SCORE = b"500"  # where the machine's memory is full, the kernel takes payloads before servers
_RETRY_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_boot = []  # what `boot_id` found: no process lives longer
_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_SAFE = b"safe"


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
    """Names the time since the machine started."""
    if not _boot:
        with open("/proc/sys/kernel/random/boot_id") as file:
            _boot.append(file.read().strip())
    return _boot[0]


def read_json(path):
    """The content of a file that is written in one piece; None where it is absent."""
    try:
        with open(path, "rb", buffering=0) as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None


def write_durably(folder, name, content):
    """All or nothing, and there after a power loss."""
    aside = os.path.join(folder, f"{name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(descriptor, json.dumps(content).encode())
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


def make_safe(folder):
    """Have the disk keep what an ended attempt has written, and then say so. Nobody waits for it:
    mostly all of it is collected before. To say it takes a file that is there, for the folder may
    be on its way out.
    """
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # it was removed
    try:
        if _libc.syncfs(lock) == 0:
            os.write(lock, _SAFE)
            os.fsync(lock)
    except OSError:
        pass
    finally:
        os.close(lock)


def is_safe(folder):
    """Whether an attempt's end and its files are there even after a power loss."""
    try:
        with open(os.path.join(folder, "lock"), "rb", buffering=0) as lock:
            return lock.read() == _SAFE
    except OSError:
        return False


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


def wake(pids):
    """Tell a supervisor, as its pid.json has it, that there is a request. It may have gone on to
    another attempt meanwhile, which does not mind. Raises OSError where it is gone.
    """
    os.kill(pids["supervisor"], pids.get("wake", signal.SIGTERM))


def supervise(folder):
    """Start the attempt in this folder and stay until nothing of it is alive."""
    try:
        lock = take_lock(folder)
    except FileNotFoundError:
        return ENDED  # and was removed meanwhile
    if lock is None:
        return BUSY
    try:
        return _supervise(folder)
    finally:
        os.close(lock)


def _supervise(folder):
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
    try:
        payload = (_Box if spec.get("own_pids") else _Forked)(folder, spec, group)
    except OSError as error:
        _remove_group(group)
        if error.errno in (*_TOO_MUCH, *_NO_ROOM):
            raise  # the server asks again
        _end(folder, spec, {"cause": "refused", "message": str(error)})
        return 0
    crash_point("supervisor.forked")
    started_at = time.time()
    pids = {
        "supervisor": os.getpid(),
        "supervisor_ticks": start_ticks(os.getpid()),
        "payload": payload.pid,
        "boot_id": boot_id(),
        "wake": int(_WAKE),
        "started_at": started_at,
    }
    write_durably(folder, "pid.json", pids)
    crash_point("supervisor.pid-written")
    meter = meters.Meter(folder, spec, group)
    reason = payload.let_go()
    if reason:
        meter.close()
        _end(folder, spec, {"cause": "refused", "message": reason})
        _remove_group(group)
        return 0
    crash_point("supervisor.started")
    _notify(folder, spec)
    try:
        end, status = _Watch(folder, spec, payload.pid, group, meter).until_the_end()
        if spec.get("own_pids"):
            _see_off(meter)
    finally:  # whatever it was: nobody else would end what is left
        _kill_descendants(payload.pid, group, meter)
    payload.over()
    code = os.waitstatus_to_exitcode(status)
    crash_point("supervisor.payload-ended")
    end.update(started_at=started_at, code=code if code >= 0 else 128 - code)
    used = meter.finish()
    is_gone = _remove_group(spec.get("group"))  # also one that was made in part
    _end(folder, spec, {**end, **used, "group_is_gone": is_gone})
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
    """Returns whether there is none any more."""
    return group is None or groups.remove(group)


class _Box:
    """A payload in a sandbox, which waits for its options and then begins.

    It is spawned, not forked: that takes a third of the time, of which a short run has not much.
    Where we are killed before it has its options, it finds nothing that it could execute, and
    nobody who would hear of it.
    """

    def __init__(self, folder, spec, group):
        self._words = spec["argv"]
        ours, its = [], []
        try:
            self._log = _open(spec["log"], 0o644)
            ours.append(self._log)
            record = _open(os.path.join(folder, "steps"), 0o600)
            its.append(record)
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            its.append(null)
            self._said, tell = os.pipe()
            ours.append(self._said)
            its.append(tell)
            wait, self._go = os.pipe()
            ours.append(self._go)
            its.append(wait)
            os.set_blocking(self._said, False)
            # The record last: any of the others may have its number with us.
            places = (null, 0), (self._log, 1), (tell, 2), (wait, _OPTIONS_FD), (record, RECORD_FD)
            self.pid = self._spawn(spec, places)
            if group is not None:
                self._join(group)
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(its)

    def _spawn(self, spec, places):
        """At the mode, the place and the score that the payload is to have."""
        box, *rest = self._words
        os.chdir(spec["cwd"])
        umask = os.umask(0o022)
        before = _set_oom_score(_OOM_SCORE)
        try:
            return os.posix_spawn(
                box,
                [box, "--args", str(_OPTIONS_FD), *rest[rest.index("--") :]],
                _environment(spec),
                file_actions=[(os.POSIX_SPAWN_DUP2, *place) for place in places],
                setsid=True,
                setsigmask=(),
                setsigdef=_IGNORED,
            )
        finally:
            _set_oom_score(before)
            os.umask(umask)

    def _join(self, group):
        try:
            groups.join(group, self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise

    def let_go(self):
        """From here on it runs. Returns why it does not; "" where that is still to be seen."""
        options = self._words[1 : self._words.index("--")]
        _tell(self._go, b"".join(os.fsencode(word) + b"\0" for word in options))
        return ""

    def over(self):
        """Nothing of it is alive. What was said before its driver began belongs into its log."""
        try:
            said = os.read(self._said, 8192)
            if said:
                os.write(self._log, said)
        except OSError:
            pass  # there is no room
        _close((self._said, self._log))


class _Forked:
    """A payload without a sandbox: a fork of ours, which waits until it may become it."""

    def __init__(self, folder, spec, group):
        wait, self._go = os.pipe()
        self._failure, tell = os.pipe()
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid:
            _close((wait, tell))
            return
        try:
            _close((self._go, self._failure))
            if group is not None:
                groups.join(group, 0)  # slow at times, which is why the supervisor does not wait
            if os.read(wait, 1) != b"g":
                os._exit(0)  # the supervisor died before it had written down that we exist
            _become_payload(folder, spec, supervisor)
        except BaseException as error:
            os.write(tell, str(error).encode()[:200] or b"unknown")
        os._exit(127)

    def let_go(self):
        """From here on it runs. Returns why it does not, "" where it does."""
        _tell(self._go, b"g")
        reason = os.read(self._failure, 200).decode()  # ends at its exec, empty where that worked
        os.close(self._failure)
        if reason:
            os.waitpid(self.pid, 0)
        return reason

    def over(self):
        pass


def _tell(pipe, content):
    """The last that is told through a pipe."""
    try:
        _write_whole(pipe, content)
    except BrokenPipeError:
        pass  # it has failed already, and tells why
    os.close(pipe)


def _write_whole(descriptor, content):
    while content:
        content = content[os.write(descriptor, content) :]


def _open(path, mode):
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)


def _close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def _environment(spec):
    beginnings = tuple(spec.get("inherits", ()))
    inherited = {name: os.environ[name] for name in os.environ if name.startswith(beginnings)}
    return {**inherited, **spec["env"]}


def _become_payload(folder, spec, supervisor):
    os.setsid()
    os.umask(0o022)
    log = _open(spec["log"], 0o644)
    record = _open(os.path.join(folder, "steps"), 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(record, RECORD_FD)  # inheritable, as dup2 makes it
    os.chdir(spec["cwd"])
    _set_oom_score(_OOM_SCORE)
    if spec.get("uid") is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # cleared by setuid, so after it
    if os.getppid() != supervisor:
        os._exit(0)  # it died before we asked to be told
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    os.execve(spec["argv"][0], spec["argv"], _environment(spec))


def _set_oom_score(score):
    """Ours, and of whatever we start from now on. Returns what it was; None: not known."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            before = file.read()
            if score is not None:
                file.seek(0)
                file.write(score)
            return before
    except OSError:
        return None


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
            reaped = _reap(self._payload, self._meter)
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
                killed = _kill_descendants(self._payload, self._group, self._meter)
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
        while got is not None and not _asks_to_end(got):
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
        elif got is not None and _asks_to_end(got):
            self._end["cause"] = "interrupted"  # somebody ends us, and it is not our server
        else:
            self._term_at = None


def _asks_to_end(got):
    return got.si_signo not in (signal.SIGCHLD, _WAKE)


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


def _reap(payload, meter):
    """Take note of everything that has ended; the payload's status if it was among it."""
    status = None
    while True:
        try:
            pid, ended, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        meter.ended(used)
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
    if number is not None:
        others = [pid for pid in _spoken_to(spec, descendants(os.getpid())) if pid != driver]
        ready = [pid for pid in others if _catches(pid, number)]
        if ready:
            time.sleep(_FORK_SECONDS)
        for pid in ready:
            # One that was just forked has its parent's handlers until it becomes something else.
            if _catches(pid, number):
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


def _kill_descendants(payload, group, meter):
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
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)
        reaped = _reap(payload, meter)
        status = reaped if status is None else status
    return status


def _see_off(meter):
    """What was in a sandbox is on its way out when the sandbox has ended: leave it a moment."""
    end = time.monotonic() + _SEE_OFF_SECONDS
    while descendants(os.getpid()) and time.monotonic() < end:
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)
        _reap(None, meter)


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
            if error.errno not in _NO_ROOM:
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
    """Give every folder that arrives to a detached supervisor, until the server goes away: to one
    that waits for another attempt, or else to one that is forked for it.
    """
    requests = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are nobody's children to wait for
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # our end is the end of the socket
    supervisors = _Supervisors(requests)
    gc.collect()
    gc.freeze()
    while folder := supervisors.hear():
        crash_point("forkserver.received")
        if supervisors.give(folder):
            continue
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            child = os.fork()
        except OSError as error:
            _close_all((ours, theirs))
            if error.errno not in _TOO_MUCH:
                raise
            continue  # the server asks again
        if child == 0:
            try:
                # With the fork server's ends the last ones are gone, and who waits is told.
                _close_all((requests, ours, *supervisors.doors.values()))
                _detach()
                _serve(theirs, folder)
            finally:
                os._exit(0)
        theirs.close()
        supervisors.add(ours)


class _Supervisors:
    """The fork server's supervisors. Each has a door by which it tells that it waits, and gets the
    folder of its next attempt.
    """

    def __init__(self, requests):
        self.doors = {}  # by descriptor
        self._waiting = []  # descriptors; the last one came last
        self._given = {}  # descriptor: the folder that was given last
        self._requests = requests
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def add(self, door):
        if len(self.doors) >= _MOST_DOORS:
            door.close()  # it goes after its attempt
            return
        self.doors[door.fileno()] = door
        self._poll.register(door, select.POLLIN)

    def hear(self):
        """Take in who waits and who is gone, until there is a folder to give: a request's, or one
        that was given to somebody who is gone and never took it. b"": there are no more requests.
        """
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            for descriptor in ready:
                if descriptor in self.doors and (folder := self._hear(descriptor)):
                    return folder
            if self._requests.fileno() in ready:
                return self._requests.recv(8192)

    def _hear(self, descriptor):
        """What one tells. Returns what it had been given where it is gone and never took it."""
        untaken = None
        try:
            waits = self.doors[descriptor].recv(1)
        except ConnectionResetError:  # it was closed with something still in it
            waits, untaken = b"", self._given.get(descriptor)
        except OSError:
            waits = b""
        if waits:
            self._waiting.append(descriptor)
            return None
        self._poll.unregister(descriptor)
        self.doors.pop(descriptor).close()
        self._given.pop(descriptor, None)
        if descriptor in self._waiting:
            self._waiting.remove(descriptor)
        return untaken

    def give(self, folder):
        """Give a folder to one of those that wait. Returns whether somebody has it."""
        while self._waiting:
            descriptor = self._waiting.pop()
            try:
                self.doors[descriptor].send(folder)
            except OSError:
                continue  # it is about to go, or gone
            self._given[descriptor] = folder
            return True
        return False


def _serve(door, folder):
    """Supervise this attempt, and then whatever comes through the door, one by one."""
    ended = []  # folders that nobody has collected yet
    while folder:
        if supervise(folder.decode()) == 0:
            ended.append(folder)
        if descendants(os.getpid()):
            break  # nothing could end it: it must not be taken for the next attempt's
        folder = _next(door)
        ended = [each for each in ended if os.path.exists(each)]
        while signal.sigtimedwait(_WATCHED, 0) is not None:
            pass  # what was meant for the attempt before
    for each in ended:
        make_safe(each.decode())


def _next(door):
    """The next folder; b"" where none comes for a while, or the fork server is gone."""
    try:
        door.send(b"i")
        door.settimeout(_IDLE_SECONDS)
        return door.recv(8192)
    except TimeoutError:
        door.shutdown(socket.SHUT_RD)  # from now on nobody can give us any
        return door.recv(8192)  # what was given before that, or nothing
    except OSError:
        return b""


def _close_all(sockets):
    for each in sockets:
        each.close()


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
