"""Answers to questions that took time, for whoever asked, for a day."""

import uuid
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select

from simyard.store.schema import tasks


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


def prune(conn: Connection, *, before: datetime) -> None:
    conn.execute(delete(tasks).where(tasks.c.created_at < before))
