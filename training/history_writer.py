"""From what users said to what their memory says: histories through the detector, into states, out as readings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn, MemoryReadout
from pref_lstm.modeling.turn import Detector, Turn
from torch.nn.utils.rnn import pad_sequence

from .likelihood import Reading
from .text_forms import memory_prompt, question_prompt

_BATCH_SIZE = 32


class HistoryWriter:
    """
    Writes histories into a model's memory and reads it under a question. Every turn is encoded and judged once.

    Args:
        model ([`PrefLSTMForCausalLM`]): Memory and encoder.
        detector ([`Detector`], *optional*): Needed by [`~HistoryWriter.let_in`] only.
    """

    def __init__(self, model: PrefLSTMForCausalLM, detector: Detector | None = None) -> None:
        self.model, self.detector = model, detector
        self._encoded: dict[Turn, tuple[torch.Tensor, ...]] = {}
        self._let_in: dict[Turn, bool] = {}
        self._queries: dict[str, torch.Tensor] = {}

    def let_in(self, turns: Iterable[Turn]) -> list[Turn]:
        """Those turns that the detector takes for preferences, in order."""
        turns = list(turns)
        if self.detector is None:
            raise ValueError("A detector is needed to judge turns, got none. Give one to `HistoryWriter`.")
        new = [turn for turn in dict.fromkeys(turns) if turn not in self._let_in]
        self._let_in |= {t: d.is_preference for t, d in zip(new, self.detector.detect(new), strict=True)} if new else {}
        return [turn for turn in turns if self._let_in[turn]]

    def readings(self, histories: Sequence[Sequence[Turn]], questions: Sequence[str]) -> list[Reading]:
        """What the LM reads for each question from the memory of a user with that history; closed, nothing of it."""
        tokenizer, config = self.model.tokenizer, self.model.memory_config
        out = []
        for start in range(0, len(histories), _BATCH_SIZE):
            asked = questions[start : start + _BATCH_SIZE]
            readout = self.read(self.states(histories[start : start + _BATCH_SIZE]), asked)
            for question, soft, is_open in zip(asked, readout.soft_tokens, readout.is_open.any(dim=1), strict=True):
                if is_open:
                    ids = memory_prompt(tokenizer, question, int(config.memory_token_id or 0), len(soft))
                    out.append(Reading(ids, len(soft), soft.clone()))
                else:
                    out.append(Reading(question_prompt(tokenizer, question), 0))
        return out

    @torch.inference_mode()
    def states(self, histories: Sequence[Sequence[Turn]]) -> MemoryState:
        """The memory of each user after all turns of its history."""
        self._encode(turn for turns in histories for turn in turns)
        state = self.model.initial_state(len(histories))
        for step in range(max((len(turns) for turns in histories), default=0)):
            mask = torch.tensor([step < len(turns) for turns in histories])
            # A row whose history has ended keeps its state: what stands in its place is never written.
            turns_now = [turns[min(step, len(turns) - 1)] if turns else _any(histories) for turns in histories]
            rows = [self._encoded[turn] for turn in turns_now]
            turn = EncodedTurn(*[pad_sequence(list(v), batch_first=True) for v in zip(*rows, strict=True)])
            state = self.model.write_encoded(turn, state, mask.to(self.model.device))
        return state

    @torch.inference_mode()
    def read(self, state: MemoryState, questions: Sequence[str]) -> MemoryReadout:
        """One read of every row's memory for its question."""
        new = [q for q in dict.fromkeys(questions) if q not in self._queries]
        if new:
            self._queries |= dict(zip(new, self.model.encoder.encode_query(new), strict=True))
        query = torch.stack([self._queries[q] for q in questions]).to(self.model.device)
        return self.model.memory.read(state, self.model.tuner.embed, query)

    def _encode(self, turns: Iterable[Turn]) -> None:
        new = [turn for turn in dict.fromkeys(turns) if turn not in self._encoded]
        new.sort(key=lambda turn: len(turn.user))
        for start in range(0, len(new), _BATCH_SIZE):
            batch = new[start : start + _BATCH_SIZE]
            encoded = self.model.encoder.encode(batch)
            lengths = encoded.token_mask.sum(dim=1).clamp(min=1).tolist()
            for r, (turn, length) in enumerate(zip(batch, lengths, strict=True)):
                # The first value is one vector per turn, the others are one row per token.
                values = [v[r] if v is encoded.pooled else v[r, :length].clone() for v in encoded.to_tuple()]
                self._encoded[turn] = tuple(values)


def _any(histories: Sequence[Sequence[Turn]]) -> Turn:
    return next(turn for turns in histories for turn in turns)
