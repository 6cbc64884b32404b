"""From conversations to tensors: what was written, what is asked, and what the teacher would say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from transformers import PreTrainedTokenizerBase

from .answer_batch import answer_batch
from .bank import BankPreference
from .teacher import TOP_K


class MemoryCollator:
    """
    Collates rows of [`add_teacher`] into a batch of [`memory_objective`].

    Everything random is drawn from the row's `index`, so a resumed run sees what an uninterrupted one does.

    Args:
        tokenizer: The LM's.
        encoder ([`TurnEncoder`]): Reads turns and questions.
        preferences (`Sequence[BankPreference]`): What else the user may have stated.
        memory_token_id, num_soft_tokens (`int`): Of the adapter.
        num_turns (`Sequence[int]`): How many turns are written before the question; one is drawn per row.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        encoder: TurnEncoder,
        preferences: Sequence[BankPreference],
        memory_token_id: int,
        num_soft_tokens: int,
        num_turns: Sequence[int] = (1, 2, 4, 8),
    ) -> None:
        self.tokenizer, self.encoder, self.preferences = tokenizer, encoder, preferences
        self.memory_token_id, self.num_soft_tokens, self.num_turns = memory_token_id, num_soft_tokens, num_turns

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """
        Args:
            rows: With `index`, `topic`, `forms`, `matters`, `question`, `answer_ids`, `teacher_ids`, `teacher_logits`.

        Returns:
            The tensors of [`answer_batch`].
            `teacher_ids`, `teacher_logits` `(answer tokens, TOP_K)`.
            `turns` ([`EncodedTurn`] of `(batch, num_turns, …)`), `turns_mask` `(batch, num_turns)`, `query`
            `(batch, vector_size)`, `relevant` `(batch,)`: which turn the question is about, -1 for none.
        """
        rngs = [random.Random(f"row {row['index']}") for row in rows]
        written, relevant = zip(*[self._turns(row, rng) for row, rng in zip(rows, rngs, strict=True)], strict=True)
        turns, mask = self._encode(written)
        questions = [row["question"] for row in rows]
        answers = [row["answer_ids"] for row in rows]
        return {
            **answer_batch(self.tokenizer, questions, answers, self.memory_token_id, self.num_soft_tokens),
            "teacher_ids": torch.cat([torch.tensor(r["teacher_ids"]).view(-1, TOP_K) for r in rows]).long(),
            "teacher_logits": torch.cat([torch.tensor(r["teacher_logits"]).view(-1, TOP_K) for r in rows]).float(),
            "turns": turns,
            "turns_mask": mask,
            "query": self.encoder.encode_query(questions),
            "relevant": torch.tensor(relevant),
        }

    def _turns(self, row: dict[str, Any], rng: random.Random) -> tuple[list[Turn], int]:
        count = rng.choice(list(self.num_turns))
        turns: list[Turn] = []
        num_others = count - 1 if row["matters"] else count
        if num_others and all(other.topic == row["topic"] for other in self.preferences):
            raise ValueError(f"The bank must have preferences of several topics, got '{row['topic']}' only.")
        while len(turns) < num_others:
            other = rng.choice(self.preferences)
            if other.topic != row["topic"]:
                turns.append(rng.choice(other.forms))
        if not row["matters"]:
            return turns, -1
        # The words of an answer to the agent don't say what it means: they would teach soft tokens to say nothing.
        form = rng.choice([form for form in row["forms"] if not form["agent"]] or row["forms"])
        place = rng.randrange(count)
        turns.insert(place, Turn(form["user"], form["agent"]))
        return turns, place

    def _encode(self, written: Sequence[list[Turn]]) -> tuple[EncodedTurn, torch.Tensor]:
        longest = max(len(turns) for turns in written)
        flat = self.encoder.encode([turn for turns in written for turn in turns])
        mask = torch.tensor([[i < len(turns) for i in range(longest)] for turns in written])

        def spread(values: torch.Tensor) -> torch.Tensor:
            out = values.new_zeros(*mask.shape, *values.shape[1:])
            out[mask] = values
            return out

        return EncodedTurn(*[spread(value) for value in flat.to_tuple()]), mask
