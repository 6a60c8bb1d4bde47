"""Rules without a database: addresses, months, amounts, tags and fields, the load of a machine."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.errors import Invalid
from simyard.domain.files import normalized
from simyard.domain.runs import Attempt, charge_micros
from simyard.domain.users import email_address
from simyard.service import labels
from simyard.service.billing import Months, Summary, amount
from simyard.service.load import LoadBook
from simyard.store.usage import Total

HOUR = 3_600_000_000


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("ada@lab.example", "ada@lab.example"),
        (" Ada@LAB.example\n", "ada@lab.example"),
        ("a+b@x", "a+b@x"),
        ("flügel@labor.example", "flügel@labor.example"),
        ("a" * 242 + "@lab.example", "a" * 242 + "@lab.example"),
        ("", None),
        ("ada", None),
        ("ada@", None),
        ("@lab.example", None),
        ("a@b@c", None),
        ("a b@lab.example", None),
        ("a@lab .example", None),
        ("a\tb@lab.example", None),
        ("a\x00@lab.example", None),
        ("a\u2028b@lab.example", None),
        ("a" * 243 + "@lab.example", None),
    ],
)
def test_addresses(sent: str, kept: str | None) -> None:
    assert email_address(sent) == kept


@given(st.text())
def test_an_address_that_is_kept_stays_as_it_is(sent: str) -> None:
    kept = email_address(sent)
    assert kept is None or email_address(kept) == kept


# --- months ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "end", "label"),
    [
        ((2024, 2), (2024, 2), (2024, 3), "February 2024"),
        ((2024, 12), (2024, 12), (2025, 1), "December 2024"),
        ((2024, 11), (2025, 1), (2025, 2), "November 2024 to January 2025"),
        ((2000, 1), (9998, 12), (9999, 1), "January 2000 to December 9998"),
    ],
)
def test_months(
    first: tuple[int, int], last: tuple[int, int], end: tuple[int, int], label: str
) -> None:
    months = Months(first, last)
    assert months.start == datetime(*first, 1, tzinfo=UTC)
    assert months.end == datetime(*end, 1, tzinfo=UTC)
    assert months.label == label
    assert months.code == f"{first[0]}-{first[1]:02}--{last[0]}-{last[1]:02}"


@given(st.integers(2000, 9998), st.integers(1, 12))
def test_every_month_ends_where_the_next_begins(year: int, month: int) -> None:
    end = Months((year, month), (year, month)).end
    assert end == Months((end.year, end.month), (end.year, end.month)).start
    assert timedelta(days=28) <= end - Months((year, month), (year, month)).start
    assert end - timedelta(microseconds=1) < datetime(year, month, 28, tzinfo=UTC) + timedelta(4)


# --- amounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "0.00"),
        (4_999, "0.00"),
        (5_000, "0.01"),
        (14_999, "0.01"),
        (995_000, "1.00"),
        (1_000_000, "1.00"),
        (10_050_000, "10.05"),
        (123_456_789_012_345_000, "123456789012.35"),
    ],
)
def test_amounts(micros: int, shown: str) -> None:
    assert amount(micros) == shown


@given(st.integers(0, 10**18))
def test_amounts_are_rounded_half_up(micros: int) -> None:
    exact = (Decimal(micros) / 10**6).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert Decimal(amount(micros)) == exact


@pytest.mark.parametrize(
    ("core_microseconds", "price", "charge"),
    [
        (HOUR, 100_000, 100_000),
        (2 * HOUR, 100_000, 200_000),
        (HOUR // 2, 1, 1),  # half a millionth goes up
        (HOUR // 2 - 1, 1, 0),
        (1, 0, 0),
        (0, 10**9, 0),
        (10**18, 10**9, 277_777_777_777_777_778),  # exact where a float is not
    ],
)
def test_charges(core_microseconds: int, price: int, charge: int) -> None:
    assert charge_micros(core_microseconds, price) == charge


@given(st.integers(0, 10**16), st.integers(0, 10**10))
def test_charges_are_rounded_half_up(core_microseconds: int, price: int) -> None:
    whole, rest = divmod(core_microseconds * price, HOUR)
    assert charge_micros(core_microseconds, price) == whole + (2 * rest >= HOUR)


def test_core_hours() -> None:
    used = Total(users=1, jobs=1, core_microseconds=5 * HOUR // 2, charge_micros=0)
    assert Summary(used, 0).core_hours == 2.5


# --- tags and fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "normal"),
    [("CFD", "cfd"), (" Wing  3\n", "wing 3"), ("STRASSE", "strasse"), ("straße", "strasse")],
)
def test_what_makes_two_tags_the_same(tag: str, normal: str) -> None:
    assert normalized(tag) == normal


@given(st.lists(st.text(min_size=1, max_size=20), max_size=20))
def test_tags_are_kept_once(names: list[str]) -> None:
    named = [name for name in names if name.strip()]
    found = labels.checked_tags(named)
    assert list(found) == list(dict.fromkeys(normalized(name) for name in named))
    assert labels.checked_tags(found.values()) == found
    for name in named:
        assert labels.with_tag(found.values(), name)[0] == found
        assert normalized(name) not in labels.without_tag(found.values(), name)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: labels.checked_tags(["ok", " "]), ("tags",)),
        (lambda: labels.checked_tags(["t" * 101]), ("tags",)),
        (lambda: labels.checked_tags(map(str, range(201))), ("tags",)),
        (lambda: labels.with_tag([], ""), ("name",)),
        (lambda: labels.with_tag(map(str, range(200)), "new"), ("tags",)),
        (lambda: labels.without_tag([], "t" * 101), ("name",)),
        (lambda: labels.checked_fields({" ": 1}), (" ",)),
        (
            lambda: labels.checked_fields({"n" * 256: 1}, ("customFields",)),
            ("customFields", "n" * 256),
        ),
        (lambda: labels.check_number_of_fields({str(n): n for n in range(201)}), ()),
    ],
)
def test_where_labels_are_wrong(call: Callable[[], Any], path: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        call()
    assert [problem.path for problem in caught.value.problems] == [path]


def test_labels_at_their_limits() -> None:
    assert len(labels.checked_tags(map(str, range(200)))) == 200
    assert labels.with_tag(map(str, range(200)), "199")[1] == "199"
    assert labels.checked_fields({"n" * 255: None, " a": 1}) == {"n" * 255: None, " a": 1}
    labels.check_number_of_fields({str(n): n for n in range(200)})


# --- load -----------------------------------------------------------------------------------------


def test_what_was_measured_while_something_ran() -> None:
    book, noon = LoadBook(), datetime(2026, 3, 2, 12, tzinfo=UTC)
    for minute in range(10):
        book.measure(noon + timedelta(minutes=minute))

    def attempt(start: int | None, end: int | None) -> Attempt:
        def at(minute: int | None) -> datetime | None:
            return None if minute is None else noon + timedelta(minutes=minute)

        return Attempt(
            run_number=1,
            number=1,
            token="t",
            engine="local",
            created_at=noon,
            started_at=at(start),
            ended_at=at(end),
        )

    def minutes(*attempts: Attempt, now: int = 20, hours: int | None = None) -> list[int]:
        moment = noon + timedelta(minutes=now)
        found = book.during(attempts, moment, last_hours=hours)
        return [(one.at - noon) // timedelta(minutes=1) for one in found]

    assert minutes() == minutes(attempt(None, None)) == []
    assert minutes(attempt(2, 4)) == [2, 3, 4], "both ends"
    assert minutes(attempt(8, None)) == [8, 9]
    assert minutes(attempt(8, None), now=8) == [8]
    assert minutes(attempt(1, 2), attempt(2, 3), attempt(9, 9)) == [1, 2, 3, 9], "each once"
    assert minutes(attempt(0, 9), now=65, hours=1) == [5, 6, 7, 8, 9]
    assert minutes(attempt(0, 9), hours=0) == []


def test_a_day_of_measurements_is_kept() -> None:
    book, start = LoadBook(), datetime(2026, 3, 2, tzinfo=UTC)
    for n in range(3000):
        book.measure(start + timedelta(seconds=30 * n))
    always = Attempt(
        run_number=1,
        number=1,
        token="t",
        engine="local",
        created_at=start,
        started_at=start,
        ended_at=None,
    )
    found = book.during([always], start + timedelta(days=9))
    assert len(found) == 24 * 120
    assert found[-1].at == start + timedelta(seconds=30 * 2999)
    assert 0 < found[0].memory_used_bytes < found[0].memory_total_bytes
    assert found[0].cores >= 1
