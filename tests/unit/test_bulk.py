"""One thing done to many jobs, a part of them at a time."""

import pytest

from simyard.domain.bulk import Action, Bulk


@pytest.mark.parametrize(("emails", "jobs"), [(0, 20), (1, 20), (10, 20), (50, 4), (300, 1)])
def test_a_part_is_small_where_much_is_done_to_each_job(emails: int, jobs: int) -> None:
    left = tuple(f"job{n}" for n in range(100))
    addresses = tuple(f"{n}@lab.example" for n in range(emails))
    bulk = Bulk(action=Action.SHARE, emails=addresses, total=100, left=left)
    assert bulk.part(20, 200) == left[:jobs]
    assert Bulk(action=Action.STOP, total=1, left=left[:1]).part(20, 200) == left[:1]
