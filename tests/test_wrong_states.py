"""States with the right checksum and fingerprint that no turns can lead to: refused wherever they enter."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.turn import Turn
from tiny import CELLS
from tiny_store import TEXTS, error_of, make_store_model, observe_all, open_store

FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FLOATS = [float("nan"), float("inf"), -float("inf"), -1.0, -1e-3, 0.0, 0.5, 1.0, 2.5, 1e5, -1e30, 3e38]
INTEGERS = [-(2**63), -(2**31), -1, 0, 1, 2, 3, 50, 10**4, 2**31 - 1, 2**53 + 1, 2**63 - 1]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64, torch.bool]
RESHAPED = [lambda t: t[0], lambda t: t[:0], lambda t: t[None], lambda t: t[..., :-1], lambda t: torch.cat([t, t])]


def real_state(model):
    state = model.initial_state()
    for text in TEXTS:
        state = model.write([Turn(text)], state)
    return state


@st.composite
def mutations(draw, state):
    """The state's tensors with one of them, or all, not as they were."""
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    name = draw(st.sampled_from(sorted(tensors)))
    kind = draw(st.sampled_from(["element", "element", "fill", "dtype", "shape", "gone", "more", "users"]))
    if kind in ("element", "fill"):
        flat = tensors[name].view(-1)
        place = draw(st.integers(0, len(flat) - 1)) if kind == "element" else slice(None)
        if flat.is_floating_point():
            flat[place] = draw(st.sampled_from(FLOATS))
        elif flat.dtype == torch.bool:
            flat[place] = draw(st.booleans())
        else:
            limits = torch.iinfo(flat.dtype)
            flat[place] = draw(st.sampled_from([i for i in INTEGERS if limits.min <= i <= limits.max]))
    elif kind == "dtype":
        tensors[name] = tensors[name].to(draw(st.sampled_from(DTYPES)))
    elif kind == "shape":
        tensors[name] = draw(st.sampled_from(RESHAPED))(tensors[name])
    elif kind == "gone":
        del tensors[name]
    elif kind == "more":
        tensors[draw(st.sampled_from(["bias", "key"]))] = tensors[name].clone()
    else:
        tensors = {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}
    return MemoryState(state.cell, tensors)


def to_bytes(state, model):
    """As `MemoryState.save` would write it, were it not for its content."""
    return state.to_bytes(model.memory.fingerprint())


@pytest.mark.parametrize("cell", CELLS)
@given(data=st.data())
@FUZZ
def test_a_state_of_anything_loads_and_works_or_is_refused(cell, data, models, tmp_path):
    model, file = models[cell], tmp_path / "ada.safetensors"
    state = data.draw(mutations(real_state(model)))
    file.write_bytes(to_bytes(state, model))
    try:
        loaded = MemoryState.load(file, model.memory)
    except ValueError as error:
        assert str(error).startswith((
            f"'{file}' must hold a state that turns can lead to. The state's ",
            f"'{file}' must be a memory state of format",  # no tensor is left
        ))  # fmt: skip
        return
    assert loaded.equal(state)
    readout = model.read(loaded, ["which tea?"] * loaded.batch_size)
    assert bool(readout.soft_tokens.isfinite().all()) and bool(readout.gate_logits.isfinite().all())
    if loaded.batch_size == 1:
        model.memory.check_state(model.write([Turn("I love maps")], loaded))


@pytest.fixture(scope="module")
def two_users(models, tmp_path_factory):
    """An open store."""
    with open_store(tmp_path_factory.mktemp("store") / "users.db", models["slots"]) as store:
        for user in ("ada", "bob"):
            observe_all(store, user, TEXTS)
        yield store


@given(data=st.data())
@FUZZ
def test_a_store_with_a_state_of_anything_answers_or_refuses_it_and_can_rebuild_it(data, two_users, models):
    store = two_users
    whole, history = store.state("ada"), store.history("ada")
    state = data.draw(mutations(whole))
    with store._database.write() as connection:
        connection.execute("UPDATE states SET state = ? WHERE user_id = 1", (to_bytes(state, models["slots"]),))
    try:
        assert store.state("ada").equal(state)
    except ValueError:
        for call in (store.state, store.list, store.history, lambda user: store.observe(user, Turn("I love maps"))):
            message = error_of(lambda c=call: c("ada"))
            assert message.startswith(f"The user's memory in '{store._database.path}' must be one that this adapter")
            assert message.endswith(" and the option `--rebuild` of `pref-lstm chat` and `app`.")
        assert len(store.export("ada")["turns"]) == len(TEXTS)
    else:
        assert len(store.history("ada")) == len(TEXTS)
    assert store.state("bob").equal(whole) and store.list("bob")
    store.rebuild("ada")
    assert store.state("ada").equal(whole) and store.history("ada") == history


def changed(state, name, value, place=None):
    tensors = {key: tensor.clone() for key, tensor in state.tensors.items()}
    if place is None:
        tensors[name] = value(tensors[name])
    else:
        tensors[name][place] = value
    return MemoryState(state.cell, tensors)


