"""The user store's verbs: what they keep, what they show, and what they leave behind."""

import json
import random
from datetime import datetime, timedelta, timezone

import pytest
import torch
from pref_lstm.modeling.turn import Detection, Turn
from tiny import CELLS, KeywordDetector, make_model, make_turn_encoder
from tiny_store import TEXTS, error_of, make_store_model, observe_all, open_store, raw_bytes

from pref_lstm.session import ChatSession
from pref_lstm.user_store import MAX_NAME_LENGTH


def test_a_preference_is_written_and_recorded(store, models):
    before = datetime.now(timezone.utc)
    record = store.observe("ada", Turn("I love tea", agent="Tell me."))
    assert (record.id, record.turn, record.written) == (1, Turn("I love tea", "Tell me."), True)
    assert record.detection == Detection(0.9, True, "keyword")
    assert record.slot is not None and record.strength == pytest.approx(1.0)
    assert before <= record.time <= datetime.now(timezone.utc)
    expected = models["slots"].write([record.turn], models["slots"].initial_state())
    assert store.state("ada").equal(expected)
    assert store.list("ada") == store.history("ada") == [record]
    assert store.users() == ["ada"]


def test_a_turn_that_is_turned_down_leaves_nothing(store, path):
    record = store.observe("ada", Turn("what is zqx9 for dinner?", agent="I love zqx8 and I hate zqx7."))
    assert record.id is None and not record.written and record.detection == Detection(0.1, False, "none")
    assert store.users() == [] and store.history("ada") == []
    assert not any(word in raw_bytes(path) for word in (b"zqx9", b"zqx8", b"zqx7"))


def test_the_agents_text_alone_is_never_written(tmp_path):
    model = make_model()
    model._encoder = make_turn_encoder()
    with pytest.raises(ValueError, match="must hold text"):
        Turn("  ", agent="I love tea")
    with open_store(tmp_path / "users.db", model) as store:
        store.observe("ada", Turn("i love green tea", agent="you hate trains and love cats"))
        [slot] = [record.slot for record in store.list("ada")]
        words = model.tokenizer.decode(store.state("ada")["token_ids"][0, slot])
    assert set(words.split()) <= {"i", "love", "green", "tea", "<unk>"}


def test_a_turn_cant_raise_its_own_weight(store):
    loud = "I LOVE tea!!! strength=999, weight: 1e9, writes 100, slot_weights [1.0] " * 3
    [quiet, shout, again] = [store.observe("ada", Turn(text)) for text in ("I love maps", loud, loud)]
    assert quiet.strength == pytest.approx(1.0) and shout.strength == pytest.approx(1.0)
    state = store.state("ada")
    assert bool((state["strengths"] <= 1 + 1e-5).all())
    assert int(state["writes"]) == sum(record.written for record in (quiet, shout, again))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("keep_text", [True, False])
@pytest.mark.parametrize("forgotten", [0, 2, 4])
def test_forgetting_is_exact(cell, keep_text, forgotten, path, tmp_path, models):
    model = models[cell]
    with open_store(path, model, keep_text) as store, open_store(tmp_path / "other.db", model, keep_text) as other:
        records = observe_all(store, "ada", TEXTS)
        gone = records[forgotten]
        encoded = model.encoder.encode([Turn(TEXTS[forgotten], "What else?")])
        observe_all(other, "ada", [text for text in TEXTS if text != TEXTS[forgotten]])
        assert not gone.written or not store.state("ada").equal(other.state("ada"))
        marks = [f"zqx{forgotten + 1}".encode(), gone.time.isoformat().encode()] if keep_text else []
        if not keep_text:
            marks += [value.numpy().tobytes() for value in encoded.to_tuple() if value.dtype != torch.bool]
        raw = raw_bytes(path)
        assert all(mark in raw for mark in marks)
        assert gone.slot is None or any(mark in raw for mark in vector_bytes(encoded))

        store.forget("ada", gone.id)
        assert store.state("ada").equal(other.state("ada"))
        ours, theirs = store.history("ada"), other.history("ada")
        assert [r.id for r in ours] == [r.id for r in records if r.id != gone.id]
        assert [(r.written, r.slot, r.strength) for r in ours] == [(r.written, r.slot, r.strength) for r in theirs]
        raw = raw_bytes(path)
        assert not any(mark in raw for mark in marks + vector_bytes(encoded))


def vector_bytes(encoded):
    """The turn's vectors as a state holds them: normalised key, token ids in 32 bits, runs of eight features."""
    key = torch.nn.functional.normalize(encoded.pooled, dim=-1)
    runs = [key[0, :8], encoded.pooled[0, :8], encoded.pooled[0, 8:], encoded.token_features[0, 0, :8]]
    return [run.numpy().tobytes() for run in runs] + [encoded.token_ids.int().numpy().tobytes()]


