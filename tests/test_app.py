"""`examples/app.py` without a browser: two answers to each message, the panel, forgetting, users kept apart."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny import KeywordDetector, make_model, make_turn_encoder

from pref_lstm.user_store import UserStore

pytest.importorskip("gradio", reason="the extra `app` is not installed")

FILE = Path(__file__).parent.parent / "examples" / "app.py"


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("app_example", FILE)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "app_example", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def app(module, tmp_path):
    model = make_model(relation_threshold=1.0)
    model._encoder = make_turn_encoder()
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0)
    with UserStore(tmp_path / "users.db", model, KeywordDetector()) as store:
        yield module.App(model, KeywordDetector(), store, False, 4)


def test_a_message_is_answered_twice_and_stored_once(module, app):
    talk = app.start("v1", "Ada")
    *_, (without, with_memory, note) = app.say("I love green tea", talk)
    assert note == "**stored** (keyword) · **turn 1 acts on the answer**"
    for chat, session in ((without, talk.without), (with_memory, talk.with_memory)):
        assert [message["role"] for message in chat] == ["user", "assistant"]
        assert chat[1]["content"] == module._as_text(session.messages[1].content)
    assert talk.without.messages[0].readout is None
    assert talk.with_memory.messages[0].readout is not None
    assert [(view.id, view.said, view.slot) for view in app.stored(talk)] == [(1, "I love green tea", 0)]
    assert [step.said for step in talk.trace] == ["I love green tea"]


def test_an_answer_grows_piece_by_piece(app):
    shown = [(without[-1]["content"], len(with_memory)) for without, with_memory, _ in _copies(app)]
    assert shown[0] == ("…", 1)
    assert all(later.startswith(earlier) for (earlier, _), (later, _) in pairwise(shown[1:]))
    assert shown[-1][1] == 2


def _copies(app):
    for without, with_memory, note in app.say("what should I cook", app.start("v1", "Ada")):
        yield [dict(message) for message in without], [dict(message) for message in with_memory], note


def test_an_error_in_an_answer_reaches_the_page(module):
    def broken(text, on_text):
        on_text("so far")
        raise RuntimeError("out of memory")

    pieces = module._pieces(broken, "x")
    assert next(pieces) == "so far"
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        next(pieces)


def test_visits_have_users_of_their_own_and_leave_nothing(app):
    ada, other, ben = app.start("v1", "Ada"), app.start("v2", "Ada"), app.start("v1", "Ben")
    for talk in (ada, other):
        list(app.say("I love green tea", talk))
    assert [len(app.stored(talk)) for talk in (ada, other, ben)] == [1, 1, 0]
    app.leave("v1")
    assert [len(app.stored(talk)) for talk in (ada, other)] == [0, 1]
    assert app.store.users() == ["v2 Ada"]


def test_shared_users_are_those_of_the_store_and_stay(app):
    app.is_shared = True
    list(app.say("I love green tea", app.start("v1", "Ada")))
    app.leave("v1")
    assert app.store.users() == ["Ada"]
    assert len(app.stored(app.start("v2", "Ada"))) == 1


def test_what_a_user_says_is_shown_as_text(module, app):
    talk = app.start("v1", "Ada")
    *_, (without, with_memory, _) = app.say("I love <img src=x onerror=alert(1)>", talk)
    for chat in (without, with_memory):
        assert chat[0]["content"] == "I love &lt;img src=x onerror=alert(1)&gt;"
    shown = module._describe(app.stored(talk)[0])
    assert "<img" not in shown and "&lt;img" in shown
    assert "slot 0 · strength 1.00 · holds" in shown


def test_the_page_builds(module, app):
    assert module.build(app).title == "Pref-LSTM"
