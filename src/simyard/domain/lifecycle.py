"""The life of a run, and of the job around it: the one place where it is written down.

A run moves through `State` by `Event`s; `MOVES` is the whole table and `after` its only reader.
Commands (submit, stop) may be refused. Observations never are: late and repeated news is normal,
and news that changes nothing leaves the state as it is.

The state is also the to-do list: `OWED` names the effect that a state is waiting for. Effects are
safe to repeat, so a restart needs no special case: whoever comes back does what is owed.
"""

from collections.abc import Iterable
from enum import StrEnum

from simyard.domain.errors import IllegalTransition


class State(StrEnum):
    DRAFT = "draft"  # saved, never submitted; a draft has no runs yet
    PLANNED = "planned"  # one of a study's runs, which waits for one of the study's slots
    PENDING = "pending"  # the submit is committed, nobody has looked at it
    QUEUED = "queued"  # it waits for cores
    STAGING = "staging"  # its cores are granted and its inputs are being laid out
    SUBMITTING = "submitting"  # inputs lie ready and the program was found
    WAITING = "waiting"  # it is in the queue of a scheduler, which has not begun it
    RUNNING = "running"  # the solver's process was seen
    STOPPING = "stopping"  # a stop was asked for
    COLLECTING = "collecting"  # nothing of it runs any more; its outputs are being stored
    COMPLETED = "completed"  # its outputs are stored
    CLOSED = "closed"  # nothing of it is left on the machine: its folder is gone


class Event(StrEnum):
    # Commands: somebody wants something.
    SUBMIT = "submit"
    STOP = "stop"
    RESTART = "restart"  # go on from what it has left, in a new attempt
    RERUN = "rerun"  # do it again as one of a study's runs
    # Observations: something was seen.
    LISTED = "listed"  # it is one of the runs that a study is to have
    FREED = "freed"  # a slot of its study is free for it
    ADMITTED = "admitted"  # the worker has seen the submit
    GRANTED = "granted"  # cores are set aside for it
    STAGED = "staged"  # inputs are in the run's folder, the program is there
    WAITS = "waits"  # the engine's scheduler has it in its queue
    STARTED = "started"  # the engine saw the solver's process
    VANISHED = "vanished"  # the attempt is gone and its payload never started
    ENDED = "ended"  # nothing of it runs any more, or it could never start
    STORED = "stored"  # its outputs are stored and verified
    CLEARED = "cleared"  # its folder is removed


COMMANDS = frozenset({Event.SUBMIT, Event.STOP, Event.RESTART, Event.RERUN})

MOVES: dict[tuple[State, Event], State] = {
    (State.DRAFT, Event.SUBMIT): State.PENDING,
    (State.DRAFT, Event.LISTED): State.PLANNED,
    (State.PLANNED, Event.FREED): State.PENDING,
    (State.PENDING, Event.ADMITTED): State.QUEUED,
    (State.QUEUED, Event.GRANTED): State.STAGING,
    (State.STAGING, Event.STAGED): State.SUBMITTING,
    (State.STAGING, Event.ENDED): State.COLLECTING,
    (State.SUBMITTING, Event.WAITS): State.WAITING,
    (State.SUBMITTING, Event.STARTED): State.RUNNING,
    (State.SUBMITTING, Event.VANISHED): State.STAGING,
    (State.SUBMITTING, Event.ENDED): State.COLLECTING,
    (State.WAITING, Event.STARTED): State.RUNNING,
    (State.WAITING, Event.VANISHED): State.STAGING,
    (State.WAITING, Event.ENDED): State.COLLECTING,
    (State.RUNNING, Event.ENDED): State.COLLECTING,
    (State.STOPPING, Event.VANISHED): State.COLLECTING,
    (State.STOPPING, Event.ENDED): State.COLLECTING,
    (State.COLLECTING, Event.STORED): State.COMPLETED,
    (State.COMPLETED, Event.CLEARED): State.CLOSED,
    # A stop is heard in every state from which something could still run. Of what never had a
    # slot there is nothing to end.
    (State.PLANNED, Event.STOP): State.CLOSED,
    (State.PENDING, Event.STOP): State.STOPPING,
    (State.QUEUED, Event.STOP): State.STOPPING,
    (State.STAGING, Event.STOP): State.STOPPING,
    (State.SUBMITTING, Event.STOP): State.STOPPING,
    (State.WAITING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.STOP): State.STOPPING,
    # What has come to its end may begin again, if somebody asks for it.
    (State.COMPLETED, Event.RESTART): State.PENDING,
    (State.CLOSED, Event.RESTART): State.PENDING,
    (State.COMPLETED, Event.RERUN): State.PLANNED,
    (State.CLOSED, Event.RERUN): State.PLANNED,
}

# Commands that are accepted and change nothing: there is nothing left to stop.
MOOT = frozenset(
    (state, Event.STOP)
    for state in (State.STOPPING, State.COLLECTING, State.COMPLETED, State.CLOSED)
)

