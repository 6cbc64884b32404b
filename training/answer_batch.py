"""Prompts with their answers as tensors, split before the block of soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from .text_forms import memory_prompt


def answer_batch(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    answers: Sequence[Sequence[int]],
    memory_token_id: int,
    num_soft_tokens: int,
) -> dict[str, torch.Tensor]:
    """
    The tensors of [`answer_logits`].

    Returns:
        `prefix_ids` and `prefix_mask` `(batch, prefix)`, padded left: the prompt before the block of placeholders.
        `suffix_ids`, `suffix_mask` `(batch, suffix)`, padded right: the block, the rest of the prompt, the answer.
        `labels` `(batch, suffix)`: at the position that predicts it, each answer token, else -100.
    """
    prefixes, suffixes, labels = [], [], []
    for question, answer in zip(questions, answers, strict=True):
        ids = memory_prompt(tokenizer, question, memory_token_id, num_soft_tokens)
        block = ids.index(memory_token_id)
        prefixes.append(ids[:block])
        suffixes.append([*ids[block:], *answer])
        labels.append([-100] * (len(ids) - block - 1) + [*answer, -100])
    prefix = tokenizer.pad({"input_ids": prefixes}, padding_side="left", return_tensors="pt")
    suffix = tokenizer.pad({"input_ids": suffixes}, padding_side="right", return_tensors="pt")
    width = suffix["input_ids"].shape[1]
    return {
        "prefix_ids": prefix["input_ids"],
        "prefix_mask": prefix["attention_mask"],
        "suffix_ids": suffix["input_ids"],
        "suffix_mask": suffix["attention_mask"],
        "labels": torch.tensor([row + [-100] * (width - len(row)) for row in labels]),
    }
