"""The SQLite file of a user store: connections, transactions, durability, and what it takes to leave no trace."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .store_schema import PAGE_SIZE, prepare_schema

BUSY_TIMEOUT = 30.0  # seconds
_MIN_SIZE = 512


def _decode(data: bytes) -> str:
    # sqlite3's own error for this one quotes the text.
    try:
        return data.decode()
    except UnicodeDecodeError:
        position = "some text is no UTF-8"
    raise sqlite3.DatabaseError(position)


def _prepare_file(path: Path) -> None:
    """
    Make the file where there is none, and refuse one so short that SQLite may take it for an empty one.

    A file that is there is never opened here: closing it would drop the locks of all connections that this process has
    to it, and others would take the log away from under them ("How To Corrupt An SQLite Database File", 2.2).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if path.is_file() and 0 < path.stat().st_size < _MIN_SIZE:
            raise sqlite3.DatabaseError("file is not a database") from None


class StoreDatabase:
    """
    One SQLite file in WAL mode, for any number of threads and processes.

    Every commit is flushed to disk before it returns (`synchronous=FULL`). Each thread has its own connection; writers
    of one process queue up here and those of several processes at SQLite's lock.

    Args:
        path (`Path`): The file. It is made, readable by its owner only, where there is none.

    Raises:
        ValueError: if the file is damaged or no user store.
        OSError: if the file can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._writer = threading.Lock()
        self._connections: dict[int, sqlite3.Connection] = {}
        self._pid: int | None = os.getpid()
        with self._explained():
            _prepare_file(self.path)
            connection = self._connection()
            try:
                # In this order: a file that is something else must not be turned to WAL mode.
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                prepare_schema(connection, self.path)
                self._enter_wal_mode(connection)
                # What a killed process had left in the log, forgotten turns perhaps.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except BaseException:
                self.close()
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one moment of the file. Keep it short: it holds up [`~StoreDatabase.clear_log`]."""
        with self._explained():
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in; it is committed at the end, or undone by an exception."""
        with self._writer, self._explained():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def clear_log(self) -> None:
        """
        Empty the write-ahead log, so that nothing of what was deleted or overwritten is left in it.

        Raises:
            TimeoutError: if other connections keep it busy.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT
        with self._writer, self._explained():
            connection = self._connection()
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"What was forgotten is deleted, but the log of '{self.path}' still holds it: another "
                        f"connection kept reading for {BUSY_TIMEOUT:g} s. End that reader and open the store again, "
                        "which clears the log."
                    )
                time.sleep(0.01)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._pid = None
        while self._connections:
            self._connections.popitem()[1].close()

    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            state = "is closed" if self._pid is None else "was opened by another process"
            raise ValueError(f"The store '{self.path}' {state}. Open it again with `UserStore`.")
        thread = threading.get_ident()  # a dead thread's number may come back, and its connection with it
        if thread not in self._connections:
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
            connection.text_factory = _decode
            try:
                for pragma in (
                    "secure_delete = ON",
                    "synchronous = FULL",
                    "temp_store = MEMORY",
                    "foreign_keys = ON",
                    "trusted_schema = OFF",
                    "cell_size_check = ON",
                ):
                    connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                connection.close()
                raise
            self._connections[thread] = connection
        return self._connections[thread]

    def _enter_wal_mode(self, connection: sqlite3.Connection) -> None:
        """SQLite doesn't wait for others in this one."""
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in our words. They name tables and columns, never a value."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise TimeoutError(
                    f"'{self.path}' was locked by another process for {BUSY_TIMEOUT:g} s. Try again, or end the "
                    "process that holds it."
                ) from None
            raise OSError(
                f"'{self.path}' must be a file that can be read and written, but SQLite says: {error}. "
                "Check its folder, its permissions and the space on the disk."
            ) from None
        except sqlite3.Error as error:
            raise ValueError(
                f"'{self.path}' must be a user store, but is damaged or no SQLite file ({error}). "
                "Restore it from a copy."
            ) from None
