"""The memory of one adapter: a cell, scanned over turns and read out as soft tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

import torch
from peft import PeftConfig
from torch import nn

from .cell import Embed, MemoryCell
from .cell_one_vector import OneVectorCell
from .cell_prompt import PromptCell
from .cell_slots import SlotCell
from .cell_vector import LSTMCell, PrefLSTMCell
from .configuration_pref_memory import PrefMemoryConfig
from .key_encoder import KeyEncoder
from .memory_state import MemoryState
from .outputs import EncodedTurn, MemoryReadout
from .relation_encoder import RelationEncoder

CELLS: dict[str, type[MemoryCell]] = {
    cell.name: cell for cell in (SlotCell, PrefLSTMCell, LSTMCell, PromptCell, OneVectorCell)
}
# Publishing changes the classifier's name, loading on an LM the modules.
_NAMES = {"classifier_name_or_path", "classifier_revision", "target_modules"}


class PrefMemory(nn.Module):
    """
    A preference memory: writes turns into a state, reads the state out as soft tokens.

    Args:
        config ([`PrefMemoryConfig`]): The adapter's configuration.
        hidden_size (`int`): Width of the LM's input embedding.
        vocab_size (`int`): Its rows.
    """

    def __init__(self, config: PrefMemoryConfig, hidden_size: int, vocab_size: int) -> None:
        super().__init__()
        if config.hidden_size not in (None, hidden_size):
            raise ValueError(
                f"The adapter was made for an LM of width {config.hidden_size}, got one of width {hidden_size}. "
                f"Load it on the LM that it was trained for ('{config.base_model_name_or_path}')."
            )
        self.config, self.hidden_size, self.vocab_size = config, hidden_size, vocab_size
        self.cell = CELLS[config.cell](config, hidden_size)
        self.key_encoder = (
            KeyEncoder(config.encoder_hidden_size, config.num_key_layers, config.num_key_heads)
            if config.num_key_layers
            else None
        )
        self.relation_encoder = (
            RelationEncoder(config.encoder_hidden_size, config.num_relation_layers, config.relation_rank)
            if config.num_relation_layers
            else None
        )

    def initial_state(self, batch_size: int = 1) -> MemoryState:
        """An empty memory for each of `batch_size` users."""
        return self.cell.initial_state(batch_size, next(self.parameters()).device)

    def update(
        self,
        turn: EncodedTurn,
        state: MemoryState,
        embed: Embed,
        mask: torch.Tensor | None = None,
        relations: torch.Tensor | None = None,
    ) -> MemoryState:
        """As [`MemoryCell.update`], after checking that turn and state fit this memory."""
        self._check_state(state)
        if len(turn.pooled) != state.batch_size:
            raise ValueError(
                f"There must be one turn per user ({state.batch_size}), got {len(turn.pooled)}. Write the turns of one "
                "user one after the other."
            )
        if turn.pooled.shape != (state.batch_size, self.config.vector_size):
            raise ValueError(
                f"`turn.pooled` must be ({state.batch_size}, {self.config.vector_size}), one row per state of "
                f"the encoder's width, got {tuple(turn.pooled.shape)}. "
                f"Is '{self.config.encoder_name_or_path}' the encoder?"
            )
        return self.cell.update(turn, state, embed, mask, relations)

    def scan(
        self, turns: EncodedTurn, embed: Embed, mask: torch.Tensor, state: MemoryState | None = None
    ) -> MemoryState:
        """
        Write turns one after the other.

        Args:
            turns ([`EncodedTurn`]): `(batch, num_turns, …)`.
            embed: The LM's input embedding.
            mask (`torch.Tensor` of shape `(batch, num_turns)`): 1 where the row has a turn at this step.
            state ([`MemoryState`], *optional*): To start from; empty by default.
        """
        if mask.shape != turns.pooled.shape[:2]:
            raise ValueError(
                f"The turns' mask must be (batch, num_turns) {tuple(turns.pooled.shape[:2])}, got {tuple(mask.shape)}."
            )
        state = self.initial_state(mask.shape[0]) if state is None else state
        for t in range(mask.shape[1]):
            turn = EncodedTurn(*[value[:, t] for value in turns.to_tuple()])
            state = self.update(turn, state, embed, mask[:, t])
        return state

    def read(self, state: MemoryState, embed: Embed, query: torch.Tensor | None = None) -> MemoryReadout:
        """
        Read the memory out as soft tokens.

        Args:
            state ([`MemoryState`]): One row per prompt.
            embed: The LM's input embedding.
            query (`torch.Tensor` of shape `(batch, vector_size)`, *optional*):
                The encoder's vector of the user's current message. Without one the read is unconditional.

        Returns:
            [`MemoryReadout`]. An empty memory is closed, whatever its gate says.
        """
        self._check_state(state)
        if query is not None and query.shape != (state.batch_size, self.config.vector_size):
            raise ValueError(
                f"`query` must be ({state.batch_size}, {self.config.vector_size}), one row per state of the "
                f"encoder's width, got {tuple(query.shape)}. Make it with `TurnEncoder.encode_query`."
            )
        out = self.cell.read(state, query, embed)
        is_open = ((out.gate_logits > 0) & (state["writes"] > 0))[:, None].expand(out.soft_tokens.shape[:2])
        return MemoryReadout(out.soft_tokens, is_open, out.gate_logits, out.slot_weights)

    def fingerprint(self) -> str:
        """
        Short hash of weights, vocabulary and what the configuration says beyond names: a state fits exactly the
        adapter that has the same one, on an LM that has as many tokens.
        """
        inherited = {field.name for field in fields(PeftConfig)} | _NAMES
        meaning = {field.name for field in fields(self.config)} - inherited
        content = [self.hidden_size, self.vocab_size, {name: getattr(self.config, name) for name in meaning}]
        return _digest(content, self)

    def vectors_fingerprint(self) -> str:
        """Short hash of what makes turns' vectors: those of two memories with the same one are alike."""
        config = self.config
        return _digest([config.encoder_name_or_path, config.classifier_vector_size], self.key_encoder)

    def check_state(self, state: MemoryState) -> None:
        """
        Whether turns can have led to a state: for those from outside, whose checksum only says that they are as they
        were written.

        Raises:
            ValueError: if they can't, so that reading or updating it would fail or give nonsense.
        """
        self._check_state(state)
        expected = self.cell.initial_state(1, "meta")
        for name, tensor in state.tensors.items():
            if tensor.dtype != expected[name].dtype:
                raise ValueError(f"The state's `{name}` must be of {expected[name].dtype}, got {tensor.dtype}.")
        batches = sorted({tuple(tensor.shape[:1]) for tensor in state.tensors.values()})
        if len(batches) > 1 or not any(batches[0]):
            raise ValueError(f"The state's tensors must begin with one number of users above 0, got {batches}.")
        for requirement, holds in self.cell.requirements(state.detach(), self.vocab_size).items():
            if not holds:
                raise ValueError(f"The state's {requirement}, got others.")

    def _check_state(self, state: MemoryState) -> None:
        if (dtype := next(self.parameters()).dtype) != torch.float32:
            raise ValueError(
                f"The memory must be of torch.float32, got {dtype}: states are, whatever the LM's dtype is. Give "
                "`dtype` to `from_pretrained` instead of converting the whole model, or call `model.memory.float()`."
            )
        if state.cell != self.config.cell:
            raise ValueError(
                f"The state must come from a memory of cell '{self.config.cell}', got one of cell '{state.cell}'. "
                "Start with `initial_state()` and write the user's turns again."
            )
        expected = {name: tensor.shape[1:] for name, tensor in self.cell.initial_state(1, "meta").tensors.items()}
        got = {name: tensor.shape[1:] for name, tensor in state.tensors.items()}
        if got != expected:
            wrong = sorted(n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n))[0]
            raise ValueError(
                f"The state's `{wrong}` must have shape (batch, *{tuple(expected.get(wrong, ()))}), got "
                f"(batch, *{tuple(got.get(wrong, ()))}). It was made by an adapter with another configuration."
            )


def _digest(content: list[Any], module: nn.Module | None) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items() if module is not None else ()):
        digest.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