TIMES = "`times` must be 0 in free slots, and different numbers from 1 to `writes` in filled ones, got others"
ORDER = "`order` must hold different numbers from 1 to `writes`, and 0 where free, got others"
BATCH = "tensors must begin with one number of users above 0, got"


@pytest.mark.parametrize(
    ("cell", "name", "value", "place", "reason"),
    [
        ("slots", "keys", float("nan"), (0, 0, 0), "`keys` must hold finite numbers of a size up to 1e+06, got others"),
        ("slots", "relations", 1e30, (0, 0, 0),
         "`relations` must hold finite numbers of a size up to 1e+06, got others"),
        ("slots", "keys", 3.0, (0, 1, 2), "`keys` must have length 1 in filled slots, got others"),
        ("slots", "keys", torch.Tensor.half, None, "`keys` must be of torch.float32, got torch.float16"),
        ("slots", "token_ids", torch.Tensor.long, None, "`token_ids` must be of torch.int32, got torch.int64"),
        ("slots", "token_ids", -1, (0, 0, 0), "`token_ids` must lie from 0 to 110, got others"),
        ("slots", "token_ids", 111, (0, 0, 0), "`token_ids` must lie from 0 to 110, got others"),
        ("slots", "strengths", -0.5, (0, 0), "`strengths` must lie from 0 to 1, got others"),
        ("slots", "strengths", 1.5, (0, 0), "`strengths` must lie from 0 to 1, got others"),
        ("slots", "strengths", 0.0, (0, 0), TIMES),
        ("slots", "times", -1, (0, 0), TIMES),
        ("slots", "times", 10**6, (0, 0), TIMES),
        ("slots", "times", lambda t: t.clamp(max=1), None, TIMES),
        ("slots", "writes", -1, (0,), "`writes` must lie from 0 to 2**53, got others"),
        ("prompt", "writes", 2**53 + 1, (0,), "`writes` must lie from 0 to 2**53, got others"),
        ("one_vector", "order", -1, (0, 0), ORDER),
        ("one_vector", "order", lambda t: t.clamp(max=1), None, ORDER),
        ("lstm", "hidden", lambda t: t[:0], None, f"{BATCH} [(0,), (1,)]"),
        ("prompt", "writes", lambda t: t[0], None, f"{BATCH} [()]"),
        ("prompt", "writes", lambda t: t[:0], None, f"{BATCH} [(0,)]"),
    ],
)  # fmt: skip
def test_messages_of_wrong_content(cell, name, value, place, reason, models, tmp_path):
    model, file = models[cell], tmp_path / "ada.safetensors"
    state = changed(real_state(model), name, value, place)
    file.write_bytes(to_bytes(state, model))
    assert error_of(lambda: MemoryState.load(file, model.memory)) == (
        f"'{file}' must hold a state that turns can lead to. The state's {reason}. Restore it from a copy or write the "
        "user's turns again."
    )
    data = file.read_bytes()
    assert error_of(lambda: state.save(file, model.memory)) == f"The state's {reason}."
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    "statement", ["DELETE FROM states", "DELETE FROM writes WHERE turn_id = 2", "UPDATE states SET state = zeroblob(9)"]
)
def test_a_state_that_is_not_the_ledgers_is_refused(statement, store):
    observe_all(store, "ada", TEXTS)
    whole = store.state("ada")
    with store._database.write() as connection:
        connection.execute(statement)
    for call in (store.state, store.list, lambda u: store.observe(u, Turn("I love maps"))):
        assert "must be one that this adapter made." in error_of(lambda c=call: c("ada"))
    store.rebuild("ada")
    assert store.state("ada").equal(whole)


def test_an_encoder_that_gives_nan_changes_nothing(store, models, monkeypatch):
    observe_all(store, "ada", TEXTS[:2])
    state, history, model = store.state("ada"), store.history("ada"), models["slots"]
    encoded = model.encoder.encode([Turn("I love maps")])
    encoded.pooled = encoded.pooled * float("nan")
    with monkeypatch.context() as patch:
        patch.setattr(model.encoder, "encode", lambda turns: encoded)
        for call in (lambda: store.observe("ada", Turn("I love maps")), lambda: store.rebuild("ada")):
            assert error_of(call) == (
                "An encoded turn must hold finite numbers of a size up to 1e+06, its vector not all 0, got others. "
                "Does the encoder give nan?"
            )
    assert store.state("ada").equal(state) and store.history("ada") == history


def test_a_state_that_could_not_be_read_back_is_not_stored(path):
    model = make_store_model()
    with open_store(path, model) as store:
        store.observe("ada", Turn("I love tea"))
        state = store.state("ada")
        with torch.no_grad():
            model.memory.cell.relation_projection.bias.fill_(1e9)
        assert error_of(lambda: store.rebuild("ada")) == (
            "The user's memory must stay one that can be read. The state's `relations` must hold finite numbers of a "
            "size up to 1e+06, got others. Nothing was changed. Are the adapter's weights sound?"
        )
        assert store.state("ada").equal(state)
