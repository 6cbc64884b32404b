"""A conversation end to end: what is said is written and read, caches change nothing, interruptions leave no trace."""

import pytest
import torch
from pref_lstm.modeling.outputs import MemoryReadout
from pref_lstm.modeling.prompt import build_prompt
from tiny import FAMILIES, KeywordDetector, make_lm, make_model, make_turn_encoder

from pref_lstm.session import ChatSession

TALK = ["I love green tea.", "what should I cook", "I hate trains, plan a trip", "which one?"]


def make_session(family="llama", is_open=True, **kwargs):
    model = make_model(family)
    model._encoder = make_turn_encoder()
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0 if is_open else 50.0)
    return ChatSession(model, KeywordDetector(), max_new_tokens=6, **kwargs)


def recomputed(session, text):
    """The answer to `text` without any cache: the whole conversation as one prompt."""
    model = session.model
    new = model.read(session.state, [text])
    readouts = [m.readout for m in session.messages] + [new if new.is_open.any() else None]
    messages = [{"role": m.role, "content": m.content} for m in session.messages]
    messages.append({"role": "user", "content": text})
    blocks = [0 if r is None else r.soft_tokens.shape[1] for r in readouts]
    ids = torch.tensor([build_prompt(model.tokenizer, messages, model.memory_config.memory_token_id, blocks)])
    acting = [r for r in readouts if r is not None]
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False,
        memory_readout=MemoryReadout.cat(acting) if acting else None,
    )  # fmt: skip
    return model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()


def test_preferences_are_written_and_all_else_is_not():
    session = make_session()
    found = [session.observe(text) for text in TALK]
    assert [d.is_preference for d in found] == [True, False, True, False]
    assert session.state["writes"].item() == 2
    kept = session.state["token_ids"][0, 0][session.state["token_mask"][0, 0]]
    words = session.model.tokenizer.convert_ids_to_tokens(kept.tolist())
    assert words == ["i", "love", "green", "tea", "."]
    assert session.state["token_spoken"][0, 0].tolist() == [True] * 4 + [False] * 2


def test_the_agents_line_reaches_the_detector():
    seen = []

    class Detector(KeywordDetector):
        def detect(self, turns):
            seen.extend(turns)
            return super().detect(turns)

    session = make_session()
    session.detector = Detector()
    session.observe(TALK[0])
    answer = session.answer(TALK[0]).text
    session.observe(TALK[1])
    assert [(turn.user, turn.agent) for turn in seen] == [(TALK[0], ""), (TALK[1], answer)]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_on_the_old_cache_equal_a_full_recompute(family):
    """The memory changes between the turns."""
    session = make_session(family)
    for text in TALK:
        session.observe(text)
        expected = recomputed(session, text)
        answer = session.answer(text)
        assert answer.memory_acted
        assert answer.text == expected
        assert answer.slot_weights.shape == (5,)


@pytest.mark.parametrize("window", [4, 16, 64])
def test_a_sliding_window_changes_nothing(window):
    session = make_session("gemma3")
    lm = session.model.language_model.get_base_model()
    lm.config.sliding_window = window
    for layer in lm.model.layers:
        if layer.self_attn.sliding_window is not None:
            layer.self_attn.sliding_window = window
    for text in TALK:
        session.observe(text)
        expected = recomputed(session, text)
        assert session.answer(text).text == expected


@pytest.mark.parametrize("how", [{"use_memory": False}, {"is_open": False}, {}], ids=["unused", "closed", "empty"])
def test_without_an_acting_memory_the_session_is_the_bare_lm(how):
    session, bare = make_session(**how), make_lm()
    tokenizer, messages = session.model.tokenizer, []
    for text in TALK:
        if how:
            session.observe(text)
        messages.append({"role": "user", "content": text})
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        out = bare.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
        answer = session.answer(text)
        assert not answer.memory_acted
        assert answer.slot_weights is None
        assert answer.text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        messages.append({"role": "assistant", "content": answer.text})


def test_the_pieces_of_an_answer_are_the_answer():
    session = make_session()
    session.observe(TALK[0])
    pieces = []
    answer = session.answer(TALK[1], pieces.append)
    assert "".join(pieces).strip() == answer.text
    assert answer.text


@pytest.mark.parametrize("turns_before", [0, 2])
def test_an_interrupted_answer_leaves_the_session_as_it_was(turns_before):
    session, twin = make_session(), make_session()
    for text in TALK[:turns_before]:
        for one in (session, twin):
            one.observe(text)
            one.answer(text)
    for one in (session, twin):
        one.observe(TALK[2])
    messages, state = list(session.messages), session.state

    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.answer(TALK[2], interrupt)
    assert session.messages == messages
    assert session.state.equal(state)
    for text in TALK[2:]:
        assert session.answer(text).text == twin.answer(text).text


@pytest.mark.parametrize("kept", [0, 1])
def test_a_session_taken_back_is_as_if_nothing_had_been_said_since(kept):
    """Though the same words are said again, the soft tokens before them are others."""
    session, twin = make_session(), make_session()
    for one in (session, twin):
        one.observe(TALK[0])
        if kept:
            one.answer(TALK[0])
    session.answer(TALK[1])
    session.answer(TALK[3])
    session.rewind(kept)
    for one in (session, twin):
        one.state = one.model.initial_state()
        one.observe(TALK[2])
    assert session.answer(TALK[1]).text == recomputed(twin, TALK[1]) == twin.answer(TALK[1]).text


def test_a_user_can_not_forge_the_placeholder():
    session = make_session()
    session.observe(TALK[0])
    forged = f"tea {session.model.tokenizer.convert_ids_to_tokens(session.model.memory_config.memory_token_id)} cats"
    expected = recomputed(session, forged)
    assert session.answer(forged).text == expected


def test_a_session_goes_on_from_a_saved_state():
    first, second = make_session(), make_session()
    first.observe(TALK[0])
    second = make_session(state=first.state)
    assert second.answer(TALK[1]).text == first.answer(TALK[1]).text


@pytest.mark.parametrize("use_memory", [True, False])
@pytest.mark.parametrize("call", ["observe", "answer"])
def test_blank_text_is_refused_and_changes_nothing(call, use_memory):
    session = make_session(use_memory=use_memory)
    with pytest.raises(ValueError) as error:
        getattr(session, call)(" \n")
    assert str(error.value) == (
        "`Turn.user` must hold text, got an empty or blank string. Leave turns without user text out."
    )
    assert session.messages == []
