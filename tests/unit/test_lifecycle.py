"""The state machine: stories that together use every move, and what holds for all of it."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from simyard.domain.errors import IllegalTransition
from simyard.domain.lifecycle import (
    CLUSTER_WORDS,
    COMMANDS,
    FINAL,
    HOLDS_SLOT,
    JOB_HISTORY,
    JOB_WORDS,
    MOOT,
    MOVES,
    OWED,
    WAIT_WORDS,
    Event,
    State,
    Wait,
    after,
    cluster_words,
    job_words,
    of_job,
)

# Named walks from DRAFT: (event, state that follows).
STORIES: dict[str, list[tuple[str, str]]] = {
    "all goes well": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("started", "running"),
        ("ended", "collecting"),
        ("stored", "completed"),
        ("cleared", "closed"),
    ],
    "an archive is refused": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("ended", "collecting"),
        ("stored", "completed"),
        ("cleared", "closed"),
    ],
    "it is over before it was seen": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("ended", "collecting"),
        ("started", "collecting"),
        ("stored", "completed"),
    ],
    "its folder vanished before it started": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("vanished", "staging"),
        ("staged", "submitting"),
        ("started", "running"),
    ],
    "stopped before anybody looked": [
        ("submit", "pending"),
        ("stop", "stopping"),
        ("admitted", "stopping"),
        ("ended", "collecting"),
        ("stored", "completed"),
    ],
    "stopped in the queue": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("stop", "stopping"),
        ("granted", "stopping"),
        ("ended", "collecting"),
    ],
    "stopped while it is laid out": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("stop", "stopping"),
        ("staged", "stopping"),
        ("vanished", "collecting"),
    ],
    "stopped while it is handed over": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("stop", "stopping"),
        ("started", "stopping"),
        ("ended", "collecting"),
    ],
    "it waits for its turn in a scheduler's queue": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("waits", "waiting"),
        ("waits", "waiting"),
        ("started", "running"),
        ("waits", "running"),
        ("ended", "collecting"),
    ],
    "its node is of no use, and it waits for another": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("waits", "waiting"),
        ("vanished", "staging"),
        ("staged", "submitting"),
        ("waits", "waiting"),
        ("ended", "collecting"),
        ("stored", "completed"),
    ],
    "stopped in a scheduler's queue": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("waits", "waiting"),
        ("stop", "stopping"),
        ("waits", "stopping"),
        ("vanished", "collecting"),
        ("stored", "completed"),
    ],
    "stopped while it runs, and again": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("started", "running"),
        ("stop", "stopping"),
        ("stop", "stopping"),
        ("ended", "collecting"),
        ("stop", "collecting"),
        ("stored", "completed"),
        ("stop", "completed"),
        ("cleared", "closed"),
        ("stop", "closed"),
    ],
    "restarted twice, once before its folder was gone": [
        ("submit", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("ended", "collecting"),
        ("stored", "completed"),
        ("restart", "pending"),
        ("cleared", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("staged", "submitting"),
        ("started", "running"),
        ("ended", "collecting"),
        ("stored", "completed"),
        ("cleared", "closed"),
        ("restart", "pending"),
        ("stop", "stopping"),
        ("ended", "collecting"),
    ],
}


STORIES |= {
    "a study's run gets a slot, fails, and is done again": [
        ("listed", "planned"),
        ("freed", "pending"),
        ("admitted", "queued"),
        ("granted", "staging"),
        ("ended", "collecting"),
        ("stored", "completed"),
        ("rerun", "planned"),
        ("cleared", "planned"),
        ("freed", "pending"),
        ("freed", "pending"),
    ],
    "a study is stopped before this run had a slot, and goes on later": [
        ("listed", "planned"),
        ("stop", "closed"),
        ("freed", "closed"),
        ("rerun", "planned"),
        ("freed", "pending"),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_story(story: list[tuple[str, str]]) -> None:
    state = State.DRAFT
    for event, expected in story:
        state = after(state, Event(event))
        assert state == expected


def test_the_stories_use_every_move_and_every_moot_command() -> None:
    used = set()
    for story in STORIES.values():
        state = State.DRAFT
        for event, expected in story:
            used.add((state, Event(event)))
            state = State(expected)
    assert set(MOVES) - used == set()
    assert MOOT - used == set()


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_has_an_answer_in_every_state(state: State, event: Event) -> None:
    if event in COMMANDS and (state, event) not in MOVES and (state, event) not in MOOT:
        with pytest.raises(IllegalTransition):
            after(state, event)
    else:
        assert after(state, event) in State


def test_a_refusal_says_why() -> None:
    with pytest.raises(IllegalTransition, match="submitted before"):
        after(State.RUNNING, Event.SUBMIT)
    with pytest.raises(IllegalTransition, match="never submitted"):
        after(State.DRAFT, Event.STOP)
    with pytest.raises(IllegalTransition, match=r"not at its end \(it is Executing\)"):
        after(State.RUNNING, Event.RESTART)
    with pytest.raises(IllegalTransition, match=r"not at its end \(it is Planned\)"):
        after(State.PLANNED, Event.RERUN)


def test_a_stop_is_heard_wherever_something_could_still_run() -> None:
    for state in HOLDS_SLOT:
        assert after(state, Event.STOP) is State.STOPPING
    assert after(State.PLANNED, Event.STOP) is State.CLOSED, "nothing of it was ever there"


def test_every_state_that_waits_for_nobody_owes_nothing() -> None:
    # Drafts wait for a command, waiting and running runs for news, closed ones for nothing.
    assert set(State) - set(OWED) == {State.DRAFT, State.WAITING, State.RUNNING, State.CLOSED}


def test_words() -> None:
    assert [JOB_WORDS.get(state) for state in State] == [
        None,
        None,
        "Pending",
        "Queued",
        "Started",
        "Validated",
        "Waiting for Queue",
        "Executing",
        "Stopping",
        None,
        "Completed",
        None,
    ]
    assert JOB_HISTORY == (
        "",
        "Pending",
        "Queued",
        "Waiting for Queue",
        "Waiting for Cluster",
        "Started",
        "Validated",
        "Executing",
        "Stopping",
        "Completed",
    ), "a scheduler gives its cores after the inputs are laid out, and that is told then"
    assert set(WAIT_WORDS) == set(Wait)
    assert job_words(State.RUNNING) == ("Started", "Validated", "Executing"), "what was not told"
    assert cluster_words(State.RUNNING) == ("Starting", "Started")
    for state in set(State) - {State.RUNNING}:
        assert job_words(state) == tuple(filter(None, [JOB_WORDS.get(state)]))
        assert cluster_words(state) == CLUSTER_WORDS.get(state, ())
    words = [word for state in State for word in CLUSTER_WORDS.get(state, ())]
    assert words == [
        "Not Started",
        "Starting",
        "Started",
        "Stop Requested",
        "Stopping",
        "Stopped",
    ]


def test_a_job_of_one_run_is_where_its_run_is() -> None:
    for state in set(State) - {State.DRAFT}:
        assert of_job([state]) is state
    assert of_job([]) is State.DRAFT


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["queued", "running"], "running"),
        (["queued", "collecting"], "running"),
        (["queued", "closed"], "running"),
        (["collecting", "closed"], "collecting"),
        (["completed", "closed"], "completed"),
        (["closed", "closed"], "closed"),
        (["stopping", "closed"], "stopping"),
        (["pending", "queued"], "queued"),
        (["planned", "pending"], "pending"),
        (["planned", "running"], "running"),
        (["planned", "waiting"], "waiting"),
        (["submitting", "waiting"], "waiting"),
        (["waiting", "running"], "running"),
        (["waiting", "closed"], "running"),
        (["planned", "closed"], "running"),
    ],
)
def test_a_job_of_many_runs(states: list[str], expected: str) -> None:
    assert of_job(map(State, states)) == expected
    assert of_job(map(State, reversed(states))) == expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["queued", "collecting"], "queued"),
        (["planned", "staging", "closed"], "staging"),
        (["stopping", "queued"], "queued"),
        (["running", "closed"], "running"),
        (["stopping", "closed"], "stopping"),
        (["closed", "collecting"], "collecting"),
    ],
)
def test_no_job_executes_of_which_no_run_was_seen_to(states: list[str], expected: str) -> None:
    assert of_job(map(State, states), executed=False) == expected


def test_what_is_final_stays_final() -> None:
    for state, event in itertools.product(FINAL, set(Event) - COMMANDS):
        assert after(state, event) in FINAL


def test_the_file_stays_small_and_imports_the_standard_library_only() -> None:
    import simyard.domain.lifecycle as module

    source = Path(str(module.__file__))
    assert len(source.read_text().splitlines()) <= 230
    command = "import sys, simyard.domain.lifecycle; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert not {"sqlalchemy", "msgspec", "pydantic"} & set(done.stdout.split())
