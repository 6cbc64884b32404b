"""The most that K vectors could do: fitted by gradient to one preference and one question at a time."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import MemoryReadout
from pref_lstm.modeling.text_tokenizer import tokenize_text

from .answer_batch import answer_batch
from .greedy_answers import greedy_answers
from .likelihood import AnswerScorer, Reading
from .objective import answer_logits
from .prefeval_plan import Case
from .text_forms import memory_prompt, reminder_prompt

NUM_STEPS = 40
LEARNING_RATE = 1e-2
_ANSWER_TOKENS = 48
_BATCH_SIZE = 8


class Oracle:
    """
    Soft tokens distilled from the LM that reads the preference with a reminder, on its own greedy answer.

    They start from the embeddings of the preference's first words. What the answers that are scored say is never seen,
    so the oracle is bounded by the reminder it learns from; where it stays below, `num_soft_tokens` vectors or the LM
    are the limit, and not the memory's encoder.

    Args:
        model ([`PrefLSTMForCausalLM`]): The LM; its memory is not read.
        scorer ([`AnswerScorer`]): Of that model; its cache keeps what was fitted.
    """

    def __init__(self, model: PrefLSTMForCausalLM, scorer: AnswerScorer) -> None:
        self.scorer, self.tuner, self.device = scorer, model.tuner, model.device
        self.num_soft_tokens = model.memory_config.num_soft_tokens
        self.memory_token_id = int(model.memory_config.memory_token_id or 0)
        self.hidden_size = model.memory.hidden_size

    def readings(self, cases: Sequence[Case]) -> list[Reading]:
        """What the LM reads for each case: vectors fitted to the relevant preference, or to what stands in for it."""
        tokenizer, cache = self.scorer.tokenizer, self.scorer.cache
        stated = [case.stored[case.place].preference for case in cases]
        prompts = [reminder_prompt(tokenizer, [s], c.item.question) for s, c in zip(stated, cases, strict=True)]
        teachers = [Reading(prompt, len(prompt)) for prompt in prompts]
        kind = f"oracle {self.num_soft_tokens} {NUM_STEPS} {LEARNING_RATE}"
        keys = [self.scorer.key(kind, teacher) for teacher in teachers]
        due = [i for i, key in enumerate(keys) if key not in cache]
        for start in range(0, len(due), _BATCH_SIZE):
            batch = due[start : start + _BATCH_SIZE]
            questions = [cases[i].item.question for i in batch]
            fitted = self._fit([stated[i] for i in batch], questions, [teachers[i] for i in batch])
            cache.put({keys[i]: _to_text(soft) for i, soft in zip(batch, fitted, strict=True)})
            self.scorer.on_batch(start + len(batch), len(due))
        return [
            Reading(
                memory_prompt(tokenizer, case.item.question, self.memory_token_id, self.num_soft_tokens),
                self.num_soft_tokens,
                _from_text(cache[key]).view(self.num_soft_tokens, self.hidden_size).to(self.device),
            )
            for key, case in zip(keys, cases, strict=True)
        ]

    def _fit(self, stated: Sequence[str], questions: Sequence[str], teachers: Sequence[Reading]) -> torch.Tensor:
        """Soft tokens `(batch, num_soft_tokens, hidden)`."""
        answers = [
            a or [self.scorer.tokenizer.eos_token_id] for a in greedy_answers(self.scorer, teachers, _ANSWER_TOKENS)
        ]
        batch = self._batch(questions, answers)
        with torch.no_grad():
            target = torch.cat(self.scorer.answer_logits(teachers, answers)).log_softmax(-1)
            soft = torch.stack([self._start(text) for text in stated])
        soft.requires_grad_(True)
        optimizer = torch.optim.Adam([soft], lr=LEARNING_RATE)
        is_open = torch.ones(soft.shape[:2], dtype=torch.bool, device=soft.device)
        for step in range(NUM_STEPS):
            for group in optimizer.param_groups:  # linear decay
                group["lr"] = LEARNING_RATE * (1 - step / NUM_STEPS)
            readout = MemoryReadout(soft, is_open, torch.ones(len(soft), device=soft.device))
            logits, _ = answer_logits(self.tuner, batch, readout)
            loss = F.kl_div(logits.log_softmax(-1), target, reduction="batchmean", log_target=True)
            [soft.grad] = torch.autograd.grad(loss, [soft])
            optimizer.step()
        return soft.detach()

    def _start(self, text: str) -> torch.Tensor:
        """Embeddings of the text's first words, repeated to `num_soft_tokens`."""
        ids = tokenize_text(self.scorer.tokenizer, text)["input_ids"]
        ids = (ids * self.num_soft_tokens)[: self.num_soft_tokens]
        return self.tuner.embed(torch.tensor(ids)).float().clone()

    def _batch(self, questions: Sequence[str], answers: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """[`answer_batch`] on the memory's device."""
        tokenizer = self.scorer.tokenizer
        batch = answer_batch(tokenizer, questions, answers, self.memory_token_id, self.num_soft_tokens)
        return {name: value.to(self.device) for name, value in batch.items()}


def _to_text(soft: torch.Tensor) -> str:
    return base64.b64encode(soft.float().cpu().numpy().tobytes()).decode()


def _from_text(text: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.float32).copy())
