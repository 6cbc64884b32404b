"""From a message to the first token of its answer: bare, with a memory, with text, with retrieval; and in batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import MemoryReadout
from pref_lstm.modeling.turn import Turn

from .bank import load_bank
from .benchmark_timing import Call
from .history_writer import HistoryWriter
from .text_forms import memory_prompt, prefix_prompt, question_prompt, reminder_prompt

PROMPT_TOKENS = 100
NUM_USERS = 8
NUM_NEW_TOKENS = 16
_BATCH_SIZE = 64


@dataclass(frozen=True)
class StoredText:
    """As many of the latest preferences as the LM's context holds beside the prompt: their token ids, and how many."""

    ids: list[int]
    count: int


class AnswerCosts:
    """
    What a user waits for. Everything that can be made before the message comes is made before: the memory's state, the
    vectors that retrieval searches, the tokens of the text. The text's part of the key/value cache is not kept.

    Args:
        model ([`PrefLSTMForCausalLM`]): LM and memory.
        preferences (`Sequence[str]`): What users have stated; N stored ones are the first N.
        counts (`Sequence[int]`): The numbers N.
    """

    def __init__(self, model: PrefLSTMForCausalLM, preferences: Sequence[str], counts: Sequence[int]) -> None:
        self.model, self.preferences, self.counts = model, preferences, counts
        self.lm = model.language_model.get_base_model()
        self.message = _message(model)
        self.writer = HistoryWriter(model)
        turns = [Turn(text) for text in preferences]
        self.states = {n: self.writer.states([turns[:n]]) for n in counts}
        batches = [turns[i : i + _BATCH_SIZE] for i in range(0, len(turns), _BATCH_SIZE)]
        vectors = torch.cat([model.encoder.encode_pooled(batch) for batch in batches])
        self.vectors = torch.nn.functional.normalize(vectors, dim=-1)
        self.texts = {n: self._text(n) for n in counts}

    @property
    def prompt_tokens(self) -> int:
        """Length of the bare prompt."""
        return len(question_prompt(self.model.tokenizer, self.message))

    def calls(self) -> dict[str, Call]:
        """`bare`, and `memory N`, `text N` and `retrieval N` for each number of stored preferences."""
        calls: dict[str, Callable[[], object]] = {"bare": self.bare}
        for n in self.counts:
            calls[f"memory {n}"] = partial(self.with_memory, self.states[n])
            calls[f"text {n}"] = partial(self.with_text, self.texts[n])
            calls[f"retrieval {n}"] = partial(self.with_retrieval, n)
        return {name: _every_round(call) for name, call in calls.items()}

    def bare(self) -> int:
        """The LM reads the message alone."""
        return self._first_token(question_prompt(self.model.tokenizer, self.message))

    def with_memory(self, state: MemoryState) -> int:
        """Encode the message, read the memory, and let it act: a closed gate, which costs less, is held open."""
        model, config = self.model, self.model.memory_config
        readout = model.read(state, [self.message])
        readout = MemoryReadout(readout.soft_tokens, torch.ones_like(readout.is_open), readout.gate_logits)
        token_id, count = int(config.memory_token_id or 0), config.num_soft_tokens
        ids = torch.tensor([memory_prompt(model.tokenizer, self.message, token_id, count)])
        mask = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=mask, memory_readout=readout, max_new_tokens=1, do_sample=False)
        return int(out[0, -1])

    def with_text(self, text: StoredText) -> int:
        """The LM reads all stored preferences before the message."""
        return self._first_token(text.ids + question_prompt(self.model.tokenizer, self.message))

    def with_retrieval(self, n: int) -> int:
        """Encode the message, find the nearest of the first `n` preferences, and let the LM read it as a reminder."""
        scores = self.vectors[:n] @ self.model.encoder.encode_query([self.message])[0]
        best = self.preferences[int(scores.argmax())]
        return self._first_token(reminder_prompt(self.model.tokenizer, [best], self.message))

    def user_calls(self) -> dict[str, Call]:
        """`one by one` and `batch`: short answers to several users, each with a memory of three preferences."""
        histories = [[Turn(t) for t in self.preferences[3 * u : 3 * u + 3]] for u in range(NUM_USERS)]
        state = self.writer.states(histories)
        bank = load_bank().preferences
        questions = [bank[3 * u].questions[0] for u in range(NUM_USERS)]
        alone = [(state.rows([u]), [question]) for u, question in enumerate(questions)]
        return {
            "one by one": lambda _: [self.answer(*one) for one in alone],
            "batch": lambda _: self.answer(state, questions),
        }

    def answer(self, state: MemoryState, questions: Sequence[str]) -> torch.Tensor:
        """`NUM_NEW_TOKENS` tokens for each row, with its own memory and its own gate: `(batch, NUM_NEW_TOKENS)`."""
        model, config = self.model, self.model.memory_config
        token_id, count = int(config.memory_token_id or 0), config.num_soft_tokens
        prompts = [memory_prompt(model.tokenizer, question, token_id, count) for question in questions]
        batch = model.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        out = model.generate(
            **batch,
            memory_readout=model.read(state, questions),
            min_new_tokens=NUM_NEW_TOKENS,
            max_new_tokens=NUM_NEW_TOKENS,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_token_id,
        )
        new: torch.Tensor = out[:, batch["input_ids"].shape[1] :]
        return new

    def _first_token(self, ids: list[int]) -> int:
        prompt = torch.tensor([ids])
        out = self.lm.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=1, do_sample=False)
        return int(out[0, -1])

    def _text(self, n: int) -> StoredText:
        def prompt(count: int) -> list[int]:
            return prefix_prompt(self.model.tokenizer, self.preferences[n - count : n], self.message)

        room = getattr(self.lm.config, "max_position_embeddings", None)  # some LMs know no end
        count = n if room is None else bisect_right(range(n + 1), room - 1, key=lambda count: len(prompt(count))) - 1
        return StoredText(prompt(count)[: -self.prompt_tokens], count)


def _every_round(call: Callable[[], object]) -> Call:
    return lambda _: call()


def _message(model: PrefLSTMForCausalLM) -> str:
    """A message whose prompt has `PROMPT_TOKENS` tokens, or as few less as whole words allow."""
    words = " ".join(question for topic in load_bank().topics[:4] for question in topic.questions).split()
    count = next(
        n
        for n in range(len(words), 0, -1)
        if len(question_prompt(model.tokenizer, " ".join(words[:n]))) <= PROMPT_TOKENS
    )
    return " ".join(words[:count])
