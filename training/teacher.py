"""What the student learns from: the same frozen LM, reading the relevant preference as text where it matters."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from pref_lstm.modeling.text_tokenizer import tokenize_text
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .greedy_answers import greedy_answers
from .likelihood import AnswerScorer, Reading
from .text_forms import question_prompt, reminder_prompt

# To be raised with any change of what is computed here: cached outputs of an earlier one are not used then.
TEACHER_VERSION = 2
TOP_K = 48
# Where an answer of the LM itself begins is what it shows; its whole lists would be repetition.
_MAX_OWN_TOKENS = 40
_NUM_EARLY = 32


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, max_answer_tokens: int) -> list[int]:
    """An answer's tokens, with the end of the turn if it is not cut."""
    ids: list[int] = tokenize_text(tokenizer, answer.strip())["input_ids"]
    return [*ids, int(tokenizer.eos_token_id)][:max_answer_tokens]


def add_teacher(
    dataset: Dataset,
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    strength: float,
    max_answer_tokens: int,
    late_strength: float | None = None,
    bf16: bool = False,
    batch_size: int = 16,
) -> Dataset:
    """
    Add the teacher's distribution over each answer's tokens, its `TOP_K` likeliest, as `datasets` columns.

    The teacher is the LM reading the preference with a reminder, guided beyond it:
    `log p = (1 + strength) log p(. | preference, question) - strength log p(. | question)`, renormalised (context
    distillation, Snell et al. 2022, with classifier-free guidance). Of the first `num_bare_tokens` it is the bare LM,
    which reads the question alone.

    Args:
        dataset: Columns `statement`, `question`, `answer` (empty: the bare LM's own, greedy),
            `num_bare_tokens`.
        lm, tokenizer: The frozen LM.
        strength (`float`): Guidance; 0 is plain context distillation.
        max_answer_tokens (`int`): Answers are cut there.
        late_strength (`float`, *optional*): Guidance from an answer's 33rd token on, where the preference has been
            taken up and more of it costs likelihood; as before it by default.
        bf16 (`bool`, defaults to `False`): Autocast the LM, but for its own answers.
        batch_size (`int`, defaults to 16): Rows per forward pass.

    Returns:
        The dataset with `answer_ids`, `teacher_ids` and `teacher_logits` (log-probabilities), lists of numbers; the
        last two are `(answer_length * TOP_K)` flat.
    """
    scorer = AnswerScorer(lm, tokenizer, bf16=bf16)
    # As a float: of whole numbers' tensor the late ones would lose what is after the point.
    guidance = torch.full((max_answer_tokens, 1), float(strength))
    guidance[_NUM_EARLY:] = strength if late_strength is None else late_strength

    def bare_reading(question: str) -> Reading:
        return Reading(question_prompt(tokenizer, question), 0)

    # All at once: a step of generation costs nearly the same for few rows and for many.
    asked = sorted({row["question"] for row in dataset if not row["answer"]})
    said = greedy_answers(scorer, [bare_reading(question) for question in asked], _MAX_OWN_TOKENS, 64)
    # An answer that ended by itself teaches to end there.
    end = [int(tokenizer.eos_token_id)]
    own = {q: ids if len(ids) == _MAX_OWN_TOKENS else ids + end for q, ids in zip(asked, said, strict=True)}

    def annotate(batch: dict[str, list[Any]]) -> dict[str, list[object]]:
        answers = [
            answer_ids(tokenizer, answer, max_answer_tokens) if answer else own[question][:max_answer_tokens]
            for answer, question in zip(batch["answer"], batch["question"], strict=True)
        ]
        bare_readings = [bare_reading(question) for question in batch["question"]]
        stated = zip(batch["statement"], batch["question"], strict=True)
        readings = [Reading(reminder_prompt(tokenizer, [statement], question), 0) for statement, question in stated]
        read, bare = scorer.answer_logits(readings, answers), scorer.answer_logits(bare_readings, answers)
        top = [
            _likeliest(torch.cat([b[:n], (r + guidance[: len(r)].to(r.device) * (r - b))[n:]]))
            for r, b, n in zip(read, bare, batch["num_bare_tokens"], strict=True)
        ]
        return {
            "answer_ids": list(answers),
            "teacher_ids": [ids.flatten().int().tolist() for ids, _ in top],
            "teacher_logits": [values.flatten().tolist() for _, values in top],
        }

    return dataset.map(annotate, batched=True, batch_size=batch_size, desc="caching the teacher's outputs")


def _likeliest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids of each row's `TOP_K` likeliest tokens, and their log-probabilities."""
    values, ids = logits.topk(TOP_K, dim=-1)
    return ids, values - logits.logsumexp(dim=-1, keepdim=True)
