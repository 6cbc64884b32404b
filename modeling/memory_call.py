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
        memory_query (`torch.Tensor` of shape `(batch, vector_size)`, *optional*):
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
        names = [f.name for f in fields(cls)]
        inputs = cls(**{name: kwargs.pop(name, None) for name in names})
        for name in kwargs:
            if name.startswith("memory_"):  # many LMs swallow what they don't know
                raise TypeError(f"Expected one of {names} for the memory, got '{name}'. Check the spelling.")
        return inputs

    def read(self, memory: PrefMemory, embed: Embed) -> MemoryReadout | None:
        """The readout of this call, or None where no memory was passed."""
        if self.memory_readout is not None:
            return self.memory_readout
        state = self.memory_state
        device = next(memory.parameters()).device
        if state is not None:
            state = state.to(device)
        if self.memory_turns is not None:
            turns = self.memory_turns.to(device)
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
        columns (`torch.Tensor` of shape `(batch, seen)`, *optional*):
            Which of the caller's columns the LM sees, and in which order; None where it sees them as they are.
        input_ids (`torch.Tensor` of shape `(batch, length)`, *optional*): The caller's ids.
    """

    kwargs: dict[str, Any]
    soft_tokens: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    input_ids: torch.Tensor | None = None

    @classmethod
    def prepare(
        cls,
        kwargs: dict[str, Any],
        readout: MemoryReadout | None,
        config: PrefMemoryConfig,
        disabled: bool,
        generates: bool = False,
    ) -> MemoryCall:
        """
        Decide which placeholders are filled and which the LM doesn't get to see.

        Args:
            kwargs (`dict[str, Any]`): The caller's arguments for the LM.
            readout ([`MemoryReadout`], *optional*): None where no memory was passed.
            config ([`PrefMemoryConfig`]): Of the active adapter.
            disabled (`bool`): Whether the adapter is switched off.
            generates (`bool`, defaults to `False`): Whether `generate` was called: its ids may hold what a cache does.
        """
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
        past = kwargs.get("past_key_values")
        if readout is None:
            if not has_placeholders:
                return cls(kwargs)
            if not disabled:
                raise ValueError(
                    f"`input_ids` hold the placeholder id {token_id}, but no memory was passed. Pass `memory_state`, "
                    "or build prompts with `build_prompt`, which keeps a user's text from spelling out control tokens."
                )
            return cls._mask(kwargs, is_memory, generates) if past is not None else cls._arrange(kwargs, is_memory)
        if readout.soft_tokens.shape[0] != ids.shape[0]:
            raise ValueError(
                f"The memory must have one row per prompt ({ids.shape[0]}), got {readout.soft_tokens.shape[0]}."
            )
        continues = past is not None and past.get_seq_length() > 0
        count = readout.soft_tokens.shape[1]
        if not has_placeholders:
            if continues:
                raise ValueError(
                    "A prompt that continues a cache must hold its own block of placeholders, got none. "
                    "Build it with `build_prompt`, or leave the memory out of this call."
                )
            if not bool(readout.is_open.any()):
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
        closed = torch.zeros_like(is_memory)
        closed[is_memory] = ~readout.is_open.to(closed.device).reshape(-1)  # row by row, in the soft tokens' order
        if past is None:
            return cls._arrange(kwargs, closed, readout)
        soft = readout.soft_tokens
        if continues and _is_whole(kwargs, generates):
            # `generate` gives the LM what the cache lacks: only that part's blocks are due.
            cached = is_memory[:, : past.get_seq_length()].sum(dim=1)
            if bool((cached != cached[0]).any()):
                raise ValueError(
                    f"Every prompt must have as many placeholders in the cache as the others, got {cached.tolist()}."
                )
            soft = soft[:, int(cached[0]) :]
        return cls._mask(kwargs, closed, generates, soft if soft.shape[1] else None)

    @classmethod
    def _mask(
        cls, kwargs: dict[str, Any], closed: torch.Tensor, generates: bool, soft: torch.Tensor | None = None
    ) -> MemoryCall:
        """A cache fixes the columns: only the attention mask can close placeholders then."""
        mask = kwargs.get("attention_mask")
        if mask is None:
            before = 0 if _is_whole(kwargs, generates) else kwargs["past_key_values"].get_seq_length()
            mask = torch.ones(closed.shape[0], before + closed.shape[1], dtype=torch.long, device=closed.device)
        out = mask.clone()  # of the mask's own dtype
        out[:, -closed.shape[1] :][closed] = 0
        return cls({**kwargs, "attention_mask": out}, soft)

    @classmethod
    def _arrange(cls, kwargs: dict[str, Any], closed: torch.Tensor, readout: MemoryReadout | None = None) -> MemoryCall:
        """
        Closed placeholders become padding on the left, and go away where every row has one.

        In their own place they would take room in a sliding window, which counts columns.
        """
        soft = None if readout is None else readout.soft_tokens
        if not bool(closed.any()):
            return cls(kwargs, soft)
        ids = kwargs["input_ids"]
        drop = int(closed.sum(dim=1).min())
        columns = (~closed).long().argsort(dim=1, stable=True)[:, drop:]
        if readout is not None and soft is not None:
            order = readout.is_open.long().argsort(dim=1, stable=True)[:, drop:]
            soft = soft.gather(1, order[..., None].expand(-1, -1, soft.shape[-1]))
        kwargs = dict(kwargs)
        if kwargs.get("attention_mask") is None and bool((closed.sum(dim=1) > drop).any()):
            kwargs["attention_mask"] = torch.ones_like(ids)
        if (mask := kwargs.get("attention_mask")) is not None:
            kwargs["attention_mask"] = mask.masked_fill(closed.to(mask.device), 0)
        if (positions := kwargs.get("position_ids")) is not None:
            kwargs["position_ids"] = (positions.expand_as(ids) - closed.cumsum(dim=1)).clamp(min=0)
        for name in ("input_ids", "attention_mask", "labels", "position_ids", "token_type_ids", "logits_to_keep"):
            value = kwargs.get(name)
            if isinstance(value, torch.Tensor) and value.shape == ids.shape:
                kwargs[name] = value.gather(1, columns.to(value.device))
        return cls(kwargs, soft if soft is not None and soft.shape[1] else None, columns, ids)

    def with_positions(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Positions that count attended tokens only, so that padding and closed rows shift nobody."""
        mask = kwargs.get("attention_mask")
        if self.soft_tokens is None or kwargs.get("position_ids") is not None or mask is None:
            return kwargs
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        return {**kwargs, "position_ids": positions[:, -kwargs["input_ids"].shape[1] :]}

    def restore_logits(self, output: Any) -> Any:
        """Give logits the caller's columns again; where placeholders were taken out they are 0."""
        logits = getattr(output, "logits", None)
        if self.columns is None or self.input_ids is None or logits is None:
            return output
        if logits.dim() == 3 and logits.shape[1] == self.columns.shape[1]:
            columns = self.columns.to(logits.device)[..., None].expand_as(logits)
            output.logits = logits.new_zeros(*self.input_ids.shape, logits.shape[-1]).scatter(1, columns, logits)
        return output

    def restore_sequences(self, output: Any) -> Any:
        """Put the caller's prompt, placeholders and all, in front of what was generated."""
        if self.columns is None or self.input_ids is None:
            return output
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        prompts = self.input_ids.repeat_interleave(sequences.shape[0] // self.input_ids.shape[0], dim=0)
        sequences = torch.cat([prompts.to(sequences.device), sequences[:, self.columns.shape[1] :]], dim=1)
        if isinstance(output, torch.Tensor):
            return sequences
        output.sequences = sequences
        return output


def _is_whole(kwargs: dict[str, Any], generates: bool) -> bool:
    """Whether the ids start with what the cache holds already: `generate` takes both forms, `forward` new ids only."""
    mask = kwargs.get("attention_mask")
    return generates and (mask is None or mask.shape[1] == kwargs["input_ids"].shape[1])
