"""Short ids: random letters, as the API has them (api-v2 reference, section 1.6)."""

import secrets
import string
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select

JOB_LETTERS = 5
FILE_LETTERS = 6


def letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters) for _ in range(count))


@cache
def _taken(table: Table) -> Select[Any]:
    return select(table.c.id).where(table.c.code == bindparam("code"))


def unused(conn: Connection, table: Table, count: int) -> str:
    """A code that no row of the table has. The unique constraint stays the judge."""
    while True:
        code = letters(count)
        if conn.execute(_taken(table), {"code": code}).first() is None:
            return code
