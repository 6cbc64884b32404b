"""The cell that knows nothing of its user: a learned soft prompt, the control for all others."""

from __future__ import annotations

import torch
from torch import nn

from .cell import CellReadout, Embed, MemoryCell
from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn


class PromptCell(MemoryCell):
    """
    `num_soft_tokens` learned tokens, the same for every user and every history (prompt tuning, arXiv 2104.08691).

    What such a prompt gains is style; only what a memory gains over it is memory. It is always open once anything was
    written.

    State: `writes ()` int64 alone, as in every cell.
    """

    name = "prompt"

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.tokens = nn.Parameter(torch.empty(config.num_soft_tokens, hidden_size))

    def reset_parameters(self, words: torch.Tensor) -> None:
        """Start from words of the vocabulary, evenly spaced in `words`."""
        index = torch.linspace(0, len(words) - 1, len(self.tokens)).long()
        with torch.no_grad():
            self.tokens.copy_(words[index])

    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        return MemoryState(self.name, {"writes": torch.zeros(batch_size, dtype=torch.long, device=device)})

    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        return MemoryState(self.name, {"writes": state["writes"] + 1})

    def read(self, state: MemoryState, query: torch.Tensor | None, embed: Embed) -> CellReadout:
        batch = state.batch_size
        return CellReadout(self.tokens.expand(batch, -1, -1), self.tokens.new_ones(batch))
