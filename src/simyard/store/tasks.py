"""Answers to questions that took time, for whoever asked, for a day."""

import uuid
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, delete, select, update

from simyard.store.schema import tasks

T = TypeVar("T")


def insert(conn: Connection, user_id: int, result: Any, *, now: datetime) -> str:
    """Keep an answer. Returns the token under which it is found."""
    token = str(uuid.uuid4())
    text = msgspec.json.encode(result).decode()
    row = {"token": token, "user_id": user_id, "result": text, "created_at": now}
    conn.execute(tasks.insert().values(**row))
    return token


def result(conn: Connection, token: str, user_id: int) -> Any | None:
    """The answer; None where there is none for this user."""
    text = conn.scalar(
        select(tasks.c.result).where(tasks.c.token == token, tasks.c.user_id == user_id)
    )
    return None if text is None else msgspec.json.decode(text)


def result_as(conn: Connection, token: str, user_id: int, kind: type[T]) -> T | None:
    """The same as an object; None too where it is one of another kind."""
    text = conn.scalar(
        select(tasks.c.result).where(tasks.c.token == token, tasks.c.user_id == user_id)
    )
    return None if text is None else _as(text, kind)


def every_of(conn: Connection, kind: type[T]) -> list[tuple[str, int, T]]:
    """(token, user, result) of all that are of a kind."""
    rows = conn.execute(
        select(tasks.c.token, tasks.c.user_id, tasks.c.result)
        .where(tasks.c.result.startswith("{"))
        .order_by(tasks.c.created_at)
    )
    each = ((row.token, row.user_id, _as(row.result, kind)) for row in rows)
    return [(token, user_id, result) for token, user_id, result in each if result is not None]


def _as(text: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        return None


def change(conn: Connection, token: str, result: Any) -> None:
    text = msgspec.json.encode(result).decode()
    conn.execute(update(tasks).where(tasks.c.token == token).values(result=text))


def prune(conn: Connection, *, before: datetime) -> None:
    conn.execute(delete(tasks).where(tasks.c.created_at < before))
