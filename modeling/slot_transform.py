"""What a slot's words become on their way into the LM."""

from __future__ import annotations

import torch
from torch import nn

from .configuration_pref_memory import TRANSFORM_HEADS, PrefMemoryConfig

_NUM_LAYERS = 2


class SlotTransform(nn.Module):
    """
    A residual over one read's soft tokens: a narrow transformer encoder in which they and the slot's key see each
    other.

    A word alone does not say what it does in its sentence ("not", "instead of"), and words that found no place in the
    slot still show in its key.

    Args:
        config ([`PrefMemoryConfig`]): `transform_rank` is the encoder's width.
        hidden_size (`int`): Width of the LM's input embedding.
    """

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__()
        rank = config.transform_rank
        self.hidden_size = hidden_size
        self.down = nn.Linear(hidden_size, rank)
        self.key_down = nn.Linear(config.encoder_hidden_size, rank)
        self.places = nn.Parameter(torch.empty(config.num_soft_tokens, rank))
        layer = nn.TransformerEncoderLayer(
            rank, TRANSFORM_HEADS, 4 * rank, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, _NUM_LAYERS, enable_nested_tensor=False)
        self.up = nn.Linear(rank, hidden_size)

    def reset_parameters(self) -> None:
        """Untrained, it changes next to nothing."""
        nn.init.normal_(self.places, std=0.02)
        # Small, not zero: zero would keep the layers before it still in the first step.
        nn.init.normal_(self.up.weight, std=1e-3)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """
        Args:
            tokens (`torch.Tensor` of shape `(batch, num_soft_tokens, hidden_size)`): Frame tokens and words.
            key (`torch.Tensor` of shape `(batch, encoder_hidden_size)`): Of the slot that they come from.
        """
        # An embedding's own size is the unit: LMs differ in it by orders of magnitude.
        size = tokens.norm(dim=-1, keepdim=True).clamp_min(1e-6) / self.hidden_size**0.5
        inner = self.down(tokens / size) + self.places
        inner = self.encoder(torch.cat([inner, self.key_down(key)[:, None]], dim=1))[:, :-1]
        out: torch.Tensor = tokens + size * self.up(inner)
        return out
