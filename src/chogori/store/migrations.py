"""Versions of tables: each room has a list of SQL scripts, and the n-th leads to version n."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from chogori.errors import StoreError

Schemas = Mapping[str, Sequence[str]]


def versions(connection: sqlite3.Connection) -> dict[str, int]:
    """The version that each room's tables have."""
    if not connection.execute("select 1 from sqlite_master where name = 'versions'").fetchall():
        return {}
    return dict(connection.execute("select room, version from versions"))


def is_current(connection: sqlite3.Connection, schemas: Schemas, path: Path) -> bool:
    """Whether no script is left to run. Raises `StoreError` if a newer chogori has been here."""
    found = versions(connection)
    for room, scripts in schemas.items():
        if found.get(room, 0) > len(scripts):
            raise StoreError(
                f"{path} was written by a newer chogori: its {room} tables have version "
                f"{found[room]}, and this one knows versions up to {len(scripts)}; "
                "pip install --upgrade chogori"
            )
    return all(found.get(room, 0) == len(scripts) for room, scripts in schemas.items())


def migrate(connection: sqlite3.Connection, schemas: Schemas, path: Path) -> None:
    """Run the scripts that are left: all of them, or none."""
    if is_current(connection, schemas, path):
        return
    connection.execute("begin immediate")
    try:
        connection.execute(
            "create table if not exists versions (room text primary key, version integer not null)"
        )
        found = versions(connection)
        for room, scripts in schemas.items():
            for script in scripts[found.get(room, 0) :]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(
                "insert or replace into versions values (?, ?)", (room, len(scripts))
            )
        connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.rollback()


def refuse_newer(connection: sqlite3.Connection, schemas: Schemas, path: Path) -> None:
    """`is_current`, for a look that must change nothing: what cannot be read is let pass."""
    with closing(connection):
        try:
            is_current(connection, schemas, path)
        except sqlite3.Error:
            return


def _statements(script: str) -> Iterator[str]:
    """The statements of a script. (`executescript` would commit the transaction it runs in.)"""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip(" \n\t;"):
        raise ValueError(f"a script of a schema ends within a statement: {statement.strip()!r}")
