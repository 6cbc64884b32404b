"""Cells that keep one vector per user: the paper's gated update, and an LSTM cell."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn

from .cell import CellReadout, Embed, MemoryCell, straight_through
from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn


class VectorCell(MemoryCell):
    """
    What the vector cells share: the projected turn `e_t`, the projection head to soft tokens, the relevance gate.

    The projection head is the paper's `W_p M_t`, to `num_soft_tokens` tokens instead of one, its output brought to the
    length of the LM's own embeddings.
    """

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.turn_projection = nn.Linear(config.vector_size, config.memory_size)
        self.projection_head = nn.Linear(config.memory_size, config.num_soft_tokens * hidden_size)
        self.relevance = nn.Linear(config.memory_size, config.vector_size)
        self.gate_bias = nn.Parameter(torch.empty(1))
        self.output_scale = nn.Parameter(torch.empty(1))

    def reset_parameters(self, words: torch.Tensor) -> None:
        self.turn_projection.reset_parameters()
        self.projection_head.reset_parameters()
        # Open until training says otherwise: a recipe that doesn't train the gate, as the paper's, has none.
        nn.init.zeros_(self.relevance.weight)
        nn.init.zeros_(self.relevance.bias)
        nn.init.ones_(self.gate_bias)
        # The length of an ordinary embedding: soft tokens far longer or shorter than words read as noise.
        with torch.no_grad():
            self.output_scale.copy_(words.norm(dim=-1).mean()[None])

    @abstractmethod
    def vector(self, state: MemoryState) -> torch.Tensor:
        """What the state holds for each user, `(batch, memory_size)`."""

    def read(self, state: MemoryState, query: torch.Tensor | None, embed: Embed) -> CellReadout:
        memory = self.vector(state)  # (batch, memory_size)
        soft = self.projection_head(memory).view(-1, self.config.num_soft_tokens, self.hidden_size)
        soft = soft / soft.norm(dim=-1, keepdim=True).clamp_min(1e-6) * self.output_scale
        gate = self.gate_bias.expand(memory.shape[0])
        if query is not None:
            gate = gate + (self.relevance(memory) * query).sum(-1)
        return CellReadout(soft * straight_through(torch.sigmoid(gate))[:, None, None], gate)


class PrefLSTMCell(VectorCell):
    """
    The paper's memory (Pref-LSTM, arXiv 2507.03042, "Memory Encoder").

    `e_t = W_e pooled_t + b_e`, `f_t = sigmoid(W_f [M_{t-1}; e_t] + b_f)`, `M_t = f_t * M_{t-1} + (1 - f_t) * e_t`, and
    `M_t = M_{t-1}` where the turn holds no preference (the mask of [`~MemoryCell.update`]). The formulas are missing
    from the paper's text version: this is our reading of it.

    State: `memory (batch, memory_size)`, float32.
    """

    name = "pref_lstm"

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.forget_gate = nn.Linear(2 * config.memory_size, config.memory_size)

    def reset_parameters(self, words: torch.Tensor) -> None:
        super().reset_parameters(words)
        self.forget_gate.reset_parameters()

    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        return MemoryState(
            self.name,
            {
                "memory": torch.zeros(batch_size, self.config.memory_size, device=device),
                "writes": torch.zeros(batch_size, dtype=torch.long, device=device),
            },
        )

    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        old = state["memory"]
        new = self.turn_projection(turn.pooled)
        forget = torch.sigmoid(self.forget_gate(torch.cat([old, new], dim=-1)))
        return MemoryState(self.name, {"memory": forget * old + (1 - forget) * new, "writes": state["writes"] + 1})

    def vector(self, state: MemoryState) -> torch.Tensor:
        return state["memory"]


class LSTMCell(VectorCell):
    """
    `torch.nn.LSTMCell` over the projected turns (Hochreiter & Schmidhuber 1997), with a forget bias of 1
    (Jozefowicz et al. 2015).

    State: `hidden` and `cell`, each `(batch, memory_size)`, float32.
    """

    name = "lstm"

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.lstm = nn.LSTMCell(config.memory_size, config.memory_size)

    def reset_parameters(self, words: torch.Tensor) -> None:
        super().reset_parameters(words)
        self.lstm.reset_parameters()
        with torch.no_grad():
            size = self.config.memory_size
            self.lstm.bias_hh[size : 2 * size] += 1.0  # torch's order: input, forget, cell, output

    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        zeros = torch.zeros(batch_size, self.config.memory_size, device=device)
        writes = torch.zeros(batch_size, dtype=torch.long, device=device)
        return MemoryState(self.name, {"hidden": zeros, "cell": zeros.clone(), "writes": writes})

    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        hidden, cell = self.lstm(self.turn_projection(turn.pooled), (state["hidden"], state["cell"]))
        return MemoryState(self.name, {"hidden": hidden, "cell": cell, "writes": state["writes"] + 1})

    def vector(self, state: MemoryState) -> torch.Tensor:
        return state["hidden"]
