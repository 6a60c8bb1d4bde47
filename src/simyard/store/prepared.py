"""Statements that are executed very often, at what the driver itself takes for them.

SQLAlchemy writes the SQL and knows the types; it does so once, and no longer stands between the
statement and the driver, where it takes four times as long as SQLite does for a row or two. For
what is polled and for what every run goes through; everything else is executed as usual.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    Text,
    Update,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator

T = TypeVar("T")
Parameters = Mapping[str, object]


class Values(TypeDecorator[Sequence[object]]):
    """Many values in one parameter."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[object] | None, dialect: Any) -> str:
        return msgspec.json.encode(list(value or ())).decode()


def any_of(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Whether the column is one of the values of a parameter: an IN that is always the same
    statement, however many there are.
    """
    each = func.json_each(bindparam(name, type_=Values())).table_valued("value")
    return column.in_(select(each.c.value))


def one_of(column: Column[Any], values: Sequence[str]) -> ColumnElement[bool]:
    """The same of words that never change, spelled out so that a partial index is found."""
    assert all(value.isidentifier() for value in values), values
    return column.in_([literal_column(f"'{value}'") for value in values])


class Prepared:
    """A statement whose every parameter is a `bindparam` of one value: no expanding IN, see
    `any_of`. An insert takes its columns from the first parameters it gets.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete) -> None:
        self._statement = statement
        self._for: dict[str, _Compiled] = {}  # by name of the dialect

    def rows(self, conn: Connection, **parameters: object) -> list[Any]:
        """All rows of a select, their columns as attributes. Raises as `Connection.execute`."""
        return self._compiled(conn, parameters).rows(conn, parameters)

    def rows_as(self, make: Callable[[Any], T], conn: Connection, **parameters: object) -> list[T]:
        """The same, each row made of its columns in their order."""
        return self._compiled(conn, parameters).rows(conn, parameters, make)

    def first(self, conn: Connection, **parameters: object) -> Any:
        """The first row of a select, or None."""
        rows = self.rows(conn, **parameters)
        return rows[0] if rows else None

    def scalar(self, conn: Connection, **parameters: object) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(conn, **parameters)
        return rows[0][0] if rows else None

    def run(self, conn: Connection, **parameters: object) -> int:
        """Execute what gives no rows. Returns how many it changed."""
        return self._compiled(conn, parameters).run(conn, [parameters])

    def run_many(self, conn: Connection, parameters: Sequence[Parameters]) -> None:
        """Execute it for each of these, in order; all name the same parameters."""
        if parameters:
            self._compiled(conn, parameters[0]).run(conn, parameters)

    def _compiled(self, conn: Connection, parameters: Parameters) -> "_Compiled":
        compiled = self._for.get(conn.dialect.name)
        if compiled is None:
            made = _Compiled(self._statement, conn.dialect, list(parameters))
            compiled = self._for[conn.dialect.name] = made
        return compiled


class _Compiled:
    """A statement in the words of one database."""

    def __init__(
        self, statement: Select[Any] | Insert | Update | Delete, dialect: Dialect, names: list[str]
    ) -> None:
        only = names if isinstance(statement, Insert) else None
        compiled: Any = statement.compile(dialect=dialect, column_keys=only)
        self._sql = str(compiled)
        assert "POSTCOMPILE" not in self._sql, self._sql
        binds = compiled.binds
        wanted = compiled.positiontup or list(binds)
        works = {name: _bind_processor(binds[name], dialect) for name in wanted}
        self._works = [(name, work) for name, work in works.items() if work is not None]
        self._pick = _picker(wanted, by_name=compiled.positiontup is None)
        # What the statement itself holds: `limit(1)`, `values(completed=True)`.
        self._constants = {n: compiled.params[n] for n in wanted if not binds[n].required}
        columns = list(statement.selected_columns) if isinstance(statement, Select) else []
        keys = [str(column.key) for column in columns]  # "None" for a function without a label
        row: Any = namedtuple("Row", keys, rename=True)  # type: ignore[misc]
        self._row: Callable[[Any], Any] = row._make
        processors = [
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
        ]
        self._processors = [(i, work) for i, work in enumerate(processors) if work is not None]

    def rows(
        self, conn: Connection, parameters: Parameters, make: Callable[[Any], Any] | None = None
    ) -> list[Any]:
        make = make or self._row
        values = self._values(parameters)
        driver: Any = conn.connection.driver_connection
        try:
            found = driver.execute(self._sql, values).fetchall()
        except Exception as error:
            if (told := self._told(conn, values, error)) is None:
                raise
            raise told from error
        if self._processors:
            return [make(self._processed(row)) for row in found]
        return list(map(make, found))

    def run(self, conn: Connection, parameters: Sequence[Parameters]) -> int:
        driver: Any = conn.connection.driver_connection
        values: Any = None
        try:
            if len(parameters) == 1:
                values = self._values(parameters[0])
                return int(driver.execute(self._sql, values).rowcount)
            values = [self._values(each) for each in parameters]
            return int(driver.executemany(self._sql, values).rowcount)
        except Exception as error:
            if (told := self._told(conn, values, error)) is None:
                raise
            raise told from error

    def _values(self, parameters: Parameters) -> Any:
        if self._constants or self._works:
            parameters = {**self._constants, **parameters}
            for name, work in self._works:
                parameters[name] = work(parameters[name])
        return self._pick(parameters)

    def _told(self, conn: Connection, values: Any, error: Exception) -> Exception | None:
        """An error of the driver's as `Connection.execute` raises it; None: it is of another's."""
        dbapi = conn.dialect.dbapi
        assert dbapi is not None
        if not isinstance(error, dbapi.Error):
            return None
        return DBAPIError.instance(self._sql, values, error, dbapi.Error)

    def _processed(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for i, work in self._processors:
            values[i] = work(values[i])
        return values


def _picker(names: Sequence[str], *, by_name: bool) -> Callable[[Parameters], Any]:
    """What makes of all parameters those that a driver wants, as it wants them."""
    if by_name:
        return lambda parameters: {name: parameters[name] for name in names}
    if len(names) > 1:
        return itemgetter(*names)
    return lambda parameters: tuple(parameters[name] for name in names)


def _bind_processor(parameter: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    found: Callable[[Any], Any] | None = parameter.type.dialect_impl(dialect).bind_processor(
        dialect
    )
    return found
