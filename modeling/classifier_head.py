"""What a classifier reads out of an encoder's hidden states."""

from __future__ import annotations

import torch
from torch import nn

from .configuration_classifier import PreferenceClassifierConfig


class ScalarMix(nn.Module):
    """
    Softmax-weighted sum of `num_states` tensors (the "scalar mix" of ELMo, arXiv 1802.05365).

    Input Shape: list of `num_states` tensors (`batch`, `length`, `hidden`)
    Output Shape: (`batch`, `length`, `hidden`)
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        weights = self.weight.softmax(0)
        return torch.stack([weight * state for weight, state in zip(weights, states, strict=True)]).sum(0)


class TurnPooler(nn.Module):
    """
    One vector per turn: the first token, the mean of the user's tokens, or learned attention pools and the maximum.

    Input Shape: states (`batch`, `length`, `hidden`), user mask bool (`batch`, `length`) with a True in each row
    Output Shape: (`batch`, `output_size`)
    """

    def __init__(self, config: PreferenceClassifierConfig, hidden_size: int) -> None:
        super().__init__()
        self.pooling = config.pooling
        if self.pooling == "attention":
            self.query = nn.Linear(hidden_size, config.num_pools)
        self.output_size = hidden_size * (config.num_pools + 1) if self.pooling == "attention" else hidden_size

    def forward(self, states: torch.Tensor, user_mask: torch.Tensor) -> torch.Tensor:
        if self.pooling == "cls":
            return states[:, 0]
        mask = user_mask[..., None]
        if self.pooling == "mean":
            return (states * mask).sum(1) / mask.sum(1)
        attention = self.query(states).masked_fill(~mask, -torch.inf).softmax(1)  # (batch, length, num_pools)
        pools = torch.einsum("blp,blh->bph", attention, states).flatten(1)  # (batch, num_pools * hidden)
        return torch.cat([pools, states.masked_fill(~mask, -torch.inf).amax(1)], dim=1)
