"""One thing done to many jobs, a part of them at a time."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from harness import wait_for
from simyard.domain.bulk import Action, Bulk
from simyard.service.bulk import WAITING_MOST, BulkBook


@pytest.mark.parametrize(("emails", "jobs"), [(0, 20), (1, 20), (10, 20), (50, 4), (300, 1)])
def test_a_part_is_small_where_much_is_done_to_each_job(emails: int, jobs: int) -> None:
    left = tuple(f"job{n}" for n in range(100))
    addresses = tuple(f"{n}@lab.example" for n in range(emails))
    bulk = Bulk(action=Action.SHARE, emails=addresses, total=100, left=left)
    assert bulk.part(20, 200) == left[:jobs]
    assert Bulk(action=Action.STOP, total=1, left=left[:1]).part(20, 200) == left[:1]


def test_a_user_has_so_many_tasks_that_wait() -> None:
    """What is asked for again is not one more."""
    goes_on = threading.Event()
    done: list[str] = []

    def write(_step: object, _site: object, token: str, _user_id: int) -> bool:
        goes_on.wait(30)
        done.append(token)
        return False

    site: Any = SimpleNamespace(db=SimpleNamespace(write=write))
    ada: Any = SimpleNamespace(id=1)
    bob: Any = SimpleNamespace(id=2)
    book = BulkBook(site)

    def has_place(user: Any) -> bool:
        with book.place(user) as is_free:
            return is_free

    tokens = [f"task{n}" for n in range(WAITING_MOST)]
    for token in tokens[:-1]:
        assert has_place(ada)
        book.submit(ada, token)
        book.submit(ada, token)
    with book.place(ada) as is_free:
        assert is_free and not has_place(ada), "the last one is taken by what is begun"
        book.submit(ada, tokens[-1])
    assert not has_place(ada) and has_place(bob)
    book.submit(bob, "his")
    goes_on.set()
    wait_for(lambda: has_place(ada), "a task that is done")
    wait_for(lambda: "his" in done, "the last of them")
    assert done == [*tokens, "his"]
    book.close()