def test_the_next_answer_is_that_of_a_memory_that_never_saw_the_turn(tmp_path):
    model = make_model()
    model._encoder = make_turn_encoder()
    with open_store(tmp_path / "a.db", model) as store, open_store(tmp_path / "b.db", model) as other:
        records = observe_all(store, "ada", TEXTS)
        observe_all(other, "ada", TEXTS[:1] + TEXTS[2:])
        store.forget("ada", records[1].id)
        answers = []
        for s in (store, other):
            session = ChatSession(model, KeywordDetector(), s.state("ada"), max_new_tokens=8)
            answers.append(session.answer("which tea do you love?"))
        assert answers[0].text == answers[1].text
        assert torch.equal(answers[0].slot_weights, answers[1].slot_weights)


def test_forgetting_leaves_no_byte_after_many_operations(path, models):
    """Rows are moved between pages when tables are rebalanced: no copy may stay."""
    chance, live, gone = random.Random(0), {}, []
    with open_store(path, models["pref_lstm"]) as store:
        for i in range(150):
            user = f"user {chance.randrange(12)}"
            mark = f"<{chance.getrandbits(64):016x}>"
            kind = chance.choices(("observe", "forget", "update"), (5, 3, 1))[0]
            padding = "x" * chance.choice((3, 50, 400, 2000, 9000))
            if kind == "observe" or not live.get(user):
                record = store.observe(user, Turn(f"I love {mark} {padding} {mark}", agent=mark))
                live.setdefault(user, {})[record.id] = mark
                continue
            id = chance.choice(list(live[user]))
            gone.append(live[user].pop(id))
            if kind == "forget":
                store.forget(user, id)
            else:
                store.update(user, id, Turn(f"I hate {mark} {padding} {mark}", agent=mark))
                live[user][id] = mark
            if i % 5 == 0:
                raw = raw_bytes(path)
                assert not [mark for mark in gone if mark.encode() in raw]
                assert all(mark.encode() in raw for marks in live.values() for mark in marks.values())
    assert len(gone) > 30


def test_ids_are_not_given_out_again(store):
    observe_all(store, "ada", TEXTS[:3])
    store.forget("ada", 3)
    assert store.observe("ada", Turn("I love rain")).id == 4
    store.forget("ada", 1)
    assert [record.id for record in store.history("ada")] == [2, 4]


def test_forgetting_the_last_turn_leaves_an_empty_memory(store, models):
    store.observe("ada", Turn("I love rain"))
    store.forget("ada", 1)
    assert store.state("ada").equal(models["slots"].initial_state())
    assert store.history("ada") == [] and store.users() == ["ada"]


def test_forget_all_takes_the_name_along(store, path, models):
    for user in ("ada zqx-name", "bob"):
        observe_all(store, user, TEXTS)
    bobs = store.state("bob")
    store.forget_all("ada zqx-name")
    assert store.users() == ["bob"] and store.history("ada zqx-name") == []
    assert store.state("ada zqx-name").equal(models["slots"].initial_state())
    assert store.state("bob").equal(bobs)
    assert b"zqx-name" not in raw_bytes(path)
    store.forget_all("ada zqx-name")


def test_update_is_as_if_the_new_text_had_been_said_then(store, path, tmp_path, models):
    observe_all(store, "ada", TEXTS)
    time = store.history("ada")[1].time
    store.update("ada", 2, Turn("what I said of trains is wrong"))
    with open_store(tmp_path / "other.db", models["slots"]) as other:
        observe_all(other, "ada", TEXTS)
        state = models["slots"].initial_state()
        for record in store.history("ada"):
            state = models["slots"].write([record.turn], state)
    record = store.history("ada")[1]
    assert store.state("ada").equal(state)
    assert (record.turn, record.time) == (Turn("what I said of trains is wrong"), time)
    assert record.detection == Detection(1.0, True, "updated by the user")
    assert b"zqx2" not in raw_bytes(path)


def test_expire_forgets_what_is_older(store, path, tmp_path, models, monkeypatch):
    clock = datetime.now(timezone.utc) - timedelta(days=40)
    for days, text in zip((0, 5, 20, 39, 40), TEXTS, strict=True):
        monkeypatch.setattr("pref_lstm.user_store.now", lambda d=days: (clock + timedelta(days=d)).isoformat())
        store.observe("ada", Turn(text, agent="What else?"))
    store.expire("ada", timedelta(days=30))
    assert [record.id for record in store.history("ada")] == [3, 4, 5]
    with open_store(tmp_path / "other.db", models["slots"]) as other:
        observe_all(other, "ada", TEXTS[2:])
        assert store.state("ada").equal(other.state("ada"))
    assert not any(mark in raw_bytes(path) for mark in (b"zqx1", b"zqx2"))
    kept = store.history("ada")
    store.expire("ada", timedelta(days=30))
    assert store.history("ada") == kept
    assert error_of(lambda: store.expire("ada", 30), TypeError) == (
        "`older_than` must be a `datetime.timedelta`, got int. Pass `timedelta(days=30)`, say."
    )


def test_the_current_view_is_apart_from_the_history(tmp_path):
    model = make_store_model(num_slots=2)
    with open_store(tmp_path / "users.db", model) as store:
        observe_all(store, "ada", TEXTS)
        current, history = store.list("ada"), store.history("ada")
        times = store.state("ada")["times"][0].tolist()
    assert len(history) == len(TEXTS) and len(current) <= 2
    assert current == [record for record in history if record.slot is not None]
    assert [times[record.slot] for record in current] == sorted(t for t in times if t > 0)


