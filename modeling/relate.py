"""What a new turn does to what a memory holds: by vectors, and where these see some likeness by reading both."""

from __future__ import annotations

import torch

from .cell_slots import DIFFERENT, SlotCell
from .memory_state import MemoryState
from .outputs import EncodedTurn
from .pref_memory import PrefMemory
from .slot_words import select_words
from .turn import Turn
from .turn_encoder import TurnEncoder
from .turn_tokenization import tokenize_turns

# Of many that may be alike few are read: a write costs the same however much is stored.
MAX_PAIRS = 2


@torch.no_grad()
def relate(encoder: TurnEncoder, memory: PrefMemory, turn: EncodedTurn, state: MemoryState) -> torch.Tensor:
    """
    Compare new turns with what their users' slots hold.

    Both are read as a slot keeps them, so a turn of which only the encoding was kept gives the same.

    Args:
        encoder ([`TurnEncoder`]): The adapter's.
        memory ([`PrefMemory`]): With a relation encoder, on the device of `turn` and `state`.
        turn ([`EncodedTurn`]): `(batch, …)`, one new turn per user.
        state ([`MemoryState`]): Of these users.

    Returns:
        `torch.Tensor` of shape `(batch, num_slots, 3)`: probabilities of same, reversed and different for the
        `MAX_PAIRS` slots of each row that their vectors hold for the least different, of those below `pair_threshold`;
        0 for the others. The two opinions, of the vectors and of the reader, are multiplied.
    """
    cell = memory.cell
    assert memory.relation_encoder is not None and isinstance(cell, SlotCell)
    by_vectors = cell.compare(turn, state)
    different = by_vectors[..., DIFFERENT].masked_fill(state["strengths"] == 0, 1.0)
    likest = different.topk(min(MAX_PAIRS, different.shape[1]), dim=1, largest=False).indices
    near = torch.zeros_like(different, dtype=torch.bool).scatter(1, likest, True)
    near &= different < memory.config.pair_threshold
    out = torch.zeros_like(by_vectors)
    rows, slots = near.nonzero(as_tuple=True)
    if len(rows):
        ids, mask, _ = select_words(turn, int(memory.config.slot_length or 0), memory.config.num_content_tokens)
        first = _texts(encoder, state["token_ids"][rows, slots], state["token_mask"][rows, slots])
        second = _texts(encoder, ids[rows], mask[rows])
        pairs = [Turn(new, agent=old) for old, new in zip(first, second, strict=True)]
        tokens = tokenize_turns(encoder.tokenizer, pairs).to(encoder.encoder.device)
        logits = memory.relation_encoder(encoder.backbone, **tokens).to(out)
        out[rows, slots] = (by_vectors[rows, slots].log() + logits.log_softmax(-1)).softmax(-1)
    return out


def _texts(encoder: TurnEncoder, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
    """What slots keep, in words; a sign where they keep nothing that shows."""
    texts = [encoder.lm_tokenizer.decode(row[kept]).strip() for row, kept in zip(ids, mask, strict=True)]
    return [text or "?" for text in texts]
