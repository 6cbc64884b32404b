"""Which words of a turn a slot keeps, and which of them are spoken."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .outputs import EncodedTurn


def select_words(
    turn: EncodedTurn, slot_length: int, num_spoken: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The tokens of a turn's most salient words in their order. A word is taken whole or left out; only where the first
    one alone is too long is it cut.

    Args:
        turn ([`EncodedTurn`]): Its `token_ids`, `token_mask` and `token_salience`, which the tokens of a word share.
        slot_length (`int`): How many tokens are kept at most.
        num_spoken (`int`): How many of these are spoken at most.

    Returns:
        Three tensors `(batch, slot_length)`: ids int32, 0 where there is none; a mask of the kept; a mask of the
        spoken.
    """
    score = turn.token_salience.masked_fill(~turn.token_mask, float("-inf"))
    ids, missing = turn.token_ids, slot_length - score.shape[1]
    if missing > 0:
        score, ids = F.pad(score, (0, missing), value=float("-inf")), F.pad(ids, (0, missing))
    # Stable: the tokens of one word are as salient as each other, and are taken from the front.
    rank = score.sort(dim=1, descending=True, stable=True).indices.argsort(dim=1)
    kept, spoken = (_most_salient(score, rank, length) for length in (slot_length, num_spoken))
    order = (~kept).long().argsort(dim=1, stable=True)[:, :slot_length]
    mask = kept.gather(1, order)
    return torch.where(mask, ids.gather(1, order), 0).int(), mask, spoken.gather(1, order)


def _most_salient(score: torch.Tensor, rank: torch.Tensor, length: int) -> torch.Tensor:
    word = score[:, :, None] == score[:, None, :]
    last = torch.where(word, rank[:, None, :], 0).amax(dim=2)
    longest = (word.sum(dim=2) > length) & (score == score.amax(dim=1, keepdim=True))
    return (score > float("-inf")) & (rank < length) & ((last < length) | longest)
