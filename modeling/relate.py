"""What a new turn does to what a memory holds: pairs of like turns, read by the relation encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .memory_state import MemoryState
from .outputs import EncodedTurn
from .pref_memory import PrefMemory
from .slot_words import select_words
from .turn import Turn
from .turn_encoder import TurnEncoder
from .turn_tokenization import tokenize_turns

# Of many like turns the likest few are read: a write costs the same however much is stored.
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
        `MAX_PAIRS` likest slots of each row whose cosine is at least `pair_threshold`, 0 for the others.
    """
    assert memory.relation_encoder is not None
    config, keys = memory.config, state["keys"]
    cosine = (keys * F.normalize(turn.pooled, dim=-1)[:, None]).sum(-1)
    near = (state["strengths"] > 0) & (cosine >= config.pair_threshold)
    likest = cosine.masked_fill(~near, -2.0).topk(min(MAX_PAIRS, cosine.shape[1]), dim=1).indices
    near &= torch.zeros_like(near).scatter(1, likest, True)
    out = keys.new_zeros(*near.shape, 3)
    rows, slots = near.nonzero(as_tuple=True)
    if len(rows):
        ids, mask, _ = select_words(turn, int(config.slot_length or 0), config.num_content_tokens)
        first = _texts(encoder, state["token_ids"][rows, slots], state["token_mask"][rows, slots])
        second = _texts(encoder, ids[rows], mask[rows])
        pairs = [Turn(new, agent=old) for old, new in zip(first, second, strict=True)]
        logits = memory.relation_encoder(encoder.backbone, **tokenize_turns(encoder.tokenizer, pairs))
        out[rows, slots] = logits.softmax(-1).to(out)
    return out


def _texts(encoder: TurnEncoder, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
    """What slots keep, in words; a sign where they keep nothing that shows."""
    texts = [encoder.lm_tokenizer.decode(row[kept]).strip() for row, kept in zip(ids, mask, strict=True)]
    return [text or "?" for text in texts]
