"""Low-rank changes of frozen linear layers."""

from __future__ import annotations

import torch
from torch import nn


class LowRankLinear(nn.Module):
    """
    A frozen linear layer plus a trained change of its weight, `up @ down` (LoRA, arXiv 2106.09685, without a scale).

    Input Shape: (..., `base.in_features`)
    Output Shape: (..., `base.out_features`)
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.empty(base.out_features, rank))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        change = nn.functional.linear(nn.functional.linear(states, self.down), self.up)
        output: torch.Tensor = self.base(states) + change
        return output


def freeze_and_change(layers: nn.ModuleList, rank: int) -> None:
    """Freezes `layers` and puts a [`LowRankLinear`] around each linear layer inside them."""
    layers.requires_grad_(False)
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, LowRankLinear(child, rank))


def frozen_names(layers: nn.ModuleList) -> dict[str, str]:
    """Names of all that [`freeze_and_change`] froze, each with its name in layers without changes."""
    return {
        name: name.replace(".base.", ".")
        for name, _ in layers.named_parameters()
        if not name.endswith((".down", ".up"))
    }
