"""Queries that are asked for very often, at what the driver itself takes for them.

SQLAlchemy writes the SQL and knows the types; it does so once, and no longer stands between the
query and the driver, where it takes four times as long as SQLite does for a row or two. For the
polled requests and nothing else: everything that is not on their way is executed as usual.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.exc import DBAPIError


class Prepared:
    """A select whose every parameter is a `bindparam` of one value (no expanding IN), of a type
    that the driver takes as it is. Rows have their columns as attributes, as SQLAlchemy's have.
    """

    def __init__(self, query: Select[Any]) -> None:
        self._query = query
        self._for: dict[str, _Compiled] = {}  # by name of the dialect

    def rows(self, conn: Connection, **parameters: object) -> list[Any]:
        """All rows. Raises as `Connection.execute` does."""
        dialect = conn.dialect
        compiled = self._for.get(dialect.name)
        if compiled is None:
            compiled = self._for[dialect.name] = _Compiled(self._query, dialect)
        return compiled.rows(conn, parameters)

    def first(self, conn: Connection, **parameters: object) -> Any:
        """The first row, or None."""
        rows = self.rows(conn, **parameters)
        return rows[0] if rows else None


class _Compiled:
    """A query in the words of one database."""

    def __init__(self, query: Select[Any], dialect: Dialect) -> None:
        compiled = query.compile(dialect=dialect)
        self._sql = str(compiled)
        self._names: list[str] | None = getattr(compiled, "positiontup", None)  # None: by name
        columns = list(query.selected_columns)
        row: Any = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc]
        self._row: Callable[[Any], Any] = row._make
        processors = [
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
        ]
        self._processors = [(i, work) for i, work in enumerate(processors) if work is not None]

    def rows(self, conn: Connection, parameters: dict[str, object]) -> list[Any]:
        driver: Any = conn.connection.driver_connection
        values = parameters if self._names is None else [parameters[name] for name in self._names]
        try:
            found = driver.execute(self._sql, values).fetchall()
        except Exception as error:
            dbapi = conn.dialect.dbapi
            assert dbapi is not None
            if not isinstance(error, dbapi.Error):
                raise
            raise DBAPIError.instance(self._sql, values, error, dbapi.Error) from error
        if self._processors:
            return [self._row(self._processed(row)) for row in found]
        return list(map(self._row, found))

    def _processed(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for i, work in self._processors:
            values[i] = work(values[i])
        return values
