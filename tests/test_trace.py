"""The trace of a conversation says which slot was written, what is held and what acts; its picture draws all of it."""

import re

import pytest
import torch
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.turn import Detection, Turn
from tiny_store import make_store_model

from pref_lstm.trace import trace_message
from pref_lstm.trace_plot import MAX_SLOTS, plot_trace

YES, NO = Detection(0.9, True, ""), Detection(0.2, False, "")


@pytest.fixture(scope="module")
def model():
    return make_store_model(num_slots=MAX_SLOTS + 8, relation_threshold=1.0)  # turns only ever add


@pytest.fixture(scope="module")
def steps(model):
    state, steps = model.initial_state(), []
    for i in range(MAX_SLOTS + 2):
        said = f"I love {i}"
        before, state = state, model.write([Turn(said)], state)
        steps.append(trace_message(model, said, YES, before, state))
        steps.append(trace_message(model, "what now", NO, state, state))
    return steps


def test_a_step_names_the_slot_that_was_written(steps):
    assert [step.written for step in steps[:4]] == [0, None, 1, None]
    assert [len(step.slots) for step in steps[:4]] == [1, 1, 2, 2]
    assert [step.said for step in steps[:2]] == ["I love 0", "what now"]


def test_relevance_and_weights_are_those_of_the_read(model, steps):
    state = model.write([Turn("I love 1")], model.write([Turn("I love 0")], model.initial_state()))
    readout = model.read(state, ["what now"])
    assert steps[3].relevance == pytest.approx(torch.sigmoid(readout.gate_logits[0]).item())
    assert list(steps[3].weights.values()) == pytest.approx(readout.slot_weights[0, :2].tolist())


def test_an_empty_memory_has_a_closed_gate(model):
    empty = model.initial_state()
    step = trace_message(model, "I love tea", NO, empty, empty)
    assert (step.written, step.slots, step.relevance, step.weights) == (None, (), 0.0, {})


def test_a_slot_that_was_replaced_is_gone_from_the_step(model):
    before = model.write([Turn("I love 0")], model.initial_state())
    after = model.write([Turn("I hate 0")], model.initial_state())  # as a reversal would leave it: one slot, new words
    after = MemoryState(after.cell, {**after.tensors, "times": 2 * after["times"], "writes": 2 * after["writes"]})
    step = trace_message(model, "I hate 0", YES, before, after)
    assert step.written == 0
    assert [(slot.index, slot.time) for slot in step.slots] == [(0, 2)]


def test_memories_without_slots_are_refused():
    model = make_store_model(cell="lstm")
    message = (
        "A trace needs a memory with slots, got one of cell 'lstm', which blends all turns into one vector. "
        "Use an adapter of cell 'slots'."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        trace_message(model, "x", YES, model.initial_state(), model.initial_state())


def test_the_picture_draws_each_gate_and_the_latest_slots(steps, tmp_path):
    figure = plot_trace(steps)
    gates, slots = figure.axes
    heights = [bar.get_height() for bar in gates.patches]
    assert heights[: len(steps)] == [step.detection.probability for step in steps]
    labels = [label.get_text() for label in slots.get_yticklabels()]
    assert [label.rpartition("[")[2] for label in labels] == [f"{i}]" for i in range(2, MAX_SLOTS + 2)]
    assert slots.get_title(loc="left") == "2 older ones are not drawn"
    written = [line.get_xdata()[0] for line in slots.lines if line.get_marker() == "v"]
    assert written == [2 * i + 1 for i in range(2, MAX_SLOTS + 2)]
    figure.savefig(tmp_path / "trace.png")


def test_a_conversation_without_messages_has_a_picture_too(tmp_path):
    plot_trace([]).savefig(tmp_path / "trace.png")
