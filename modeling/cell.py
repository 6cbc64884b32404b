"""The one interface of all memory cells, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn

Embed = Callable[[torch.Tensor], torch.Tensor]

# Far above what encoders and turns lead to, and far below where sums overflow.
MAX_SIZE, MAX_WRITES = 1e6, 2**53


@dataclass
class CellReadout:
    """`soft_tokens (batch, K, hidden)`, `gate_logits (batch,)`, and each slot's weight if it has slots."""

    soft_tokens: torch.Tensor
    gate_logits: torch.Tensor
    slot_weights: torch.Tensor | None = None


class MemoryCell(nn.Module, ABC):
    """
    A memory cell: an empty state, one turn's update, and a read.

    A cell has parameters only; the memory itself is the [`MemoryState`] that goes in and comes out. Every state carries
    `writes (batch,)`, int64, the number of turns taken in.
    """

    name: str

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__()
        self.config, self.hidden_size = config, hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        """An empty memory for each of `batch_size` users, float32."""

    @abstractmethod
    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        """Every row takes its turn in. Cells without slots make nothing of `relations`."""

    @abstractmethod
    def read(self, state: MemoryState, query: torch.Tensor | None, embed: Embed) -> CellReadout:
        """Soft tokens, and how relevant the memory is to `query (batch, vector_size)`."""

    @abstractmethod
    def reset_parameters(self, words: torch.Tensor) -> None:
        """Initialise from `words (n, hidden)`: the LM's embeddings of `frame_token_ids`, or of some vocabulary."""

    def requirements(self, state: MemoryState, vocab_size: int) -> dict[str, torch.Tensor]:
        """
        What holds of every state that turns lead to, in words, and whether it does of this one.

        Args:
            state ([`MemoryState`]): Names, shapes and dtypes are this cell's.
            vocab_size (`int`): Rows of the LM's input embedding.
        """
        finite = {
            f"`{name}` must hold finite numbers of a size up to {MAX_SIZE:g}": (tensor.abs() <= MAX_SIZE).all()
            for name, tensor in state.tensors.items()
            if tensor.is_floating_point()
        }
        return {**finite, "`writes` must lie from 0 to 2**53": is_within(state["writes"], 0, MAX_WRITES)}

    def update(
        self,
        turn: EncodedTurn,
        state: MemoryState,
        embed: Embed,
        mask: torch.Tensor | None = None,
        relations: torch.Tensor | None = None,
    ) -> MemoryState:
        """
        Write one turn per row. A row whose `mask` is 0 keeps its state bit for bit.

        Args:
            turn ([`EncodedTurn`]): `(batch, …)`.
            state ([`MemoryState`]): Of the same batch and of this cell.
            embed: The LM's input embedding, ids to vectors.
            mask (`torch.Tensor` of shape `(batch,)`, *optional*): 1 where the row has a turn.
            relations (`torch.Tensor` of shape `(batch, num_slots, 3)`, *optional*): What the turn does to each slot,
                as [`relate`] found by reading both. By default the cell compares their vectors.

        Returns:
            [`MemoryState`], same shapes and dtypes.
        """
        new = self.step(turn, state, embed, relations)
        if mask is None:
            return new
        return MemoryState(
            state.cell,
            {
                name: torch.where(mask.bool().view(-1, *[1] * (old.dim() - 1)), new[name], old)
                for name, old in state.tensors.items()
            },
        )


def is_within(values: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Whether all values are at least `low` and at most `high`."""
    return ((values >= low) & (values <= high)).all()


def are_write_numbers(values: torch.Tensor, writes: torch.Tensor) -> torch.Tensor:
    """Whether the numbers of each row of `values (batch, n)` go up to its `writes (batch,)` and only 0 repeats."""
    ranked = values.sort(dim=1).values
    repeated = (ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] > 0)
    return ((values >= 0) & (values <= writes[:, None])).all() & ~repeated.any()


def straight_through(probability: torch.Tensor) -> torch.Tensor:
    """Exactly 1 forward, the probability's gradient backward (Bengio et al. 2013, arXiv 1308.3432)."""
    return 1 + (probability - probability.detach())  # the parentheses keep it at exactly 1
