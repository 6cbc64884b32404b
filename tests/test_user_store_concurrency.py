"""The user store under threads, processes, an event loop, and `kill -9`."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pref_lstm.modeling.turn import Turn
from tiny_store import make_store_model, open_store, raw_bytes

# 20 here; `PREF_LSTM_KILLS=200` for the figure in the report.
NUM_KILLS = int(os.environ.get("PREF_LSTM_KILLS", "20"))


@pytest.fixture(scope="module")
def model():
    """The paper's cell: its state depends on every turn and on their order."""
    return make_store_model("pref_lstm")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users.db"


def serial_state(model, texts):
    state = model.initial_state()
    for text in texts:
        state = model.write([Turn(text)], state)
    return state


def assert_equal_to_serial_replay(store, model, user):
    assert store.state(user).equal(serial_state(model, [record.turn.user for record in store.history(user)]))


def test_a_thousand_users_and_eight_threads(model, path):
    """No cross-talk, nothing lost, and each state is that of the user's surviving turns written one by one."""
    num_users, num_threads = 1000, 8
    expected = {f"user {i}": {} for i in range(num_users)}  # by id: the text that was acknowledged last
    busy = {user: threading.Lock() for user in expected}  # for this test's own bookkeeping only

    def work(store, seed):
        chance = random.Random(seed)
        mine = [f"user {i}" for i in range(seed, num_users, num_threads)]
        for user in mine + chance.choices(list(expected), k=60):
            text = f"I love {user} / {chance.getrandbits(48):x}"
            kind = chance.choices(("observe", "forget", "update", "list", "forget_all"), (80, 6, 5, 8, 1))[0]
            if kind == "list":
                assert all(user in r.turn.user for r in store.list(user))
                continue
            with busy[user]:
                known = expected[user]
                if kind == "observe" or not known:
                    record = store.observe(user, Turn(text))
                    assert record.id not in known
                    known[record.id] = text
                elif kind == "forget":
                    id, _ = known.popitem()
                    store.forget(user, id)
                elif kind == "update":
                    id = next(iter(known))
                    store.update(user, id, Turn(text))
                    known[id] = text
                else:
                    store.forget_all(user)
                    known.clear()

    with open_store(path, model) as store:
        with ThreadPoolExecutor(num_threads) as pool:
            for result in [pool.submit(work, store, seed) for seed in range(num_threads)]:
                result.result()
        for user, texts in expected.items():
            assert {r.id: r.turn.user for r in store.history(user)} == texts
            assert_equal_to_serial_replay(store, model, user)


def test_threads_that_write_for_one_user_at_once(model, path):
    with open_store(path, model) as store, ThreadPoolExecutor(8) as pool:

        def work(i):
            record = store.observe("ada", Turn(f"I love {i}"))
            if i % 6 == 0:
                store.forget("ada", record.id)
            return None if i % 6 == 0 else (record.id, record.turn.user)

        kept = {pair for pair in pool.map(work, range(60)) if pair}
        assert {(r.id, r.turn.user) for r in store.history("ada")} == kept
        assert_equal_to_serial_replay(store, model, "ada")


def test_a_write_during_a_replay_is_kept(model, path, monkeypatch):
    with open_store(path, model) as store:
        for i in range(3):
            store.observe("ada", Turn(f"I love {i}"))
        replay, calls = store._writer.replay, []

        def interrupted(turns):
            calls.append(len(turns))
            if len(calls) == 1:
                with open_store(path, model) as other:
                    other.observe("ada", Turn("I love the interruption"))
            return replay(turns)

        monkeypatch.setattr(store._writer, "replay", interrupted)
        store.forget("ada", 2)
        assert calls == [2, 3]
        assert [r.id for r in store.history("ada")] == [1, 3, 4]
        assert_equal_to_serial_replay(store, model, "ada")


