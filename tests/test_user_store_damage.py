"""Damaged, foreign, old and newer stores, damaged states, and imports that are anything at all."""

import base64
import copy
import json
import shutil
import sqlite3

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pref_lstm.modeling.memory_state import MemoryState, tensors_to_bytes
from pref_lstm.modeling.turn import Turn
from safetensors.torch import save
from tiny_store import make_store_model, open_store, raw_bytes

from pref_lstm import store_schema

FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SECRET = "I love zqxsecret"


@pytest.fixture(scope="module")
def model():
    return make_store_model()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users.db"


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The file of a closed store with two users, one of them without texts."""
    path = tmp_path_factory.mktemp("whole") / "whole.db"
    with open_store(path, model) as store, open_store(path, model, keep_text=False) as mute:
        for i in range(3):
            store.observe("ada", Turn(f"{SECRET} {i}", agent="zqxagent"))
            mute.observe("bob", Turn(f"{SECRET} {i}"))
    return path


def error_of(call, kind=ValueError):
    with pytest.raises(kind) as info:
        call()
    return str(info.value)


def use(path, model):
    """Every verb once."""
    with open_store(path, model) as store:
        for user in store.users():
            store.observe(user, Turn("I love rain"))
            store.state(user), store.list(user), store.why(user, "which tea?"), store.export(user)
            store.forget(user, store.history(user)[0].id)


# Files ---------------------------------------------------------------------------------------------------------------


@given(data=st.binary(min_size=1, max_size=3000))
@FUZZ
def test_a_file_of_anything_is_refused_and_left_as_it_was(data, path, model):
    path.write_bytes(data)
    message = error_of(lambda: open_store(path, model))
    assert message.startswith(f"'{path}' must be a user store, but is damaged or no SQLite file (")
    assert message.endswith("). Restore it from a copy.")
    assert path.read_bytes() == data


@given(position=st.floats(0, 1, exclude_max=True), values=st.binary(min_size=1, max_size=40))
@FUZZ
def test_overwritten_bytes_give_a_clear_error_or_do_no_harm(position, values, path, whole, model):
    data = bytearray(whole.read_bytes())
    start = int(position * len(data))
    data[start : start + len(values)] = values
    path.write_bytes(data[: len(whole.read_bytes())])
    try:
        use(path, model)
    except (ValueError, OSError) as error:
        assert str(path) in str(error) or "encoded turn" in str(error)
        assert "zqx" not in str(error)
    finally:
        for file in path.parent.glob("users.db*"):
            file.unlink()


@given(length=st.floats(0, 1, exclude_max=True))
@FUZZ
def test_a_file_cut_short_gives_a_clear_error(length, path, whole, model):
    data = whole.read_bytes()[: int(length * whole.stat().st_size)]
    path.write_bytes(data)
    try:
        if data:
            message = error_of(lambda: use(path, model), (ValueError, OSError))
            assert str(path) in message and "zqx" not in message
            assert list(path.parent.glob("users.db*")) == [path]  # closed: a connection left open keeps its log
    finally:
        path.unlink()


def test_another_programs_database_is_refused_and_left_as_it_was(path, model):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.commit()
    connection.close()
    data = path.read_bytes()
    assert error_of(lambda: open_store(path, model)) == (
        f"'{path}' must be a user store, but is a database of another program (application id 0). Pass another path."
    )
    assert raw_bytes(path) == data


def test_a_store_with_other_tables_is_refused(path, whole, model):
    shutil.copy(whole, path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TRIGGER spy AFTER INSERT ON turns BEGIN DELETE FROM states; END")
    connection.commit()
    connection.close()
    assert error_of(lambda: open_store(path, model)) == (
        f"'{path}' must have exactly the tables of schema version 1, but 1 of their definitions differ. "
        "Restore it from a copy."
    )


def test_a_folder_that_is_not_there(tmp_path, model):
    missing = tmp_path / "no" / "users.db"
    assert str(missing) in error_of(lambda: open_store(missing, model), FileNotFoundError)
    assert error_of(lambda: open_store(tmp_path, model), OSError) == (
        f"'{tmp_path}' must be a file that can be read and written, but SQLite says: unable to open database file. "
        "Check its folder, its permissions and the space on the disk."
    )


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE turns SET user = NULL", "a row of the ledger has values of a wrong type"),
        ("UPDATE turns SET user = '  ', tensors = NULL", "a row of the ledger has values of a wrong type"),
        ("UPDATE turns SET time = 'zqx yesterday'", "a row of the ledger has no valid time"),
        ("UPDATE turns SET time = '2020-01-01'", "a row of the ledger has no valid time"),
        ("UPDATE turns SET reason = CAST(x'ff7a7178' AS TEXT)", "some text is no UTF-8"),
        ("UPDATE states SET state = 'zqx'", "a state is no blob"),
    ],
)
def test_a_damaged_row_is_named_without_its_content(statement, reason, path, whole, model):
    shutil.copy(whole, path)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with open_store(path, model) as store:
        assert error_of(lambda: store.list("ada")) == (
            f"'{path}' must be a user store, but is damaged or no SQLite file ({reason}). Restore it from a copy."
        )


# Versions ------------------------------------------------------------------------------------------------------------


def test_a_newer_store_is_refused_and_left_as_it_was(path, whole, model, monkeypatch):
    shutil.copy(whole, path)
    with monkeypatch.context() as patch:
        patch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, ("ALTER TABLE users ADD mood TEXT",)))
        open_store(path, model).close()
    data = path.read_bytes()
    assert error_of(lambda: open_store(path, model)) == (
        f"'{path}' has schema version 2, but this version of pref-lstm knows 1 at most. "
        "Upgrade it: `pip install --upgrade pref-lstm`."
    )
    assert path.read_bytes() == data


def test_an_older_store_is_brought_up_with_everything_in_it(path, whole, model, monkeypatch):
    shutil.copy(whole, path)
    with open_store(path, model) as store:
        before = {user: (store.export(user), store.state(user)) for user in store.users()}
    step = ("ALTER TABLE users ADD mood TEXT", "CREATE TABLE moods (mood TEXT)")
    monkeypatch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, step))
    with open_store(path, model) as store, open_store(path, model) as again:
        for s in (store, again):
            assert {user: s.export(user) for user in s.users()} == {user: data for user, (data, _) in before.items()}
            assert all(s.state(user).equal(state) for user, (_, state) in before.items())
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM moods").fetchone() == (0,)
    connection.close()


def test_a_migration_that_fails_leaves_the_older_store(path, whole, model, monkeypatch):
    shutil.copy(whole, path)
    with monkeypatch.context() as patch:
        step = ("CREATE TABLE moods (mood TEXT)", "INSERT INTO absent VALUES (1)")
        patch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, step))
        assert "no such table: absent" in error_of(lambda: open_store(path, model), OSError)
    with open_store(path, model) as store:
        assert store.users() == ["ada", "bob"]


# States --------------------------------------------------------------------------------------------------------------


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@FUZZ
def test_a_state_with_one_bit_flipped_is_refused(position, bit, model):
    data = bytearray(model.initial_state().to_bytes("f"))
    data[int(position * len(data))] ^= 1 << bit
    message = error_of(lambda: MemoryState.from_bytes(bytes(data), "f"))
    assert message.startswith("The state must be a memory state")


@given(data=st.binary(max_size=300))
@FUZZ
def test_a_state_of_anything_is_refused(data, model, tmp_path):
    message = error_of(lambda: MemoryState.from_bytes(data, "f"))
    assert message.startswith(
        "The state must be a memory state saved by `MemoryState.save`, but is damaged or no safetensors file ("
    )
    assert message.endswith("). Restore it from a copy or start with an empty memory.")
    file = tmp_path / "state.safetensors"
    file.write_bytes(data)
    assert error_of(lambda: MemoryState.load(file, model.memory)) == message.replace("The state", f"'{file}'", 1)


def test_messages_of_states_that_are_something_else(model):
    state = model.initial_state()
    assert error_of(lambda: MemoryState.from_bytes(save({"a": torch.zeros(1)}), "f")) == (
        "The state must be a memory state of format 'pref_lstm.memory_state.v1', got 'None'. "
        "Was it saved by `MemoryState.save`?"
    )
    assert error_of(lambda: MemoryState.from_bytes(state.to_bytes("g"), "f")) == (
        "The state was made by the adapter with fingerprint 'g', but this one has 'f'. States belong to one adapter "
        "and LM: write the user's turns again."
    )
    data = state.to_bytes("f")
    assert error_of(lambda: MemoryState.from_bytes(data[:-1] + b"\x01", "f")) == (
        "The state must be a memory state saved by `MemoryState.save`, but is damaged or no safetensors file "
        "(the checksum differs). Restore it from a copy or start with an empty memory."
    )


def test_a_damaged_state_in_a_store_can_be_rebuilt(path, whole, model):
    shutil.copy(whole, path)
    with open_store(path, model) as store:
        state = store.state("ada")
        with store._database.write() as connection:
            connection.execute("UPDATE states SET state = zeroblob(100)")
        assert error_of(lambda: store.state("ada")).startswith(
            f"The user's memory in '{path}' must be one that this adapter made. The state must be a memory state"
        )
        store.rebuild("ada")
        assert store.state("ada").equal(state)


# Imports -------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(data=JSON)
@FUZZ
def test_an_import_of_anything_is_refused(data, whole, model):
    with open_store(whole, model) as store:
        assert error_of(lambda: store.import_("eve", data)) == (
            "`data` must be a dict of `format`, `fingerprint` and `turns`, as `UserStore.export` makes it, "
            "got something else. Nothing was imported."
        )
        assert store.users() == ["ada", "bob"]


@given(data=st.data())
@FUZZ
def test_an_export_with_one_value_replaced_comes_in_or_changes_nothing(data, whole, model):
    with open_store(whole, model) as store:
        export = store.export(data.draw(st.sampled_from(["ada", "bob"])))
        place = data.draw(st.sampled_from(["format", "fingerprint", "turns", "row", "field", "extra", "gone"]))
        value, row = data.draw(JSON), export["turns"][data.draw(st.integers(0, 2))]
        field = data.draw(st.sampled_from(sorted(row)))
        if place == "row":
            export["turns"][1] = value
        elif place == "field":
            row[field] = value
        elif place == "extra":
            row["weight"] = value
        elif place == "gone":
            del row[field]
        else:
            export[place] = value
        try:
            store.import_("eve", export)
        except ValueError as error:
            assert "zqx" not in str(error) and store.users() == ["ada", "bob"]
        else:
            assert len(store.history("eve")) == len(export["turns"])
            assert bool((store.state("eve")["strengths"] <= 1 + 1e-5).all())
        finally:
            store.forget_all("eve")


@pytest.mark.parametrize(
    ("user", "field", "value", "message"),
    [
        ("ada", "id", 0, "must be a whole number above 1 and up to 2**53"),
        ("ada", "id", 1, "must be a whole number above 1 and up to 2**53"),
        ("ada", "id", True, "must be a whole number above 1 and up to 2**53"),
        ("ada", "id", 2**53 + 1, "must be a whole number above 1 and up to 2**53"),
        ("ada", "time", "2026-01-01", "must be an ISO 8601 time with its offset from UTC"),
        ("ada", "time", SECRET, "must be an ISO 8601 time with its offset from UTC"),
        ("ada", "time", "0001-01-01T00:00:00+23:00", "must be an ISO 8601 time with its offset from UTC"),
        ("ada", "probability", 1.5, "must be a number from 0 to 1"),
        ("ada", "probability", float("nan"), "must be a number from 0 to 1"),
        ("ada", "probability", True, "must be a number from 0 to 1"),
        ("ada", "reason", None, "must be text"),
        ("ada", "user", " ", "must be text that is not blank"),
        ("ada", "user", "\ud800", "must be text that is not blank"),
        ("ada", "agent", 3, "must be text"),
        ("bob", "tensors", "no base64!", "must be base64"),
        ("bob", "tensors", 3, "must be base64"),
        ("ada", "weight", 99, "must be a dict of ['agent', 'id', 'probability', 'reason', 'time', 'user'] or "
         "['id', 'probability', 'reason', 'tensors', 'time']"),
    ],
)  # fmt: skip
def test_messages_of_wrong_fields(user, field, value, message, whole, model):
    with open_store(whole, model) as store:
        data = store.export(user)
        data["turns"][1][field] = value
        place = "data['turns'][1]" + ("" if field == "weight" else f"['{field}']")
        assert error_of(lambda: store.import_("eve", data)) == (
            f"`{place}` {message}, got something else. Nothing was imported."
        )


def test_messages_of_wrong_formats_and_adapters(whole, model):
    with open_store(whole, model) as store:
        data = store.export("bob")
        for field, value, expected in (("format", "v0", "'pref_lstm.user_memory.v1'"), ("turns", {}, "a list")):
            assert error_of(lambda d={**data, field: value}: store.import_("eve", d)) == (
                f"`data['{field}']` must be {expected}, got something else. Nothing was imported."
            )
        assert error_of(lambda: store.import_("eve", {**data, "fingerprint": "0"})) == (
            "`data` must come from the same adapter, because it holds turns as tensors only; its fingerprint differs "
            f"from '{model.memory.fingerprint()}'. Import it with the adapter that it was exported with."
        )


def tensors_of(model, **changed):
    encoded = dict(model.encoder.encode([Turn("I love tea")]).items())
    return {**encoded, **changed}


def test_messages_of_wrong_tensors(whole, model):
    ids = model.encoder.encode([Turn("I love tea")]).token_ids
    length = ids.shape[1]
    form = {"format": "pref_lstm.encoded_turn.v2", "vectors": model.memory.vectors_fingerprint()}
    good = tensors_to_bytes(tensors_of(model), form)
    shape = (
        "An encoded turn must hold pooled, token_ids, token_mask, token_features, token_salience of an encoder of "
        "width 16, but names, shapes or dtypes differ. Was it made with another encoder?"
    )
    finite = (
        "An encoded turn must hold finite numbers of a size up to 1e+06, its vector not all 0, got others. "
        "Does the encoder give nan?"
    )
    vocab = model.get_input_embeddings().weight.shape[0]
    range_ = f"An encoded turn must hold token ids from 0 to {vocab - 1}, got others. Was it made for another LM?"
    cases = [
        (good[:-1] + bytes([good[-1] ^ 1]),
         "An encoded turn must be safetensors as `UserStore` wrote them, but the checksum differs."),
        (model.initial_state().to_bytes("f"),
         "An encoded turn must have the format 'pref_lstm.encoded_turn.v2', got another one or none."),
        (tensors_to_bytes({"pooled": torch.zeros(1, 16)}, form), shape),
        (tensors_to_bytes(tensors_of(model, pooled=torch.zeros(1, 17)), form), shape),
        (tensors_to_bytes(tensors_of(model, token_ids=ids.int()), form), shape),
        (tensors_to_bytes(tensors_of(model, token_ids=ids[:, :2]), form), shape),
        (tensors_to_bytes(tensors_of(model, token_salience=torch.full((1, length), float("inf"))), form), finite),
        (tensors_to_bytes(tensors_of(model, pooled=torch.zeros(1, 16)), form), finite),
        (tensors_to_bytes(tensors_of(model, pooled=torch.full((1, 16), 3e38)), form), finite),
        (tensors_to_bytes(tensors_of(model, token_ids=ids + vocab), form), range_),
        (tensors_to_bytes(tensors_of(model, token_ids=ids - vocab), form), range_),
    ]  # fmt: skip
    with open_store(whole, model) as store:
        data = store.export("bob")
        for tensors, message in cases:
            wrong = copy.deepcopy(data)
            wrong["turns"][2]["tensors"] = base64.b64encode(tensors).decode()
            assert error_of(lambda w=wrong: store.import_("eve", json.loads(json.dumps(w)))) == message
        assert store.users() == ["ada", "bob"]
