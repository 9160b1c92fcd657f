"""Records as rows: a table has the columns of its record's fields, and a sequence that orders it."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, fields
from typing import Any, Generic, TypeVar

Record = TypeVar("Record")


class Table(Generic[Record]):
    """Reads and writes the records of one table. Names of tables and columns are constants of the code."""

    def __init__(self, name: str, record: type[Record], kinds: Mapping[str, Callable[[Any], Any]]) -> None:
        """``kinds``: what makes a field's value from what SQLite keeps of it, where that is not the same."""
        columns = [field.name for field in fields(record)]  # type: ignore[arg-type]  # every record is a dataclass
        self._record: Callable[..., Record] = record
        self._columns = columns
        self._kinds = kinds
        listed = ", ".join(columns)
        self._select = " ".join(["SELECT", listed, "FROM", name])
        renewed = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        values = ", ".join("?" * len(columns))
        self._write = " ".join(
            ["INSERT INTO", name, "(", listed, ") VALUES (", values, ") ON CONFLICT (id) DO UPDATE SET", renewed]
        )

    def write(self, database: sqlite3.Connection, record: Record) -> None:
        """Keeps the record in the place of the one with its id, if there is one."""
        database.execute(self._write, astuple(record))  # type: ignore[call-overload]  # every record is a dataclass

    def read(self, database: sqlite3.Connection, rest: str = "", *values: object) -> Iterator[Record]:
        """The records that ``rest`` of the query leaves, in the order in which they were first written."""
        order = "" if "ORDER BY" in rest else " ORDER BY sequence"
        for row in database.execute(f"{self._select} {rest}{order}", values):
            told = dict(zip(self._columns, row, strict=True))
            for name, kind in self._kinds.items():
                told[name] = kind(told[name])
            yield self._record(**told)
