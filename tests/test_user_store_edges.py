"""The user store at its edges: wrong arguments, a closed file, a failing model, names that must stay private."""

import re

import pytest
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.turn import Turn
from tiny import KeywordDetector
from tiny_store import TEXTS, error_of, make_store_model, observe_all, open_store

from pref_lstm.user_store import UserStore


def test_messages_of_wrong_arguments(store, models, tmp_path):
    store.observe("ada", Turn("I love tea"))
    turn = Turn("I love maps")
    assert error_of(lambda: store.observe(3, turn), TypeError) == (
        "`user` must be a string, got int. Pass the user's name."
    )
    for name in ("", "x" * 257):
        assert error_of(lambda n=name: store.state(n)) == f"`user` must have 1 to 256 characters, got {len(name)}."
    half = (
        "{} must be Unicode text, got half of a surrogate pair at character {}. "
        "Decode it with `errors='replace'` first."
    )
    assert error_of(lambda: store.list("a\ud800")) == half.format("`user`", 1)
    assert error_of(lambda: store.observe("ada", Turn("I love \udfff"))) == half.format("`turn.user`", 7)
    assert error_of(lambda: store.update("ada", 1, Turn("I", "\ud834"))) == half.format("`turn.agent`", 0)
    assert error_of(lambda: store.observe("ada", "I love tea"), TypeError) == (
        "`turn` must be a `Turn`, got str. Wrap the message: `Turn(text, agent)`."
    )
    for id in (2, 0, -1, 2**80, "1", None):
        for call in (lambda i=id: store.forget("ada", i), lambda i=id: store.update("ada", i, turn)):
            assert error_of(call, LookupError) == (
                "`id` must be the number of one of the user's 1 turns, got another one. `history(user)` lists them."
            )
    with open_store(tmp_path / "vector.db", models["lstm"]) as vector:
        vector.observe("ada", turn)
        assert len(vector.list("ada")) == 1
        assert error_of(lambda: vector.why("ada", "maps?")) == (
            "`why` needs a memory with slots, got one of cell 'lstm', which blends all turns into one vector. "
            "Use an adapter of cell 'slots'."
        )
    assert len(store.history("ada")) == 1


def test_a_closed_store_says_so(path, models):
    store = open_store(path, models["slots"])
    store.close()
    assert error_of(store.users) == f"The store '{path}' is closed. Open it again with `UserStore`."


def test_a_failing_model_changes_nothing(store, models, monkeypatch):
    observe_all(store, "ada", TEXTS[:2])
    state, history = store.state("ada"), store.history("ada")
    memory = models["slots"].memory
    with monkeypatch.context() as patch:
        patch.setattr(memory, "update", lambda *a: (_ for _ in ()).throw(RuntimeError("out of memory")))
        for call in (lambda: store.observe("ada", Turn("I love maps")), lambda: store.forget("ada", 1)):
            with pytest.raises(RuntimeError, match=r"^out of memory$"):
                call()
    assert store.state("ada").equal(state) and store.history("ada") == history


def test_the_file_is_its_owners_alone(store, path):
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_names_and_words_stay_out_of_errors(store, path):
    store.observe("ada zqx0", Turn("I love zqx1"))
    data = store.export("ada zqx0")
    data["turns"][0]["time"] = "I love zqx1"
    calls = [
        lambda: store.forget("ada zqx0", 9),
        lambda: store.import_("ada zqx0", store.export("ada zqx0")),
        lambda: store.import_("bob", data),
        lambda: store.observe("ada zqx0", Turn("I love zqx1 \ud800")),
    ]
    for call in calls:
        assert not re.search("zqx", error_of(call, (ValueError, LookupError)))


def test_a_state_is_one_file_too(store, tmp_path, models):
    observe_all(store, "ada", TEXTS)
    memory = models["slots"].memory
    store.state("ada").save(tmp_path / "ada.safetensors", memory)
    data = (tmp_path / "ada.safetensors").read_bytes()
    assert MemoryState.load(tmp_path / "ada.safetensors", memory).equal(store.state("ada"))
    assert MemoryState.from_bytes(data, memory.fingerprint()).equal(store.state("ada"))


def test_the_store_takes_a_string_as_path(tmp_path, models):
    with UserStore(str(tmp_path / "s.db"), models["slots"], KeywordDetector()) as store:
        assert store.users() == []


def test_vectors_of_other_key_layers_are_not_taken_for_ours(tmp_path):
    """The vectors of turns without their text can't be made again: another adapter would search with others."""
    first, second = (make_store_model("slots", seed=seed, num_key_layers=1, num_key_heads=2) for seed in (0, 1))
    path = tmp_path / "users.db"
    with open_store(path, first, keep_text=False) as store:
        store.observe("ada", Turn("I love tea"))
        store.rebuild("ada")
    with open_store(path, second, keep_text=False) as store:
        assert error_of(lambda: store.rebuild("ada")) == (
            f"An encoded turn must have the vectors of fingerprint '{second.memory.vectors_fingerprint()}', got those "
            "of another encoder or of other key layers, and without its text they can't be made again. Use the adapter "
            "that it was stored with."
        )
    with open_store(path, first) as store:
        assert len(store.list("ada")) == 1
