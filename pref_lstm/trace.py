"""What each message of a conversation did to the memory, and what of the memory acted on its answer."""

from __future__ import annotations

from dataclasses import dataclass

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.turn import Detection

from .inspection import SlotView, describe_slots


@dataclass(frozen=True)
class TraceStep:
    """
    One message.

    Args:
        said (`str`): The message.
        detection ([`Detection`]): The first gate: whether it was let in.
        written (`int`, *optional*): The slot that it was written into; None if the input gate was closed, because it
            was not let in or the memory held the same already.
        slots (`tuple[SlotView, …]`): The filled slots after the write; what is gone was forgotten or crowded out.
        relevance (`float`): The relevance gate on this message, as a probability; above 1/2 the memory acts.
        weights (`dict[int, float]`): How relevant each filled slot is to the message, summing to 1.
    """

    said: str
    detection: Detection
    written: int | None
    slots: tuple[SlotView, ...]
    relevance: float
    weights: dict[int, float]


def trace_message(
    model: PrefLSTMForCausalLM, said: str, detection: Detection, before: MemoryState, after: MemoryState
) -> TraceStep:
    """
    The step of one message.

    Args:
        model ([`PrefLSTMForCausalLM`]): Reads the memory once more, for this message.
        said (`str`): The message.
        detection ([`Detection`]): What the detector decided on it.
        before, after ([`MemoryState`]): The user's memory around its write, one row.

    Raises:
        ValueError: if the memory has no slots.
    """
    if "token_ids" not in after.tensors:
        raise ValueError(
            f"A trace needs a memory with slots, got one of cell '{after.cell}', which blends all turns into one "
            "vector. Use an adapter of cell 'slots'."
        )
    slots = tuple(describe_slots(model, after))
    new = int(after["writes"][0]) if int(after["writes"][0]) > int(before["writes"][0]) else None
    readout = model.read(after, [said])
    weights = [] if readout.slot_weights is None else readout.slot_weights[0].tolist()
    return TraceStep(
        said,
        detection,
        next((slot.index for slot in slots if slot.time == new), None),
        slots,
        float(readout.gate_logits[0].sigmoid()) if slots else 0.0,
        {slot.index: weights[slot.index] for slot in slots},
    )
