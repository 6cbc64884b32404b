"""The nearest turn's sentence vector, projected: xRAG's form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .cell import CellReadout, Embed, MemoryCell, are_write_numbers
from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn


class OneVectorCell(MemoryCell):
    """
    xRAG's modality bridge (arXiv 2405.13792): the vector of what a retriever finds goes through a two-layer MLP to
    `num_soft_tokens` tokens (one in xRAG).

    **Write.** The turn's vector is stored; the oldest gives way when `num_slots` are stored. **Read.** The vector
    nearest to the query by cosine is projected; without a query, or among equals, the latest. Retrieval is not trained.
    There is no gate: it is always open once anything was written.

    State, per user: `vectors (num_slots, vector_size)` float32, `order (num_slots,)` int64 (which write it was, 0 =
    free), `writes ()` int64.
    """

    name = "one_vector"

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.first = nn.Linear(config.vector_size, hidden_size)
        self.second = nn.Linear(hidden_size, config.num_soft_tokens * hidden_size)

    def reset_parameters(self, words: torch.Tensor) -> None:
        self.first.reset_parameters()
        self.second.reset_parameters()
        with torch.no_grad():
            device = self.first.weight.device  # "meta" where weights are loaded afterwards
            some = F.normalize(torch.randn(256, self.config.vector_size, device=device), dim=-1)
            # Tokens start as long as words: far shorter ones are drowned by the words around them.
            scale = words.norm(dim=-1).mean().to(device) / self._project(some).norm(dim=-1).mean()
            for parameter in self.second.parameters():
                parameter.mul_(scale)

    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        shape = (batch_size, self.config.num_slots)
        return MemoryState(
            self.name,
            {
                "vectors": torch.zeros(*shape, self.config.vector_size, device=device),
                "order": torch.zeros(*shape, dtype=torch.long, device=device),
                "writes": torch.zeros(batch_size, dtype=torch.long, device=device),
            },
        )

    def requirements(self, state: MemoryState, vocab_size: int) -> dict[str, torch.Tensor]:
        """As [`MemoryCell.requirements`]."""
        return {
            **super().requirements(state, vocab_size),
            "`order` must hold different numbers from 1 to `writes`, and 0 where free": are_write_numbers(
                state["order"], state["writes"]
            ),
        }

    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        order, writes = state["order"], state["writes"] + 1
        target = F.one_hot(order.argmin(dim=1), order.shape[1]).bool()  # (batch, num_slots)
        return MemoryState(
            self.name,
            {
                "vectors": torch.where(target[..., None], turn.pooled[:, None], state["vectors"]),
                "order": torch.where(target, writes[:, None], order),
                "writes": writes,
            },
        )

    def read(self, state: MemoryState, query: torch.Tensor | None, embed: Embed) -> CellReadout:
        order = state["order"]
        if query is None:
            chosen = order.argmax(dim=1)
        else:
            cosine = F.cosine_similarity(state["vectors"], query[:, None], dim=-1)
            cosine = cosine.masked_fill(order == 0, float("-inf"))
            nearest = cosine == cosine.amax(dim=1, keepdim=True)
            chosen = torch.where(nearest, order, -1).argmax(dim=1)
        row = torch.arange(order.shape[0], device=order.device)
        tokens = self._project(state["vectors"][row, chosen])
        return CellReadout(tokens, tokens.new_ones(len(tokens)))

    def _project(self, vectors: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(F.gelu(self.first(vectors)))
        return out.view(len(vectors), -1, self.hidden_size)  # (batch, num_soft_tokens, hidden)
