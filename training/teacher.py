"""What the student learns from: the same frozen LM, reading the relevant preference as text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .text_forms import question_prompt, reminder_prompt

TOP_K = 48


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, max_answer_tokens: int) -> list[int]:
    """An answer's tokens, with the end of the turn if it is not cut."""
    ids: list[int] = tokenizer(answer.strip(), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, int(tokenizer.eos_token_id)][:max_answer_tokens]


def add_teacher(
    dataset: Dataset,
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    strength: float,
    max_answer_tokens: int,
    batch_size: int = 16,
) -> Dataset:
    """
    Add the teacher's distribution over each answer's tokens, its `TOP_K` likeliest, as `datasets` columns.

    The teacher is the LM reading the preference with a reminder, guided beyond it:
    `log p = (1 + strength) log p(. | preference, question) - strength log p(. | question)`, renormalised (context
    distillation, Snell et al. 2022, with classifier-free guidance).

    Args:
        dataset: Columns `statement`, `question`, `answer`.
        lm, tokenizer: The frozen LM.
        strength (`float`): Guidance; 0 is plain context distillation.
        max_answer_tokens (`int`): Answers are cut there.
        batch_size (`int`): Rows per forward pass.

    Returns:
        The dataset with `answer_ids` (int32), `teacher_ids` (int32) and `teacher_logits` (float32 log-probabilities),
        the last two `(answer_length * TOP_K)` flat, and cached on disk by `datasets`.
    """

    @torch.inference_mode()
    def annotate(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        answers = [answer_ids(tokenizer, a, max_answer_tokens) for a in batch["answer"]]
        stated = zip(batch["statement"], batch["question"], strict=True)
        prompts = [reminder_prompt(tokenizer, [statement], question) for statement, question in stated]
        read = _log_probs(lm, tokenizer, prompts, answers)
        if strength:
            bare_prompts = [question_prompt(tokenizer, q) for q in batch["question"]]
            bare = _log_probs(lm, tokenizer, bare_prompts, answers)
            read = [(r + strength * (r - b)).log_softmax(-1) for r, b in zip(read, bare, strict=True)]
        top = [row.topk(TOP_K, dim=-1) for row in read]
        return {
            "answer_ids": list(answers),
            "teacher_ids": [t.indices.flatten().int().tolist() for t in top],
            "teacher_logits": [t.values.flatten().tolist() for t in top],
        }

    return dataset.map(annotate, batched=True, batch_size=batch_size, desc="caching the teacher's outputs")


def _log_probs(
    lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], answers: list[list[int]]
) -> list[torch.Tensor]:
    """Log-probabilities `(answer_length, vocabulary)` of each answer's tokens after its prompt."""
    rows = [p + a for p, a in zip(prompts, answers, strict=True)]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    keep = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    for r, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        keep[r, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    logits = lm(**batch, logits_to_keep=keep, use_cache=False).logits
    logits = F.log_softmax(logits.view(-1, logits.shape[-1]).float(), dim=-1)
    return list(torch.split(logits, [len(a) for a in answers]))