def in_child(work):
    """Run `work` in a forked child: the models are there already."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def test_processes_that_write_at_once(model, path):
    def work(seed):
        with open_store(path, model) as store:
            for i in range(8):
                record = store.observe(f"user {i % 3}", Turn(f"I love {seed} {i}"))
                if i % 4 == 3:
                    store.forget(f"user {i % 3}", record.id)

    children = [in_child(lambda s=seed: work(s)) for seed in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    with open_store(path, model) as store:
        assert sorted(len(store.history(f"user {i}")) for i in range(3)) == [8, 8, 8]
        for i in range(3):
            assert_equal_to_serial_replay(store, model, f"user {i}")


def test_a_child_must_open_the_store_anew(model, path):
    def work():
        with pytest.raises(ValueError) as info:
            store.users()
        expected = f"The store '{path}' was opened by another process. Open it again with `UserStore`."
        assert str(info.value) == expected

    with open_store(path, model) as store:
        assert os.waitpid(in_child(work), 0)[1] == 0


def test_kill_9_at_any_point(model, path):
    """After each kill: every acknowledged turn is there, every acknowledged deletion is, and the state follows."""
    chance = random.Random(0)
    num_acknowledged = 0
    for round_ in range(NUM_KILLS):
        user = f"user {round_}"
        reader, writer = os.pipe()

        def work(user=user, writer=writer):
            with open_store(path, model) as store:
                for i in range(1, 10_000):
                    store.observe(user, Turn(f"I love <{user}:{i}>"))
                    os.write(writer, f"+{i}\n".encode())
                    if i % 3 == 0:
                        store.forget(user, i - 1)
                        os.write(writer, f"-{i - 1}\n".encode())

        child = in_child(work)
        os.close(writer)
        time.sleep(chance.uniform(0.0, 0.25))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        with os.fdopen(reader) as pipe:
            lines = [line for line in pipe.read().splitlines(keepends=True) if line.endswith("\n")]
        written = {int(line[1:]) for line in lines if line[0] == "+"}
        forgotten = {int(line[1:]) for line in lines if line[0] == "-"}
        num_acknowledged += len(lines)

        with open_store(path, model) as store:
            history = {r.id: r.turn.user for r in store.history(user)}
            # One operation may have been committed and not yet acknowledged.
            assert len((written - forgotten) ^ history.keys()) <= 1
            assert not forgotten & history.keys() and history.keys() <= set(range(1, max(written, default=0) + 2))
            assert_equal_to_serial_replay(store, model, user)
            raw = raw_bytes(path)
            for i in range(1, max(written, default=0) + 3):
                assert (f"<{user}:{i}>".encode() in raw) == (i in history)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert num_acknowledged > NUM_KILLS
    print(f"{NUM_KILLS} kills, {num_acknowledged} acknowledged operations, none lost")


def test_asyncio(model, path):
    async def converse(store, user):
        for i in range(3):
            await asyncio.to_thread(store.observe, user, Turn(f"I love {user} {i}"))
        await asyncio.to_thread(store.forget, user, 2)
        return await asyncio.to_thread(store.history, user)

    async def main(store):
        return await asyncio.gather(*[converse(store, f"user {i}") for i in range(5)])

    with open_store(path, model) as store:
        histories = asyncio.run(main(store))
        for i, history in enumerate(histories):
            assert [r.turn.user for r in history] == [f"I love user {i} 0", f"I love user {i} 2"]
            assert_equal_to_serial_replay(store, model, f"user {i}")


def test_a_reader_that_stays_holds_up_forgetting_and_is_named(model, path, monkeypatch):
    monkeypatch.setattr("pref_lstm.store_database.BUSY_TIMEOUT", 0.05)
    with open_store(path, model) as store:
        store.observe("ada", Turn("I love zqx1"))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        with pytest.raises(TimeoutError) as info:
            store.forget("ada", 1)
        assert str(info.value) == (
            f"What was forgotten is deleted, but the log of '{path}' still holds it: another connection kept reading "
            "for 0.05 s. End that reader and open the store again, which clears the log."
        )
        assert store.history("ada") == [] and b"zqx1" in raw_bytes(path)
        reader.close()
    open_store(path, model).close()
    assert b"zqx1" not in raw_bytes(path)


def test_a_writer_that_stays_is_named(model, path, monkeypatch):
    monkeypatch.setattr("pref_lstm.store_database.BUSY_TIMEOUT", 0.05)
    with open_store(path, model) as store:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError) as info:
            store.observe("ada", Turn("I love tea"))
        assert str(info.value) == (
            f"'{path}' was locked by another process for 0.05 s. Try again, or end the process that holds it."
        )
        writer.close()
        assert store.observe("ada", Turn("I love tea")).id == 1


def test_a_second_opening_keeps_the_locks_of_the_first(model, path):
    """Closing any handle of a file drops a process's locks on it; others would then delete the log in use."""
    others = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); c.close()"
    with open_store(path, model) as first:
        first.observe("ada", Turn("I love tea"))
        for close in (True, False):
            second = open_store(path, model)
            if close:
                second.close()
            change = f"INSERT INTO users (bucket, next_turn, name) VALUES (1, 1, 'other {close}')"
            subprocess.run([sys.executable, "-c", others, str(path), change], check=True)
            first.observe("ada", Turn(f"I love cats {close}"))
        second.close()
        seen = (
            "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM turns').fetchone())"
        )
        out = subprocess.run([sys.executable, "-c", seen, str(path)], check=True, capture_output=True, text=True)
        assert out.stdout.strip() == "(3,)"
    with open_store(path, model) as later:
        assert later.users() == ["ada", "other False", "other True"] and len(later.history("ada")) == 3