# What a state waits for somebody to do. States that are not here wait for news or for a command.
OWED: dict[State, str] = {
    State.PLANNED: "give it a slot of its study when one is free",
    State.PENDING: "admit it to the queue",
    State.QUEUED: "grant cores when there are enough",
    State.STAGING: "lay out its inputs",
    State.SUBMITTING: "hand it to the engine",
    State.STOPPING: "make the engine end it",
    State.COLLECTING: "store its outputs",
    State.COMPLETED: "remove its folder",
}

# States in which cores are set aside for the run, or asked for where a scheduler gives them.
HOLDS_CORES = frozenset(
    {State.STAGING, State.SUBMITTING, State.WAITING, State.RUNNING, State.STOPPING}
)

# States in which a run has one of its study's slots.
HOLDS_SLOT = HOLDS_CORES | {State.PENDING, State.QUEUED}

# States from which the job never changes its outcome again, unless a run of it is restarted.
FINAL = frozenset({State.COMPLETED, State.CLOSED})


def after(state: State, event: Event) -> State:
    """The state that follows; the same state where the event changes nothing.

    Raises IllegalTransition for a command that the state has no move for.
    """
    try:
        return MOVES[state, event]
    except KeyError:
        if event in COMMANDS and (state, event) not in MOOT:
            word = _SHOWN.get(state, "Stopping")
            raise IllegalTransition(_REFUSALS[event].format(state=word)) from None
        return state


_REFUSALS = {
    Event.SUBMIT: "This job was submitted before (it is {state}); only a draft can be submitted.",
    Event.STOP: "This job was never submitted: there is nothing to stop.",
    Event.RESTART: "This run is not at its end (it is {state}): there is nothing to restart.",
    Event.RERUN: "This run is not at its end (it is {state}): it cannot be done again yet.",
}

_ORDER = list(State)


def of_job(states: Iterable[State], *, executed: bool = True) -> State:
    """The state of a job whose runs are in these states; DRAFT where there are no runs.

    A job is as far as its furthest run while any run is unfinished (but not COLLECTING before
    the last one is), and as far as its last run once all have come to that.

    executed: whether any of them was seen to run. If not, those that are over do not count.
    """
    ranks = [_ORDER.index(state) for state in states]
    if not ranks:
        return State.DRAFT
    last, running = min(ranks), _ORDER.index(State.RUNNING)
    if last > running:
        return _ORDER[last]
    if not executed:
        return _ORDER[max(rank for rank in ranks if rank <= running)]
    return _ORDER[min(max(ranks), running)]


class Wait(StrEnum):
    """What a run waits for while a scheduler has it."""

    QUEUE = "queue"  # its turn
    CLUSTER = "cluster"  # its nodes, which are being made ready


# The words of the API (api-v2 reference, sections 4.4 and 9). A state without a word adds none to
# the history: the word before it still holds.
JOB_WORDS: dict[State, str] = {
    State.PENDING: "Pending",
    State.QUEUED: "Queued",
    State.STAGING: "Started",
    State.SUBMITTING: "Validated",
    State.WAITING: "Waiting for Queue",
    State.RUNNING: "Executing",
    State.STOPPING: "Stopping",
    State.COMPLETED: "Completed",
}

WAIT_WORDS = {Wait.QUEUE: JOB_WORDS[State.WAITING], Wait.CLUSTER: "Waiting for Cluster"}

# The engine whose cores are granted here. With every other it is the engine's scheduler that gives
# them, after the inputs are laid out.
LOCAL = "local"
# States of which nothing is told before such a scheduler has given cores.
UNTOLD = frozenset({State.STAGING, State.SUBMITTING})


def job_words(state: State) -> tuple[str, ...]:
    """The words that hold in a state: also those that were not told on the way."""
    if state is State.RUNNING:
        return tuple(JOB_WORDS[s] for s in (State.STAGING, State.SUBMITTING, State.RUNNING))
    return (JOB_WORDS[state],) if state in JOB_WORDS else ()


def cluster_words(state: State) -> tuple[str, ...]:
    """Likewise, of the cluster's history."""
    if state is State.RUNNING:
        return CLUSTER_WORDS[State.STAGING] + CLUSTER_WORDS[State.RUNNING]
    return CLUSTER_WORDS.get(state, ())


CLUSTER_WORDS: dict[State, tuple[str, ...]] = {
    State.PENDING: ("Not Started",),
    State.STAGING: ("Starting",),
    State.RUNNING: ("Started",),
    State.COMPLETED: ("Stop Requested", "Stopping"),
    State.CLOSED: ("Stopped",),
}

# What a refusal calls a state that has no word of its own in the histories.
_SHOWN = {State.PLANNED: "Planned", **JOB_WORDS}

STOPPING_WORD = JOB_WORDS[State.STOPPING]

# The words of each history, in the order in which they can come.
_BEFORE_CORES = (JOB_WORDS[State.PENDING], JOB_WORDS[State.QUEUED], *WAIT_WORDS.values())
JOB_HISTORY = (
    "",
    *_BEFORE_CORES,
    *(word for word in JOB_WORDS.values() if word not in _BEFORE_CORES),
)
CLUSTER_HISTORY = ("", *(word for words in CLUSTER_WORDS.values() for word in words))
