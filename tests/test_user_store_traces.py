"""SQLite's `secure_delete` leaves copies of deleted rows behind; the tables are laid out so that none of them tells."""

import random
import re

import pytest
from pref_lstm.modeling.turn import Turn

from pref_lstm import store_rows, store_schema
from pref_lstm.store_database import StoreDatabase
from pref_lstm.turn_record import StoredTurn


@pytest.mark.parametrize("with_blank", [True, False])
def test_no_byte_of_a_deleted_row_stays(with_blank, tmp_path, monkeypatch):
    """Without the blank the same operations leave traces: that is what it is there for, and that this test can see."""
    if not with_blank:
        without = tuple(
            tuple(s.replace("DEFAULT (zeroblob(4096))", "DEFAULT x''") for s in m) for m in store_schema.MIGRATIONS
        )
        monkeypatch.setattr(store_schema, "MIGRATIONS", without)
    database, chance = StoreDatabase(tmp_path / "users.db"), random.Random(0)
    with database.read() as connection:
        pass
    connection.execute("PRAGMA synchronous = OFF")
    users, live, deleted, traces = {}, {}, set(), set()
    for i in range(2500):
        user, kind, mark = chance.randrange(60), chance.random(), f"<{chance.getrandbits(64):016x}>"
        with database.write() as connection:
            if user not in users:
                name = f"<{chance.getrandbits(64):016x}>"
                users[user], live[user] = store_rows.add_user(connection, name), {0: name}
            id, turns = users[user], live[user]
            if kind < 0.5 or len(turns) == 1:
                number = store_rows.take_turn_id(connection, id)
                text = mark + "x" * chance.choice([1, 30, 300, 1500, 5000]) + mark
                turn = StoredTurn(number, mark, Turn(text, mark), None, 0.5, mark)
                store_rows.insert_turn(connection, id, turn)
                turns[number] = mark
            elif kind < 0.97:
                number = chance.choice([number for number in turns if number])
                store_rows.delete_turn(connection, id, number)
                deleted.add(turns.pop(number))
            else:
                store_rows.delete_user(connection, id)
                deleted.update(live.pop(user).values())
                del users[user]
                continue
            state = "".join(turns.values()) + "y" * chance.choice([800, 2000, 20000])
            store_rows.save_state(connection, id, state.encode())
        if i % 25 == 0:
            database.clear_log()
            traces |= set(re.findall("<[0-9a-f]{16}>", database.path.read_bytes().decode("latin-1"))) & deleted
    database.close()
    assert len(deleted) > 800
    assert bool(traces) == (not with_blank)
