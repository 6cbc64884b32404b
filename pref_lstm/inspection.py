"""Reading a memory back to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM

from .turn_record import TurnRecord


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


@dataclass(frozen=True)
class StoredView:
    """
    One stored turn and the slot that holds it, for a person to read.

    Args:
        id (`int`): The turn's number in the user's ledger: what `forget` takes.
        said (`str`): What the user said, or that it was kept without text.
        age (`str`): How long ago.
        slot (`int`, *optional*): The slot; None for cells without slots, as are the next two.
        words (`str`, *optional*): The words that the slot holds.
        strength (`float`, *optional*): The slot's strength.
    """

    id: int
    said: str
    age: str
    slot: int | None
    words: str | None
    strength: float | None


def describe_slots(model: PrefLSTMForCausalLM, state: MemoryState, row: int = 0) -> list[SlotView]:
    """The filled slots of one user, oldest first; empty for cells without slots."""
    if "token_ids" not in state.tensors:
        return []
    views = []
    for index in (state["strengths"][row] > 0).nonzero().flatten().tolist():
        ids = state["token_ids"][row, index][state["token_mask"][row, index]].tolist()
        words = " ".join(model.tokenizer.decode(ids).split())
        views.append(SlotView(index, words, float(state["strengths"][row, index]), int(state["times"][row, index])))
    return sorted(views, key=lambda view: view.time)


def describe_stored(model: PrefLSTMForCausalLM, state: MemoryState, records: Sequence[TurnRecord]) -> list[StoredView]:
    """
    The turns that a memory holds, oldest first.

    Args:
        model ([`PrefLSTMForCausalLM`]): Its tokenizer reads the words back.
        state ([`MemoryState`]): The user's, [`UserStore.state`].
        records (`Sequence[TurnRecord]`): The user's, [`UserStore.list`].
    """
    words = {slot.index: slot.words for slot in describe_slots(model, state)}
    return [
        StoredView(
            int(record.id or 0),
            "(kept without text)" if record.turn is None else record.turn.user,
            age(record.time),
            record.slot,
            None if record.slot is None else words.get(record.slot),
            record.strength,
        )
        for record in records
    ]


def age(time: datetime) -> str:
    """How long ago a time was, in its largest whole unit: `3 min`."""
    seconds = int((datetime.now(timezone.utc) - time).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"