def test_why_names_the_turns_that_act_with_their_weights(store, models):
    observe_all(store, "ada", TEXTS)
    model = models["slots"]
    queries = [f"what about dinner {i}" for i in range(20)]
    acted = 0
    for query in queries:
        readout = model.read(store.state("ada"), [query])
        found = store.why("ada", query)
        if not readout.is_open.any():
            assert found == []
            continue
        acted += 1
        assert sum(i.weight for i in found) == pytest.approx(1.0, abs=1e-5)
        assert [i.weight for i in found] == sorted((i.weight for i in found), reverse=True)
        assert {i.record.slot: i.weight for i in found} == {
            slot: weight for slot, weight in enumerate(readout.slot_weights[0].tolist()) if weight > 0
        }
        times = store.state("ada")["times"][0].tolist()
        order = [record.id for record in store.history("ada") if record.written]
        assert all(order[times[i.record.slot] - 1] == i.record.id for i in found)
    assert acted and store.why("nobody", "dinner?") == []


def test_without_text_the_ledger_holds_tensors_only(path, models):
    with open_store(path, models["slots"], keep_text=False) as store:
        records = observe_all(store, "ada", TEXTS)
        assert all(r.turn is None and r.detection == Detection(0.9, True, "") for r in records)
        raw = raw_bytes(path)
        assert b"zqx" not in raw and b"What else" not in raw
        state = store.state("ada")
        store.rebuild("ada")
        assert store.state("ada").equal(state)


@pytest.mark.parametrize("keep_text", [True, False])
def test_an_export_comes_back_as_it_was(keep_text, path, tmp_path, models):
    with open_store(path, models["slots"], keep_text) as store, open_store(tmp_path / "o.db", models["slots"]) as other:
        observe_all(store, "ada", TEXTS)
        store.forget("ada", 2)
        data = json.loads(json.dumps(store.export("ada")))
        other.import_("ada's copy", data)
        assert other.history("ada's copy") == store.history("ada")
        assert other.state("ada's copy").equal(store.state("ada"))
        assert other.export("ada's copy") == data
        assert other.observe("ada's copy", Turn("I love rain")).id == 6
    with open_store(tmp_path / "mute.db", models["slots"], keep_text=False) as mute:
        mute.import_("ada", data)
        assert b"zqx" not in raw_bytes(tmp_path / "mute.db")
        assert [record.turn for record in mute.history("ada")] == [None] * 4


def test_an_import_needs_a_user_without_turns(store):
    observe_all(store, "ada", TEXTS[:2])
    assert error_of(lambda: store.import_("ada", store.export("ada"))) == (
        "`import_` needs a user without turns, got one with 2. Call `forget_all` first, or import under another name."
    )
    assert len(store.history("ada")) == 2


def test_another_adapter_is_told_apart_and_can_rebuild(store, path, models):
    observe_all(store, "ada", TEXTS)
    other_model = make_store_model(seed=7, num_slots=8)
    ours, theirs = models["slots"].memory.fingerprint(), other_model.memory.fingerprint()
    with open_store(path, other_model) as other:
        message = (
            f"The user's memory in '{path}' must be one that this adapter made. The state was made by the adapter with "
            f"fingerprint '{ours}', but this one has '{theirs}'. States belong to one adapter and LM: write the user's "
            "turns again. `rebuild(user)` does that, and the option `--rebuild` of `pref-lstm chat` and `app`."
        )
        for call in (other.state, other.list, other.history, lambda u: other.observe(u, Turn("I love rain"))):
            assert error_of(lambda c=call: c("ada")) == message
        assert len(store.history("ada")) == len(TEXTS)
        other.rebuild("ada")
        state = other_model.initial_state()
        for text in TEXTS:
            state = other_model.write([Turn(text, "What else?")], state)
        assert other.state("ada").equal(state)


@pytest.mark.parametrize(
    "name",
    ["Robert'); DROP TABLE turns;--", '"', "a\0b", "%", "名前 🙂", "é", "e\u0301", " ", "x" * MAX_NAME_LENGTH, "\n"],
)
def test_any_name_is_data(name, store):
    store.observe("bystander", Turn("I love tea"))
    store.observe(name, Turn(f"I hate {name}"))
    assert store.users() == sorted([name, "bystander"])
    assert [record.turn.user for record in store.history(name)] == [f"I hate {name}"]
    store.forget_all(name)
    assert store.users() == ["bystander"] and len(store.history("bystander")) == 1


def test_two_users_in_one_bucket_are_two(store, monkeypatch):
    monkeypatch.setattr("pref_lstm.store_rows.name_bucket", lambda name: 7)
    for name in ("ada", "bob"):
        store.observe(name, Turn(f"I love {name}"))
    assert [r.turn.user for r in store.history("bob")] == ["I love bob"]
    store.forget_all("ada")
    assert store.users() == ["bob"]
