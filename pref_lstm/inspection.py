"""Reading a memory state back to words."""

from __future__ import annotations

from dataclasses import dataclass

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM


@dataclass(frozen=True)
class SlotView:
    """
    One filled slot, for a person to read.

    Args:
        index (`int`): Which slot.
        words (`str`): The words it holds, as copied from the turn.
        strength (`float`): What the forget gates left of it, 1 when written.
        time (`int`): The how-manieth write it was.
    """

    index: int
    words: str
    strength: float
    time: int


def describe_slots(model: PrefLSTMForCausalLM, state: MemoryState, row: int = 0) -> list[SlotView]:
    """The filled slots of one user, oldest first; empty for cells without slots."""
    if "token_ids" not in state.tensors:
        return []
    views = []
    for index in (state["strengths"][row] > 0).nonzero().flatten().tolist():
        filled = state["token_weights"][row, index] > 0
        ids = state["token_ids"][row, index][filled].tolist()
        words = " ".join(model.tokenizer.decode(ids).split())
        views.append(SlotView(index, words, float(state["strengths"][row, index]), int(state["times"][row, index])))
    return sorted(views, key=lambda view: view.time)
