"""Rows of a user store's tables, in and out. All functions run inside a transaction of [`StoreDatabase`]."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from pref_lstm.modeling.turn import Turn

from .store_schema import name_bucket
from .turn_record import StoredTurn

_COLUMNS = "turn_id, time, user, agent, tensors, probability, reason"


def find_user(connection: sqlite3.Connection, name: str) -> int | None:
    rows = connection.execute("SELECT id, name FROM users WHERE bucket = ?", (name_bucket(name),)).fetchall()
    return next((user_id for user_id, known in rows if known == name), None)


def add_user(connection: sqlite3.Connection, name: str) -> int:
    row = (name_bucket(name), name)
    return int(connection.execute("INSERT INTO users (bucket, next_turn, name) VALUES (?, 1, ?)", row).lastrowid or 0)


def delete_user(connection: sqlite3.Connection, user_id: int) -> None:
    """The user, with all that belongs to it."""
    for table in ("turns", "states", "writes"):
        connection.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,))
    connection.execute("DELETE FROM users WHERE id = ?", (user_id,))


def take_turn_id(connection: sqlite3.Connection, user_id: int) -> int:
    """The user's next turn id; it is not given out again."""
    number: int = connection.execute("SELECT next_turn FROM users WHERE id = ?", (user_id,)).fetchone()[0]
    reserve_turn_ids(connection, user_id, number)
    return number


def reserve_turn_ids(connection: sqlite3.Connection, user_id: int, last: int) -> None:
    """Never give out ids up to `last`."""
    connection.execute("UPDATE users SET next_turn = max(next_turn, ?) WHERE id = ?", (last + 1, user_id))


def read_turns(connection: sqlite3.Connection, user_id: int | None) -> list[StoredTurn]:
    """
    The user's ledger in order; empty for no user.

    Raises:
        sqlite3.DatabaseError: if a row is damaged.
    """
    rows = connection.execute(f"SELECT {_COLUMNS} FROM turns WHERE user_id = ? ORDER BY turn_id", (user_id,))
    return [_parse_turn(row) for row in rows.fetchall()]


def _parse_turn(row: tuple[object, ...]) -> StoredTurn:
    match row:
        case (int(number), str(time), str(user), str(agent), None, float(probability), str(reason)) if user.strip():
            stored = StoredTurn(number, time, Turn(user, agent), None, probability, reason)
        case (int(number), str(time), None, None, bytes(tensors), float(probability), str(reason)):
            stored = StoredTurn(number, time, None, tensors, probability, reason)
        case _:
            raise sqlite3.DatabaseError("a row of the ledger has values of a wrong type")
    try:
        has_offset = datetime.fromisoformat(stored.time).tzinfo is not None
    except ValueError:  # its message would quote the value
        has_offset = False
    if not 0 <= stored.probability <= 1:
        raise sqlite3.DatabaseError("a row of the ledger has a probability that is none")
    if not has_offset:
        raise sqlite3.DatabaseError("a row of the ledger has no valid time")
    return stored


def insert_turn(connection: sqlite3.Connection, user_id: int, stored: StoredTurn) -> None:
    text = (None, None) if stored.turn is None else (stored.turn.user, stored.turn.agent)
    connection.execute(
        f"INSERT INTO turns (user_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (user_id, stored.id, stored.time, *text, stored.tensors, stored.probability, stored.reason),
    )


def delete_turn(connection: sqlite3.Connection, user_id: int, turn_id: int) -> None:
    connection.execute("DELETE FROM turns WHERE user_id = ? AND turn_id = ?", (user_id, turn_id))


def read_view(connection: sqlite3.Connection, user_id: int | None) -> tuple[bytes | None, dict[int, int]]:
    """The bytes of the user's current state, if it has one; and turn id to the number of its write, its slot's time."""
    row = connection.execute("SELECT state FROM states WHERE user_id = ?", (user_id,)).fetchone()
    if row is not None and not isinstance(row[0], bytes):
        raise sqlite3.DatabaseError("a state is no blob")
    writes = connection.execute("SELECT turn_id, number FROM writes WHERE user_id = ?", (user_id,)).fetchall()
    return None if row is None else row[0], dict(writes)


def save_state(connection: sqlite3.Connection, user_id: int, state: bytes) -> None:
    # In place: of a value that keeps its size SQLite writes only the pages that differ.
    connection.execute(
        "INSERT INTO states (user_id, state) VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET state = excluded.state",
        (user_id, state),
    )


def save_writes(connection: sqlite3.Connection, user_id: int, writes: dict[int, int]) -> None:
    rows = [(user_id, turn_id, number) for turn_id, number in writes.items()]
    connection.executemany("INSERT INTO writes (user_id, turn_id, number) VALUES (?, ?, ?)", rows)


def delete_writes(connection: sqlite3.Connection, user_id: int) -> None:
    connection.execute("DELETE FROM writes WHERE user_id = ?", (user_id,))
