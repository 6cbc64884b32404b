"""The tables of a user store, and the way from older files to them."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

APPLICATION_ID = 0x50524D53  # in the header of every store, so that no other SQLite file is taken for one
PAGE_SIZE = 4096

# `secure_delete` overwrites what is deleted, but when SQLite rebalances a table it copies rows between pages, and old
# copies stay in the unused parts of a page (measured: up to 4 of 1,400 deletes). Only the head of a row is ever copied:
# what exceeds a page lies on overflow pages, which stay where they are and are overwritten as a whole. So whatever
# tells something of a user stands behind a blank of one page, and the columns before it are bare numbers.
_BLANK = f"blank BLOB NOT NULL DEFAULT (zeroblob({PAGE_SIZE}))"

# One entry per version: the statements that lead to it from the one before. Entries are never edited.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `bucket` is 16 bits of the name: enough to find a user by, too few to tell who it was.
        f"""CREATE TABLE users (id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL,
            next_turn INTEGER NOT NULL, {_BLANK}, name TEXT NOT NULL)""",
        "CREATE INDEX users_by_bucket ON users (bucket)",
        # The ledger: what was taken in. Either `user` and `agent` or `tensors` are there.
        f"""CREATE TABLE turns (user_id INTEGER NOT NULL REFERENCES users (id), turn_id INTEGER NOT NULL, {_BLANK},
            time TEXT NOT NULL, user TEXT, agent TEXT, tensors BLOB, probability REAL NOT NULL, reason TEXT NOT NULL,
            PRIMARY KEY (user_id, turn_id))""",
        # The current view: what the ledger makes of an empty memory, and which of its writes each turn was.
        f"""CREATE TABLE states (user_id INTEGER PRIMARY KEY REFERENCES users (id), {_BLANK}, state BLOB NOT NULL)""",
        """CREATE TABLE writes (user_id INTEGER NOT NULL REFERENCES users (id), turn_id INTEGER NOT NULL,
            number INTEGER NOT NULL, PRIMARY KEY (user_id, turn_id))""",
    ),
)


def name_bucket(name: str) -> int:
    """Which of 65,536 buckets a user's name falls into."""
    return zlib.crc32(name.encode()) & 0xFFFF


def prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    """
    Make the tables in an empty file, or bring an older store's to this version, all or nothing.

    Raises:
        ValueError: if the file is an SQLite database of something else, was written by a newer version, or has other
            tables than a store of its version. The file is left as it was.
    """
    newest = len(MIGRATIONS)
    if _version(connection, path) < newest:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked again: another process may have been faster.
            for statements in MIGRATIONS[_version(connection, path) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {newest}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The file's schema version, 0 for an empty file, after checking that it is a store of that version."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = _tables(connection)
    if application_id != APPLICATION_ID and (tables or application_id or version):
        raise ValueError(
            f"'{path}' must be a user store, but is a database of another program (application id {application_id}). "
            "Pass another path."
        )
    if version > len(MIGRATIONS):
        raise ValueError(
            f"'{path}' has schema version {version}, but this version of pref-lstm knows {len(MIGRATIONS)} at most. "
            "Upgrade it: `pip install --upgrade pref-lstm`."
        )
    with_schema = sqlite3.connect(":memory:")
    try:
        for statement in (s for statements in MIGRATIONS[:version] for s in statements):
            with_schema.execute(statement)
        expected = _tables(with_schema)
    finally:
        with_schema.close()
    if tables != expected:
        raise ValueError(
            f"'{path}' must have exactly the tables of schema version {version}, but {len(expected ^ tables)} of their "
            "definitions differ. Restore it from a copy."
        )
    return version


def _tables(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
