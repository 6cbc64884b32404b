"""The ways to give an LM what its user has stated before, all asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pref_lstm.modeling.turn import Turn
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerBase

from .history_writer import HistoryWriter
from .likelihood import Reading
from .prefeval_plan import Case
from .text_forms import prefix_prompt, question_prompt, reminder_prompt

TEXT_METHODS = ("none", "text", "reminder", "text_all", "text_truncated", "retrieval_top1", "retrieval_top5")
ADAPTER_METHODS = ("soft_prompt", "one_vector", "paper")
METHODS = (*TEXT_METHODS, *ADAPTER_METHODS, "oracle", "memory")


class TextReader:
    """
    Text instead of a memory.

    * `none`: the question alone. `text`: the relevant preference before the chat prompt. `reminder`: the relevant
      preference inside the user's turn, with a reminder.
    * `text_all`: all stored preferences before the chat prompt. `text_truncated`: their first `num_tokens` tokens.
    * `retrieval_top1`, `retrieval_top5`: the nearest stored preferences by cosine of sentence vectors, as a reminder.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The LM's.
        retriever ([`~sentence_transformers.SentenceTransformer`]): Finds preferences for a question.
        num_tokens (`int`): As many as the memory has soft tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, retriever: SentenceTransformer, num_tokens: int) -> None:
        self.tokenizer, self.retriever, self.num_tokens = tokenizer, retriever, num_tokens
        self._vectors: dict[str, torch.Tensor] = {}

    def readings(self, method: str, cases: Sequence[Case]) -> list[Reading]:
        """What the LM reads for each case under one of `TEXT_METHODS`."""
        if method.startswith("retrieval"):
            self._embed([text for case in cases for text in (case.item.question, *_preferences(case))])
        return [self._reading(method, case) for case in cases]

    def _reading(self, method: str, case: Case) -> Reading:
        question, stored = case.item.question, _preferences(case)
        bare = question_prompt(self.tokenizer, question)
        if method == "none":
            prompt = bare
        elif method == "text":
            prompt = prefix_prompt(self.tokenizer, [stored[case.place]], question)
        elif method == "reminder":
            prompt = reminder_prompt(self.tokenizer, [stored[case.place]], question)
        elif method == "text_all":
            prompt = prefix_prompt(self.tokenizer, stored, question)
        elif method == "text_truncated":
            whole = prefix_prompt(self.tokenizer, stored, question)
            prompt = whole[: len(whole) - len(bare)][: self.num_tokens] + bare
        else:
            count = 1 if method == "retrieval_top1" else 5
            prompt = reminder_prompt(self.tokenizer, self._nearest(question, stored, count), question)
        return Reading(prompt, len(prompt) - len(bare))

    def _nearest(self, question: str, stored: Sequence[str], count: int) -> list[str]:
        scores = torch.stack([self._vectors[text] for text in stored]) @ self._vectors[question]
        return [stored[i] for i in scores.argsort(descending=True, stable=True)[:count].tolist()]

    def _embed(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = self.retriever.encode(
                new, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
            )
            self._vectors |= dict(zip(new, vectors.cpu(), strict=True))


def _preferences(case: Case) -> list[str]:
    return [item.preference for item in case.stored]


class MemoryReader:
    """
    A memory that has taken in everything the user stated.

    Args:
        writer ([`HistoryWriter`]): Memory, encoder and detector.
        statements: For each question's `(topic, question)`, the turns in which its preference was stated.
        unrelated (`Sequence[Turn]`): Turns that may stand between the statements and the question.
    """

    def __init__(
        self,
        writer: HistoryWriter,
        statements: Mapping[tuple[str, str], Sequence[Turn]],
        unrelated: Sequence[Turn] = (),
    ) -> None:
        self.writer, self.statements, self.unrelated = writer, statements, unrelated

    def readings(
        self, cases: Sequence[Case], num_turns: int = 0, judge_statements: bool = False, judge_turns: bool = True
    ) -> list[Reading]:
        """
        What the LM reads for each case.

        Args:
            cases (`Sequence[Case]`): The questions.
            num_turns (`int`, defaults to 0): Unrelated turns after the statements; each user's begin elsewhere.
            judge_statements (`bool`, defaults to `False`): Whether the detector may leave statements out.
            judge_turns (`bool`, defaults to `True`): Whether it may leave unrelated turns out.
        """
        histories = []
        for case in cases:
            stated = [t for item in case.stored for t in self.statements[item.topic, item.question]]
            start = int(case.between * len(self.unrelated))
            between = [self.unrelated[(start + i) % len(self.unrelated)] for i in range(num_turns)]
            if judge_statements:
                stated = self.writer.let_in(stated)
            if judge_turns and between:
                between = self.writer.let_in(between)
            histories.append([*stated, *between])
        return self.writer.readings(histories, [case.item.question for case in cases])
