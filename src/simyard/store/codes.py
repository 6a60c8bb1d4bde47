"""Short ids: random letters, as the API has them (api-v2 reference, section 1.6)."""

import secrets
import string
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select

JOB_LETTERS = 5
FILE_LETTERS = 6


# What random bytes stand for; those beyond a whole number of alphabets would favour some letters.
_ALPHABET = string.ascii_letters.encode()
_LETTER_OF = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))
_BEYOND = bytes(range(256 // len(_ALPHABET) * len(_ALPHABET), 256))


def letters(count: int) -> str:
    found = b""
    while len(found) < count:
        found += secrets.token_bytes(2 * count).translate(_LETTER_OF, _BEYOND)
    return found[:count].decode()


@cache
def _taken(table: Table) -> Select[Any]:
    return select(table.c.id).where(table.c.code == bindparam("code"))


def unused(conn: Connection, table: Table, count: int) -> str:
    """A code that no row of the table has. The unique constraint stays the judge."""
    while True:
        code = letters(count)
        if conn.execute(_taken(table), {"code": code}).first() is None:
            return code
