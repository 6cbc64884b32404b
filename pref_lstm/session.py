"""A conversation with one user: what is said goes through the detector into the memory, and out again into answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.generation.streamers import TextStreamer

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import MemoryReadout
from pref_lstm.modeling.prompt import build_prompt
from pref_lstm.modeling.shared_pass import detect_and_encode
from pref_lstm.modeling.turn import Detection, Detector, Turn


@dataclass(frozen=True)
class Answer:
    """
    One answer of the agent.

    Args:
        text (`str`): What the agent says.
        memory_acted (`bool`): Whether the relevance gate was open.
        slot_weights (`torch.Tensor` of shape `(num_slots,)`, *optional*): How relevant each slot was.
    """

    text: str
    memory_acted: bool
    slot_weights: torch.Tensor | None = None


@dataclass(frozen=True)
class _Message:
    role: str
    content: str
    readout: MemoryReadout | None = None


class _Streamer(TextStreamer):
    """Hands text to a function as it is generated, instead of printing it."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.on_text(text)


@dataclass
class ChatSession:
    """
    A running conversation. The user's memory is the value in `state`; the session replaces it, never changes it.

    Each user message gets its own block of soft tokens, read for that message, and earlier blocks stay as they were, so
    the key/value cache stays valid while the memory changes. A message for which the relevance gate is closed gets no
    block at all.

    Args:
        model ([`PrefLSTMForCausalLM`]): LM and memory.
        detector ([`Detector`]): Decides which turns are written.
        state ([`MemoryState`], *optional*): The user's memory so far; empty by default.
        use_memory (`bool`, defaults to `True`): Without it the session is the bare LM's, for comparison.
        max_new_tokens (`int`, defaults to 128): Length of an answer, in tokens.
    """

    model: PrefLSTMForCausalLM
    detector: Detector
    state: MemoryState | None = None
    use_memory: bool = True
    max_new_tokens: int = 128
    messages: list[_Message] = field(default_factory=list, init=False)
    _cache: DynamicCache | None = field(default=None, init=False)
    _cached_ids: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = self.model.initial_state()

    @property
    def last_agent_line(self) -> str:
        """What the agent said last, as the context of the user's next message."""
        return self.messages[-1].content if self.messages else ""

    def observe(self, text: str) -> Detection:
        """Pass one user message through the detector, and into the memory if it reveals a preference."""
        turn = Turn(text, self.last_agent_line)
        [detection], encoded = detect_and_encode(self.model.encoder, self.detector, [turn])
        if detection.is_preference and self.state is not None:
            self.state = self.model.write_encoded(encoded, self.state)
        return detection

    def answer(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """
        Answer one user message.

        Args:
            text (`str`): The message; it is not observed, see [`~ChatSession.observe`].
            on_text (`Callable`, *optional*): Gets the answer piece by piece while it is generated.

        Returns:
            [`Answer`]. If generation is interrupted, the session is as it was before the call.
        """
        text = Turn(text).user
        readout = None
        if self.use_memory and self.state is not None:
            readout = self.model.read(self.state, [text])
        acts = readout is not None and bool(readout.is_open.any())
        messages = [*self.messages, _Message("user", text, readout if acts else None)]
        ids = self._ids(messages, add_generation_prompt=True)
        cache, self._cache = self._reusable_cache(ids), None
        blocks = [m.readout for m in messages if m.readout is not None]
        tokenizer = self.model.tokenizer
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=torch.tensor([ids], device=self.model.device),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=self.model.device),
                memory_readout=MemoryReadout.cat(blocks) if blocks else None,
                past_key_values=cache,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                return_dict_in_generate=True,
                streamer=None if on_text is None else _Streamer(tokenizer, on_text),
            )
        new = out.sequences[0, len(ids) :]
        answer = tokenizer.decode(new, skip_special_tokens=True).strip()
        self.messages = [*messages, _Message("assistant", answer)]
        self._cache = out.past_key_values
        self._cached_ids = out.sequences[0].tolist()[: self._cache.get_seq_length()]
        weights = readout.slot_weights[0] if acts and readout is not None and readout.slot_weights is not None else None
        return Answer(answer, acts, weights)

    def rewind(self, num_exchanges: int) -> None:
        """Go back to the conversation's first messages with their answers, as if that were all. `state` stays."""
        self.messages = self.messages[: 2 * num_exchanges]
        # The same words may be said again, and read with other soft tokens: ids would not tell.
        self._cache, self._cached_ids = None, []

    def _ids(self, messages: list[_Message], add_generation_prompt: bool) -> list[int]:
        return build_prompt(
            self.model.tokenizer,
            [{"role": m.role, "content": m.content} for m in messages],
            self.model.memory_config.memory_token_id,
            [0 if m.readout is None else m.readout.soft_tokens.shape[1] for m in messages],
            add_generation_prompt,
        )

    def _reusable_cache(self, ids: list[int]) -> DynamicCache:
        """The cache cut to the part that it shares with `ids`: what was generated may be tokenised otherwise now."""
        fresh = DynamicCache(config=self.model.language_model.get_base_model().config)
        if self._cache is None:
            return fresh
        shared = next(
            (i for i, (a, b) in enumerate(zip(self._cached_ids, ids, strict=False)) if a != b),
            min(len(self._cached_ids), len(ids)),
        )
        surplus = len(self._cached_ids) - min(shared, len(ids) - 1)
        if surplus:
            try:
                self._cache.crop(-surplus)
            except RuntimeError:  # a sliding window, or a recurrent layer, has let go of what would have to come back
                return fresh
        return self._cache
