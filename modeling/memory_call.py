"""One call of the LM with a memory: which placeholders act, and what the LM gets to see."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from .cell import Embed
from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn, MemoryReadout
from .placeholder import insert_placeholders
from .pref_memory import PrefMemory


@dataclass
class MemoryInputs:
    """
    What `forward` and `generate` take beside the LM's own arguments.

    Args:
        memory_state ([`MemoryState`], *optional*): One row per prompt: one batch may serve many users.
        memory_query (`torch.Tensor` of shape `(batch, encoder_hidden_size)`, *optional*):
            The encoder's vector of each row's current message.
        memory_turns ([`EncodedTurn`], *optional*): `(batch, num_turns, …)`, to be written before the read (training).
        memory_turns_mask (`torch.Tensor` of shape `(batch, num_turns)`, *optional*): 1 where there is a turn.
        memory_readout ([`MemoryReadout`], *optional*): A read made already, for prompts with several blocks.
    """

    memory_state: MemoryState | None = None
    memory_query: torch.Tensor | None = None
    memory_turns: EncodedTurn | None = None
    memory_turns_mask: torch.Tensor | None = None
    memory_readout: MemoryReadout | None = None

    @classmethod
    def pop_from(cls, kwargs: dict[str, Any]) -> MemoryInputs:
        return cls(**{f.name: kwargs.pop(f.name, None) for f in fields(cls)})

    def read(self, memory: PrefMemory, embed: Embed) -> MemoryReadout | None:
        """The readout of this call, or None where no memory was passed."""
        if self.memory_readout is not None:
            return self.memory_readout
        state = self.memory_state
        device = next(memory.parameters()).device
        if state is not None:
            state = state.to(device)
        if self.memory_turns is not None:
            turns = EncodedTurn(*[value.to(device) for value in self.memory_turns.to_tuple()])
            mask = self.memory_turns_mask
            mask = torch.ones(turns.pooled.shape[:2]) if mask is None else mask
            state = memory.scan(turns, embed, mask.to(device), state)
        if state is None:
            return None
        query = None if self.memory_query is None else self.memory_query.to(device)
        return memory.read(state, embed, query)


@dataclass
class MemoryCall:
    """
    The LM's arguments after the memory had its say, and how to undo it on the outputs.

    Args:
        kwargs (`dict[str, Any]`): For the LM.
        soft_tokens (`torch.Tensor` of shape `(batch, count, hidden)`, *optional*): None for a call of the bare LM.
        stripped (`torch.Tensor` of shape `(batch, length)`, *optional*):
            Where placeholders were taken out of the caller's ids, because no row of the batch is open.
        input_ids (`torch.Tensor` of shape `(batch, length)`, *optional*): The caller's ids.
    """

    kwargs: dict[str, Any]
    soft_tokens: torch.Tensor | None = None
    stripped: torch.Tensor | None = None
    input_ids: torch.Tensor | None = None

    @classmethod
    def prepare(
        cls,
        kwargs: dict[str, Any],
        readout: MemoryReadout | None,
        config: PrefMemoryConfig,
        disabled: bool,
    ) -> MemoryCall:
        """Decide between the bare LM, placeholders taken out, and placeholders filled."""
        ids, token_id = kwargs.get("input_ids"), config.memory_token_id
        if ids is None:
            if readout is not None:
                raise ValueError(
                    "A memory needs `input_ids`, got only `inputs_embeds` or nothing. Pass the prompt's ids."
                )
            return cls(kwargs)
        if token_id is None:
            if readout is not None:
                raise ValueError(
                    "`memory_token_id` must be set in the config before a memory can be read, got None. "
                    "Pick one with `pick_memory_token_id(tokenizer, vocab_size)`."
                )
            return cls(kwargs)
        is_memory = ids == token_id
        has_placeholders = bool(is_memory.any())
        if readout is None:
            if not has_placeholders:
                return cls(kwargs)
            if not disabled:
                raise ValueError(
                    f"`input_ids` hold the placeholder id {token_id}, but no memory was passed. Pass `memory_state`, "
                    "or build prompts with `build_prompt`, which keeps a user's text from spelling out control tokens."
                )
            return cls._strip(kwargs, ids, is_memory)
        if readout.soft_tokens.shape[0] != ids.shape[0]:
            raise ValueError(
                f"The memory must have one row per prompt ({ids.shape[0]}), got {readout.soft_tokens.shape[0]}."
            )
        # A cache that already holds tokens fixes the columns: only the attention mask can close a row then.
        past = kwargs.get("past_key_values")
        continues = past is not None and past.get_seq_length() > 0
        count = readout.soft_tokens.shape[1]
        any_open = bool(readout.is_open.any())
        if not has_placeholders:
            if continues:
                raise ValueError(
                    "A prompt that continues a cache must hold its own block of placeholders, got none. "
                    "Build it with `build_prompt`, or leave the memory out of this call."
                )
            if not any_open:
                return cls(kwargs)
            new_ids, mask, labels = insert_placeholders(
                ids, kwargs.get("attention_mask"), kwargs.get("labels"), token_id, count
            )
            kwargs = {**kwargs, "input_ids": new_ids, "attention_mask": mask}
            if labels is not None:
                kwargs["labels"] = labels
            is_memory = new_ids == token_id
        counts = is_memory.sum(dim=1)
        if bool((counts != count).any()):
            raise ValueError(
                f"Every prompt must hold as many placeholders as the memory has soft tokens ({count}), got "
                f"{counts.tolist()}. Did a user's text spell out the placeholder? `build_prompt` prevents it."
            )
        if not any_open and not continues and past is None:
            return cls._strip(kwargs, ids, is_memory)
        soft = readout.soft_tokens
        if continues and past.get_seq_length() < ids.shape[1]:
            # `generate` takes the whole prompt and gives the LM what the cache lacks: only that part's blocks are due.
            cached = is_memory[:, : past.get_seq_length()].sum(dim=1)
            if bool((cached != cached[0]).any()):
                raise ValueError(
                    f"Every prompt must have as many placeholders in the cache as the others, got {cached.tolist()}."
                )
            soft = soft[:, int(cached[0]) :]
        mask = _close_rows(kwargs, is_memory, readout.is_open)
        return cls({**kwargs, "attention_mask": mask}, soft if soft.shape[1] else None)

    @classmethod
    def _strip(cls, kwargs: dict[str, Any], ids: torch.Tensor, is_memory: torch.Tensor) -> MemoryCall:
        batch, length = ids.shape

        def strip(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.shape[:2] == (batch, length):
                return value[~is_memory].view(batch, -1, *value.shape[2:])
            return value

        names = ("input_ids", "attention_mask", "labels", "position_ids", "token_type_ids", "logits_to_keep")
        stripped = {name: strip(value) if name in names else value for name, value in kwargs.items()}
        return cls(stripped, None, is_memory, ids)

    def with_positions(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Positions that count attended tokens only, so that padding and closed rows shift nobody."""
        if self.soft_tokens is None or kwargs.get("position_ids") is not None:
            return kwargs
        length = kwargs["input_ids"].shape[1]
        positions = (kwargs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)
        return {**kwargs, "position_ids": positions[:, -length:]}

    def restore_logits(self, output: Any) -> Any:
        """Give logits the caller's length again; where placeholders were taken out they are 0."""
        if self.stripped is None or getattr(output, "logits", None) is None:
            return output
        keep = ~self.stripped
        logits = output.logits
        if logits.dim() == 3 and logits.shape[1] == int(keep[0].sum()):
            full = logits.new_zeros(*keep.shape, logits.shape[-1])
            full[keep] = logits.reshape(-1, logits.shape[-1])
            output.logits = full
        return output

    def restore_sequences(self, output: Any) -> Any:
        """Put the caller's prompt, placeholders and all, in front of what was generated."""
        if self.stripped is None or self.input_ids is None:
            return output
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        prompt_length = int((~self.stripped[0]).sum())
        prompts = self.input_ids.repeat_interleave(sequences.shape[0] // self.input_ids.shape[0], dim=0)
        sequences = torch.cat([prompts.to(sequences.device), sequences[:, prompt_length:]], dim=1)
        if isinstance(output, torch.Tensor):
            return sequences
        output.sequences = sequences
        return output


def _close_rows(kwargs: dict[str, Any], is_memory: torch.Tensor, is_open: torch.Tensor) -> torch.Tensor:
    """The attention mask (the LM's own dtype) without the placeholders of closed blocks."""
    mask = kwargs.get("attention_mask")
    if mask is None:
        past = kwargs.get("past_key_values")
        before = 0 if past is None else past.get_seq_length()
        mask = is_memory.new_ones(is_memory.shape[0], before + is_memory.shape[1], dtype=torch.long)
    acts = is_open.to(mask.device).reshape(-1)
    closed = torch.zeros_like(is_memory)
    closed[is_memory] = ~acts  # row by row, in the order of the soft tokens
    out = mask.clone()
    out[:, -is_memory.shape[1] :][closed] = 0
    return out
