"""What every engine must do, as tests.

A subclass with a fixture `rig` has them all (docs/howto/add-an-engine.md):

    class TestMine(EngineConformance):
        @pytest.fixture
        def rig(self, tmp_path):
            with Rig(lambda on_news: MyEngine(tmp_path / "attempts", on_news)) as rig:
                yield rig

Where attempts run there must be bash and the usual programs of a system. The tests share nothing,
so one rig may serve all of them; they need no pytest but what collects and runs them.
"""

import os
import signal
import time
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from simyard.domain.errors import NotFound
from simyard.domain.runs import Allowance, Cause, Resource
from simyard.engines.attempts import LOG_NAME
from simyard.engines.protocol import Phase, Request, Step
from simyard.testing.rig import HOLD, Make, Rig, Trial, listing

__all__ = ["HOLD", "EngineConformance", "Make", "Rig", "Trial"]

_LONG = 60.0  # seconds: what waits so long has not heard
_STILL_SECONDS = 0.4  # a process of `BEAT` that is alive says so in this time
BEAT = 'trap "" TERM; while :; do echo beat >> "$1"; sleep 0.05; done\n'
HANDLES = "trap '{0}' USR1; touch up; while :; do sleep 0.05; done"


class EngineConformance:
    # --- laying out -------------------------------------------------------------------------------

    def test_a_folder_is_fresh_and_belongs_to_its_owner(self, rig: Rig) -> None:
        token = uuid.uuid4().hex
        made = rig.engine.prepare(token, Request(cores=1))
        assert rig.engine.folder(token) == made, "`folder` and `prepare` do not agree"
        assert made.work == made.home / "work", "work is not in the home"
        assert made.home.is_relative_to(made.root), "the home is not in the attempt's folder"
        assert made.work.is_dir(), "there is no work folder"
        assert os.listdir(made.work) == [], "the work folder is not empty"
        owner = made.owner or (os.getuid(), os.getgid())
        for path in (made.home, made.work):
            seen = path.stat()
            assert (seen.st_uid, seen.st_gid) == owner, f"{path} is not its owner's"
        assert token in rig.engine.tokens(), "it is not listed"
        rig.engine.remove(token)
        assert not made.root.exists(), "what never began is not removed"

    def test_what_was_laid_out_before_is_gone(self, rig: Rig) -> None:
        token, other = uuid.uuid4().hex, uuid.uuid4().hex
        kept = rig.engine.prepare(other, Request(cores=1)).work / "kept"
        kept.touch()
        folder = rig.engine.prepare(token, Request(cores=1))
        (folder.work / "deep" / "er").mkdir(parents=True)
        (folder.work / "deep" / "er" / "old").write_text("old")
        (folder.work / "link").symlink_to(kept)
        (folder.root / "of-the-platform").write_text("old")
        again = rig.engine.prepare(token, Request(cores=1))
        assert again == folder, "it lies elsewhere now"
        assert os.listdir(again.work) == [], "what was laid out before is still there"
        assert not (again.root / "of-the-platform").exists(), "so is what lay beside it"
        assert kept.exists(), "another attempt lost a file"
        rig.engine.remove(token)
        rig.engine.remove(other)

    def test_folders_beside_those_of_the_attempts(self, rig: Rig) -> None:
        name = f"aside-{uuid.uuid4().hex}"
        trial = rig.trial("true")
        place = rig.engine.aside(name)
        assert not place.exists(), "it is there before anybody made it"
        rig.engine.remove_aside(name)
        (place / "tree" / "deep").mkdir(parents=True)
        (place / "tree" / "deep" / "file").touch()
        assert place.stat().st_dev == trial.folder.work.stat().st_dev, "on another file system"
        rig.again()
        assert name in rig.engine.asides(), "it is not listed"
        assert name not in rig.engine.tokens(), "it is listed as an attempt"
        assert trial.token in rig.engine.tokens(), "an attempt is not listed"
        assert trial.token not in rig.engine.asides(), "an attempt is listed with them"
        rig.engine.remove_aside(name)
        assert not place.exists(), "it was not removed"
        assert name not in rig.engine.asides(), "it is listed still"
        rig.engine.remove_aside(name)

    # --- what is seen -----------------------------------------------------------------------------

    def test_what_is_not_there_is_not_finished(self, rig: Rig) -> None:
        assert rig.engine.observe([]) == {}, "nothing was asked, and it tells something"
        unknown, laid_out = uuid.uuid4().hex, rig.trial("true")
        found = rig.engine.observe([unknown, laid_out.token])
        assert set(found) == {unknown, laid_out.token}, "it does not tell of all, or of others"
        assert found[unknown].phase is Phase.VANISHED, f"nobody knows it: {found[unknown]}"
        assert found[laid_out.token].phase is Phase.UNKNOWN, (
            f"nobody has asked for it yet: {found[laid_out.token]}"
        )
        rig.engine.cancel(unknown)
        rig.engine.remove(unknown)
        assert rig.engine.samples(unknown) == [], "nobody knows what it used"
        assert rig.engine.usage(unknown) is None, "nobody knows what it used"
        assert unknown not in rig.engine.tokens(), "it has a folder now"
        rig.let_time_pass()
        assert not laid_out.starts, "it began although nobody has asked for it"

    def test_looking_changes_nothing(self, rig: Rig) -> None:
        waiting, done = rig.trial("true"), rig.started("exit 2")
        done.ended()
        folders = (waiting.folder.root, done.folder.root)
        before = [listing(folder) for folder in folders]
        for _ in range(3):
            waiting.seen()
            done.seen()
        assert [listing(folder) for folder in folders] == before, "a look has left its traces"

    def test_how_it_ended(self, rig: Rig) -> None:
        lenient = Step(label="lenient", command="echo aside; exit 5", env={}, is_lenient=True)
        trials = {
            "well": rig.started("true"),
            "badly": rig.started("exit 7"),
            "killed": rig.started("kill -9 $$"),
            "in the middle": rig.started("echo 0 >> done", "exit 3", "echo 2 >> done"),
            "leniently": rig.started("echo first", lenient, "echo last; echo 2 >> done"),
        }
        said = {}
        for name, trial in trials.items():
            ending = trial.ended().ending
            assert ending is not None
            said[name] = (ending.cause, ending.exit_code, ending.step)
            assert trial.starts == 1, f"{name}: it began {trial.starts} times"
            assert ending.allowance in (None, trial.spec.allowance), "its limits were others"
        assert said == {
            "well": (Cause.EXITED, 0, ""),
            "badly": (Cause.EXITED, 7, "step 0"),
            "killed": (Cause.EXITED, 128 + signal.SIGKILL, "step 0"),
            "in the middle": (Cause.EXITED, 3, "step 1"),
            "leniently": (Cause.EXITED, 0, ""),
        }, said
        assert trials["in the middle"].text("done") == "0\n", "a step began after one that failed"
        assert trials["leniently"].text("done") == "2\n", "no step began after a lenient one"
        ending = trials["leniently"].ended().ending
        assert ending is not None
        assert ending.tolerated == ("lenient ended with exit code 5",), ending.tolerated
        log = trials["leniently"].log
        asides = [log[first:last] for first, last in ending.asides]
        assert asides == ["aside\n"], f"of {log!r} these are asides: {asides}"

    def test_when_it_ran(self, rig: Rig) -> None:
        trial = rig.trial(HOLD)
        laid_out_at = time.time()
        trial.submit()
        took = time.time() - laid_out_at
        assert took < rig.patience_seconds, f"to ask for a start took {took:.1f} s"
        began = trial.begun().started_at
        assert began is not None
        held_until = time.time()
        trial.go()
        ended = trial.ended().ended_at
        assert ended is not None
        slack = 1.0  # where clocks differ
        assert laid_out_at - slack < began.timestamp() < held_until + slack, "it began elsewhen"
        assert held_until - slack < ended.timestamp() < time.time() + slack, "it ended elsewhen"

    def test_news_are_of_attempts_and_nothing_depends_on_them(self, rig: Rig) -> None:
        """All waiting here is done without them."""
        rig.started("true").ended()
        assert all(isinstance(token, str) for token in rig.news), "news are tokens"

    # --- what a payload sees ----------------------------------------------------------------------

    def test_what_a_payload_sees(self, rig: Rig) -> None:
        name = f"bound-{uuid.uuid4().hex}"
        source = rig.engine.aside(name)
        source.mkdir(parents=True)
        (source / "file").write_text("bound")
        for path in (source, source / "file"):
            path.chmod(0o755)
        bind = rig.engine.shown(uuid.uuid4().hex, source, "bound")
        value = "a 'b' \"c\" $HOME `d` \\ é\nnext"
        look = (
            'printf "%s" "$ALL" > all; printf "%s" "${OWN-none}" > own.$1; printf "%s" "$PATH" > '
            'path; printf "%s" "$HOME" > home; pwd > cwd; id -u > id'
        )
        trial = rig.started(
            Step(label="own", command=f"set -- 0; {look}", env={"OWN": value}),
            Step(
                label="none", command=f'set -- 1; {look}; cat "{bind.target}/file" > bound', env={}
            ),
            files={"given": "as it was laid out"},
            env={"ALL": value},
            path=["/opt/first/bin", "/usr/bin", "/bin", "/opt/last/bin"],
            binds=[bind],
        )
        ending = trial.ended().ending
        assert ending is not None
        assert ending.successful, f"{ending}: {trial.log}"
        assert trial.text("all") == value, "a variable of the attempt came out differently"
        assert trial.text("own.0") == value, "a variable of a step came out differently"
        assert trial.text("own.1") == "none", "a step sees the variables of another"
        assert trial.text("path") == "/opt/first/bin:/usr/bin:/bin:/opt/last/bin", "not its PATH"
        home = trial.folder.inside_home
        assert trial.text("home") == home, f"its HOME is not {home}"
        assert trial.text("cwd") == f"{home}/work\n", "it was begun elsewhere"
        assert trial.text("given") == "as it was laid out", "a file was changed"
        assert trial.text("bound") == "bound", "a folder that was bound is not there"
        owner = trial.folder.owner
        assert trial.text("id") == f"{owner[0] if owner else os.getuid()}\n", "another user's"
        rig.engine.remove_aside(name)

    def test_the_log(self, rig: Rig) -> None:
        told = Step(label="told", command="echo of the step; echo >&2 error", env={}, is_told=True)
        before = {LOG_NAME: "of the platform\n"}
        trial = rig.started("echo out; echo >&2 err; echo late", told, "echo end", files=before)
        trial.ended()
        lines = trial.log.splitlines()
        assert lines[:4] == ["of the platform", "out", "err", "late"], lines
        assert sorted(lines[4:6]) == ["error", "of the step"], lines
        assert lines[6:] == ["end"], lines
        kept = trial.folder.home / ".simyard" / "told.1"
        assert kept.is_file(), "what a step told was not kept"
        assert kept.read_text() == "of the step\n", "what a step told was kept differently"

    # --- once -------------------------------------------------------------------------------------

    def test_it_starts_once_however_often_it_is_asked_for(self, rig: Rig) -> None:
        trial = rig.trial(HOLD, "exit 6")
        with ThreadPoolExecutor(4) as pool:
            for asked in [pool.submit(trial.submit) for _ in range(12)]:
                asked.result()
        trial.begun()
        for _ in range(3):
            trial.submit()
        trial.go()
        ended = trial.ended()
        trial.submit()
        rig.again()
        trial.submit()
        rig.let_time_pass()
        trial.submit()
        assert trial.ended() == ended, "it ended otherwise after it was asked for again"
        assert trial.starts == 1, f"it began {trial.starts} times"

    def test_attempts_of_one_group_run_so_many_at_a_time(self, rig: Rig) -> None:
        ahead = min(2, rig.engine.capabilities().ahead)
        group = Request(cores=1, group=uuid.uuid4().hex, at_once=2)
        trials = [rig.started(HOLD, request=group) for _ in range(2 + ahead)]
        rig.wait(lambda: _begun(trials) >= 2, "two of them")
        rig.let_time_pass()
        assert _begun(trials) == 2, f"{_begun(trials)} of them run at a time"
        for trial in trials:
            trial.go()
        for trial in trials:
            trial.ended()
            assert trial.starts == 1, f"it began {trial.starts} times"

    # --- ends that are asked for ------------------------------------------------------------------

    def test_what_is_stopped_before_it_starts_never_does(self, rig: Rig) -> None:
        trials = [rig.trial("true") for _ in range(2)]
        trials[0].cancel()
        trials[0].submit()
        trials[1].cancel(signal=signal.SIGUSR1, after_seconds=_LONG)
        rig.again()
        trials[1].submit()
        for trial in trials:
            trial.cancel()
            seen = trial.over()
            assert seen.started_at is None, "it never began, and it tells when"
            if seen.ending is not None:
                assert seen.ending.cause is Cause.STOPPED, seen.ending
            trial.submit()
        rig.let_time_pass()
        assert [trial.starts for trial in trials] == [0, 0], "it began after its end"

    def test_a_stop_meets_the_start(self, rig: Rig) -> None:
        """Whichever comes first: it ends, and nothing goes on."""
        trials = [rig.trial("bash beat one", files={"beat": BEAT}) for _ in range(5)]
        for trial, pause_seconds in zip(trials, (0, 0.01, 0.02, 0.05, 0.1), strict=True):
            trial.submit()
            time.sleep(pause_seconds)
            trial.cancel()
            trial.submit()
        for trial in trials:
            ending = trial.over().ending
            assert ending is None or ending.cause is Cause.STOPPED, ending
        rig.let_time_pass()
        _are_still(trials, "one")
        for trial in trials:
            assert trial.starts <= 1, f"it began {trial.starts} times"

    def test_a_stop_ends_all_of_it_and_nothing_else(self, rig: Rig) -> None:
        """Also what does not listen, and what has left its parents."""
        other = rig.started(HOLD, "exit 4")
        wild = rig.started(
            "bash beat one & (setsid bash beat two &) ; (setsid env -i bash beat three &)\n"
            "trap 'echo told >> heard' TERM\n"
            "until [ -s one ] && [ -s two ] && [ -s three ]; do sleep 0.02; done; touch up\n"
            "while :; do sleep 0.05; done",
            "touch never",
            files={"beat": BEAT},
        )
        wild.up()
        other.begun()
        for _ in range(2):
            wild.cancel()
        ending = wild.over().ending
        assert ending is not None, "it began, and it vanished"
        assert ending.cause is Cause.STOPPED, ending
        assert "told" in wild.text("heard"), "it was not told to end before it was killed"
        _are_still([wild], "one", "two", "three")
        assert not wild.has("never"), "a step began after the stop"
        assert other.seen().phase is not Phase.ENDED, "another attempt ended with it"
        other.go()
        ending = other.ended().ending
        assert ending is not None
        assert (ending.cause, ending.exit_code) == (Cause.EXITED, 4), ending
        other.cancel()
        assert other.ended().ending == ending, "a stop has changed how it had ended"

    def test_it_may_end_in_its_own_way(self, rig: Rig) -> None:
        own = rig.started(HANDLES.format("echo asked >> heard; exit 3"), "touch never")
        deaf = rig.started("touch up; sleep 50; true")
        slow = rig.started(HANDLES.format("echo asked >> heard"))
        hurried = rig.started(HANDLES.format("echo asked >> heard"))
        watching = rig.started(f"touch up; {HOLD}; exit 4")
        for trial in (own, deaf, slow, hurried, watching):
            trial.up()
        hurried.cancel(signal=signal.SIGUSR1, after_seconds=_LONG)
        watching.cancel(after_seconds=_LONG)
        deaf.cancel(signal=signal.SIGUSR2, after_seconds=_LONG)
        slow.cancel(signal=signal.SIGUSR1, after_seconds=1.0)
        asked_at = time.time()
        for _ in range(3):
            own.cancel(signal=signal.SIGUSR1, after_seconds=_LONG)
        _stopped(own, 3)
        assert own.text("heard") == "asked\n", "it was not asked once"
        assert not own.has("never"), "a step began after the stop"
        _stopped(deaf)
        ended_at = _stopped(slow)
        assert ended_at > asked_at + 0.5, "it did not have its time"
        assert slow.text("heard") == "asked\n", "it was not asked once"
        rig.wait(lambda: hurried.text("heard") == "asked\n", "the signal")
        assert hurried.seen().phase is not Phase.ENDED, "it was not left its time"
        assert watching.seen().phase is not Phase.ENDED, "it was not left its time"
        hurried.cancel()
        hurried.cancel(signal=signal.SIGUSR1, after_seconds=_LONG)
        _stopped(hurried)
        watching.go()
        _stopped(watching, 4)

    # --- limits -----------------------------------------------------------------------------------

    def test_limits(self, rig: Rig) -> None:
        """The walltime, and of the others those that the engine watches and that are quick."""
        limits = rig.engine.capabilities().limits
        beyond = {
            Resource.LOG: ("head -c 3000000 /dev/zero", Allowance(walltime=120, log=10**6)),
            Resource.DISK: ("head -c 3000000 /dev/zero > x", Allowance(walltime=120, disk=10**6)),
            Resource.FILES: ("touch x$(seq -s ' x' 300)", Allowance(walltime=120, files=200)),
        }
        late = rig.started("sleep 50; true", allowance=Allowance(walltime=1))
        trials = {
            resource: rig.started(f"{command}; sleep 50; true", allowance=allowance)
            for resource, (command, allowance) in beyond.items()
            if limits.get(resource) == "watched"
        }
        all_of_them = [late, *trials.values()]
        rig.wait(lambda: _begun(all_of_them) == len(all_of_them), "all of them")
        seen = late.ended()
        assert seen.ending is not None
        assert seen.ending.cause is Cause.WALLTIME, seen.ending
        assert seen.started_at is not None
        assert seen.ended_at is not None
        ran = (seen.ended_at - seen.started_at).total_seconds()
        assert ran >= 0.9, f"its walltime was 1 s, and it had {ran:.2f} s"
        for resource, trial in trials.items():
            ending = trial.ended().ending
            assert ending is not None
            assert (ending.cause, ending.limit) == (Cause.LIMIT, resource), f"{resource}: {ending}"
            assert ending.message, "a limit was reached, and it does not tell in words"

    def test_what_was_used(self, rig: Rig) -> None:
        trial = rig.started(HOLD)
        trial.begun()
        rig.engine.usage(trial.token)  # whatever is known of one that runs
        rig.engine.samples(trial.token)
        trial.go()
        trial.ended()
        seconds = [sample.seconds for sample in rig.engine.samples(trial.token)]
        assert seconds == sorted(seconds), "samples are not in their order"
        assert len(seconds) < 1000, f"there are {len(seconds)} samples"
        usage = rig.engine.usage(trial.token)
        if usage is not None:
            assert (usage.cpu_seconds or 0) >= 0, usage

    # --- removing ---------------------------------------------------------------------------------

    def test_what_ended_is_removed(self, rig: Rig) -> None:
        """Whatever its payload made of its folder."""
        outside = rig.trial("true").folder.work / "kept"
        outside.write_text("kept")
        trial = rig.started(
            f"mkdir -p shut/in; touch shut/in/file; chmod 0 shut/in/file; chmod 0 shut/in shut\n"
            f'ln -s "{outside.parent}" link; mkfifo pipe; touch -- "-rf" "a b"'
        )
        trial.ended()
        rig.engine.remove(trial.token)
        assert not trial.folder.root.exists(), "its folder is there still"
        assert trial.token not in rig.engine.tokens(), "it is listed still"
        assert outside.read_text() == "kept", "a link was followed"
        seen = rig.engine.observe([trial.token])[trial.token]
        assert seen.phase is Phase.VANISHED, f"nothing is left of it: {seen}"
        rig.engine.remove(trial.token)
        trial.submit()
        trial.cancel()
        rig.let_time_pass()
        assert not trial.folder.root.exists(), "its folder came back"

    def test_what_is_alive_is_ended_and_then_removed(self, rig: Rig) -> None:
        trial = rig.started(f"touch up; {HOLD}")
        trial.up()
        try:
            rig.engine.remove(trial.token)
        except NotFound:
            pass
        else:
            raise AssertionError("what is alive was removed")
        assert trial.has("up"), "its folder was taken from under it"
        ending = trial.over().ending
        assert ending is not None
        assert ending.cause is Cause.STOPPED, ending
        rig.engine.remove(trial.token)
        assert not trial.folder.root.exists(), "its folder is there still"

    def test_what_was_removed_before_its_start_never_starts(self, rig: Rig) -> None:
        trial = rig.trial("true")
        rig.engine.remove(trial.token)
        trial.submit()
        rig.let_time_pass()
        assert not trial.folder.root.exists(), "its folder came back"
        assert trial.seen().phase is Phase.VANISHED, "it has not vanished"

    # --- the caller dies --------------------------------------------------------------------------

    def test_attempts_go_on_without_their_engine(self, rig: Rig) -> None:
        killed, closed = rig.started(HOLD, "exit 5"), rig.started(HOLD, "exit 6")
        ending_alone = rig.started(f"{HOLD}; touch gone", "exit 7")
        stopped = rig.started(HOLD)
        trials = {killed: 5, closed: 6, ending_alone: 7, stopped: None}
        for trial in trials:
            trial.begun()
        rig.crash()
        ending_alone.go()
        rig.wait(lambda: ending_alone.has("gone"), "a step, while nobody is there")
        rig.open()
        for trial in (killed, closed, stopped):
            trial.begun()
            trial.submit()
        stopped.cancel()
        _stopped(stopped)
        _exited(ending_alone, 7)
        killed.go()
        _exited(killed, 5)
        rig.engine.close()
        rig.open()
        closed.begun()
        closed.go()
        _exited(closed, 6)
        rig.again()
        _exited(killed, 5)
        assert [trial.starts for trial in trials] == [1, 1, 1, 1], "one began more than once"

    def test_a_crash_between_any_two_steps(self, rig: Rig) -> None:
        """Whoever comes back does what was owed once more."""
        laid_out, asked = rig.trial("exit 5"), rig.started("exit 6")
        rig.again()
        unasked = laid_out.seen()
        assert unasked.phase is Phase.UNKNOWN, f"nobody has asked for it yet: {unasked}"
        laid_out.submit()
        for trial, code in ((laid_out, 5), (asked, 6)):
            _exited(trial, code)
        stopped = rig.started(HOLD)
        stopped.cancel()
        rig.again()
        stopped.cancel()
        stopped.over()
        rig.engine.remove(stopped.token)
        rig.again()
        rig.engine.remove(stopped.token)
        assert stopped.token not in rig.engine.tokens(), "it is listed still"

    # --- what it says of itself -------------------------------------------------------------------

    def test_some_answers_come_at_once(self, rig: Rig) -> None:
        trial = rig.trial("true")
        began = time.monotonic()
        for _ in range(20):
            rig.engine.capabilities()
            rig.engine.folder(trial.token)
            rig.engine.aside("name")
        took = (time.monotonic() - began) / 20
        assert took < 0.1, f"four answers took {took:.2f} s, and transactions wait for them"

    def test_capabilities(self, rig: Rig) -> None:
        said = rig.engine.capabilities()
        assert said.name, "it has no name"
        assert said.isolation, "it does not tell how its payloads are kept apart"
        assert said.isolation_detail, "it does not tell what that means"
        assert set(said.limits) <= set(Resource), said.limits
        assert set(said.limits.values()) <= {"kernel", "watched"}, said.limits
        assert said.ahead >= 0, said.ahead
        rig.started("true").ended()
        now = rig.engine.capabilities()
        assert not now.trouble, f"all went well, and it has this trouble: {now.trouble}"
        assert (now.name, now.limits) == (said.name, said.limits), "it says something else now"


def _begun(trials: Collection[Trial]) -> int:
    """How many have begun. The others are asked for."""
    for trial in trials:
        trial.look()
    return sum(trial.is_begun for trial in trials)


def _stopped(trial: Trial, code: int | None = None) -> float:
    """It was stopped, with this exit code if one is given. Returns when it ended."""
    seen = trial.over()
    assert seen.ending is not None, "it began, and it vanished"
    assert seen.ended_at is not None
    assert seen.ending.cause is Cause.STOPPED, seen.ending
    if code is not None:
        assert seen.ending.exit_code == code, seen.ending
    return seen.ended_at.timestamp()


def _exited(trial: Trial, code: int) -> None:
    ending = trial.ended().ending
    assert ending is not None
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, code), ending
    assert trial.starts == 1, f"it began {trial.starts} times"


def _are_still(trials: Sequence[Trial], *names: str) -> None:
    """Nothing of what they began writes into these files any more."""
    before = [trial.text(name) for trial in trials for name in names]
    time.sleep(_STILL_SECONDS)
    after = [trial.text(name) for trial in trials for name in names]
    assert after == before, "something of it is alive"
