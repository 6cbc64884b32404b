"""The app without a browser: two answers to each message, the panel, forgetting, users kept apart, the command."""

import runpy
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from prefeval_folder import write_adapter
from refused import refused
from tiny import KeywordDetector, make_model, make_turn_encoder

from pref_lstm import Turn, app_session
from pref_lstm.app_session import App
from pref_lstm.cli import main
from pref_lstm.user_store import UserStore


@pytest.fixture
def page():
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from pref_lstm import app_page

    return app_page


@pytest.fixture
def app(tmp_path):
    model = make_model(relation_threshold=1.0)
    model._encoder = make_turn_encoder()
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0)
    with UserStore(tmp_path / "users.db", model, KeywordDetector()) as store:
        yield App(model, KeywordDetector(), store, False, 4)


def test_a_message_is_answered_twice_and_stored_once(app):
    talk = app.start("v1", "Ada")
    *_, (without, with_memory, note) = app.say("I love green tea", talk)
    assert note == "**stored** (keyword) · **turn 1 acts on the answer**"
    for chat, session in ((without, talk.without), (with_memory, talk.with_memory)):
        assert [message["role"] for message in chat] == ["user", "assistant"]
        assert chat[1]["content"] == app_session._as_text(session.messages[1].content)
    assert talk.without.messages[0].readout is None
    assert talk.with_memory.messages[0].readout is not None
    assert [(view.id, view.said, view.slot) for view in app.stored(talk)] == [(1, "I love green tea", 0)]
    assert [step.said for step in talk.trace] == ["I love green tea"]


def test_a_cell_without_slots_is_shown_without_a_trace(tmp_path):
    model = make_model(cell="pref_lstm")
    model._encoder = make_turn_encoder()
    with UserStore(tmp_path / "users.db", model, KeywordDetector()) as store:
        app = App(model, KeywordDetector(), store, False, 4)
        talk = app.start("v1", "Ada")
        *_, (_, with_memory, note) = app.say("I love green tea", talk)
        assert note == "**stored** (keyword)" and len(with_memory) == 2 and talk.trace == []
        assert [(view.said, view.slot) for view in app.stored(talk)] == [("I love green tea", None)]


def test_an_answer_grows_piece_by_piece(app):
    shown = [(without[-1]["content"], len(with_memory)) for without, with_memory, _ in _copies(app)]
    assert shown[0] == ("…", 1)
    assert all(later.startswith(earlier) for (earlier, _), (later, _) in pairwise(shown[1:]))
    assert shown[-1][1] == 2


def _copies(app):
    for without, with_memory, note in app.say("what should I cook", app.start("v1", "Ada")):
        yield [dict(message) for message in without], [dict(message) for message in with_memory], note


def test_an_error_in_an_answer_reaches_the_page():
    def broken(text, on_text):
        on_text("so far")
        raise RuntimeError("out of memory")

    pieces = app_session._pieces(broken, "x")
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


def test_what_a_user_says_is_shown_as_text(page, app):
    talk = app.start("v1", "Ada")
    *_, (without, with_memory, _) = app.say("I love <img src=x onerror=alert(1)>", talk)
    for chat in (without, with_memory):
        assert chat[0]["content"] == "I love &lt;img src=x onerror=alert(1)&gt;"
    shown = page._describe(app.stored(talk)[0])
    assert "<img" not in shown and "&lt;img" in shown
    assert "slot 0 · strength 1.00 · holds" in shown


def test_the_page_builds(page, app):
    assert page.build(app).title == "Pref-LSTM"


# --- the command


@pytest.fixture
def served(monkeypatch):
    """The apps that were served: what gradio would draw."""
    apps = []
    monkeypatch.setitem(sys.modules, "pref_lstm.app_page", SimpleNamespace(serve=apps.append))
    return apps


@pytest.mark.parametrize("kept", [False, True])
def test_the_command_serves_the_adapter_that_is_named(served, kept, tmp_path):
    adapter = write_adapter(tmp_path)
    options = ["--store", str(tmp_path / "memories")] if kept else []
    assert main(["app", "--model", str(adapter), "--max-new-tokens", "3", *options]) == 0
    [app] = served
    assert app.model.memory_config.num_soft_tokens == 6 and app.detector is app.model.detector
    assert (app.is_shared, app.max_new_tokens) == (kept, 3)
    assert (tmp_path / "memories" / "memories.sqlite").exists() is kept


def test_memories_of_another_adapter_are_rebuilt_or_forgotten(served, tmp_path):
    adapter = write_adapter(tmp_path / "adapter")
    store = ["--store", str(tmp_path / "memories")]
    first = make_model(seed=7)
    (tmp_path / "memories").mkdir()
    with UserStore(tmp_path / "memories" / "memories.sqlite", first, KeywordDetector()) as kept:
        first._encoder = make_turn_encoder()
        kept.observe("Ada", Turn("I love green tea"))
    for extra, fails in (([], True), (["--rebuild"], False)):
        assert main(["app", "--model", str(adapter), *store, *extra]) == 0
        with UserStore(tmp_path / "memories" / "memories.sqlite", served[-1].model, KeywordDetector()) as kept:
            opened = App(served[-1].model, KeywordDetector(), kept, True, 3)
            if fails:
                with pytest.raises(ValueError, match="--rebuild"):
                    opened.start("v1", "Ada")
            else:
                assert len(opened.stored(opened.start("v1", "Ada"))) == 1
                kept.forget_all(opened.user("v1", "Ada"))
                assert kept.users() == []


def test_the_example_is_the_command(served, tmp_path, monkeypatch):
    adapter = write_adapter(tmp_path)
    monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(adapter)])
    runpy.run_path(str(Path(__file__).parent.parent / "examples" / "app.py"), run_name="__main__")
    assert len(served) == 1


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "pref_lstm.app_page", raising=False)
    with refused(
        ImportError,
        "The app's page needs gradio, and it is not installed. Install it with `pip install 'pref-lstm[app]'`.",
    ):
        __import__("pref_lstm.app_page")
