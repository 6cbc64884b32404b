"""What the memory's parts return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass(frozen=True)
class EncoderPass:
    """
    One forward pass of the encoder's backbone over a batch of turns.

    Args:
        hidden_states (`tuple[torch.Tensor, …]`): Each `(batch, length, hidden)`, the embeddings first.
        attention_mask (`torch.Tensor` of shape `(batch, length)`): 1 where the token is real.
        token_type_ids (`torch.Tensor` of shape `(batch, length)`): 1 on the user's segment and its closing [SEP].
        num_layers (`int`): Of the whole backbone: a pass may stop earlier.
    """

    hidden_states: tuple[torch.Tensor, ...]
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor
    num_layers: int


@dataclass
class EncodedTurn(ModelOutput):
    """
    Turns as the memory reads them; one turn per row, or `(batch, num_turns, …)` for [`PrefMemory.scan`].

    Args:
        pooled (`torch.Tensor` of shape `(batch, vector_size)`, float32): The turn's vector, the encoder's as a rule.
        token_ids (`torch.Tensor` of shape `(batch, turn_length)`, int64): The user's words in the LM's vocabulary.
        token_mask (`torch.Tensor` of shape `(batch, turn_length)`, bool): True where the token is real.
        token_features (`torch.Tensor` of shape `(batch, turn_length, encoder_hidden_size)`, float32):
            The encoder's state over each LM token, aligned by characters.
        token_salience (`torch.Tensor` of shape `(batch, turn_length)`, float32):
            How much of the turn's content the token carries before any training, see [`token_salience`].
    """

    pooled: torch.Tensor = None  # type: ignore[assignment]
    token_ids: torch.Tensor = None  # type: ignore[assignment]
    token_mask: torch.Tensor = None  # type: ignore[assignment]
    token_features: torch.Tensor = None  # type: ignore[assignment]
    token_salience: torch.Tensor = None  # type: ignore[assignment]

    def to(self, device: torch.device | str) -> EncodedTurn:
        """The same on another device."""
        return EncodedTurn(*[value.to(device) for value in self.to_tuple()])


@dataclass
class MemoryReadout(ModelOutput):
    """
    What one read of the memory puts before the LM.

    Args:
        soft_tokens (`torch.Tensor` of shape `(batch, num_soft_tokens, hidden_size)`):
            In the LM's input-embedding space.
        is_open (`torch.Tensor` of shape `(batch, num_soft_tokens)`, bool):
            Whether the relevance gate lets the row's memory act, for each soft token of its block.
        gate_logits (`torch.Tensor` of shape `(batch,)`, float32): Above 0 means open.
        slot_weights (`torch.Tensor` of shape `(batch, num_slots)`, float32, *optional*):
            Relevance of each slot to the query, summing to 1 over the filled ones (cell `slots` only). The slot that
            was read has the highest: where it speaks for a better one on the same matter, the two change places.
    """

    soft_tokens: torch.Tensor = None  # type: ignore[assignment]
    is_open: torch.Tensor = None  # type: ignore[assignment]
    gate_logits: torch.Tensor = None  # type: ignore[assignment]
    slot_weights: torch.Tensor | None = None

    @staticmethod
    def cat(readouts: Sequence[MemoryReadout]) -> MemoryReadout:
        """The blocks of several reads one after the other, for a prompt that holds several blocks of placeholders."""
        return MemoryReadout(
            torch.cat([r.soft_tokens for r in readouts], dim=1),
            torch.cat([r.is_open for r in readouts], dim=1),
            readouts[-1].gate_logits,
        )
