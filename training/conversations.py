"""Training conversations: what a user stated, what is asked later, and an answer that honours it."""

from __future__ import annotations

import random
from typing import Any

import torch
from datasets import Dataset
from rich.progress import track
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .bank import load_bank
from .oasst import load_oasst_pairs
from .openings import make_opening
from .text_forms import question_prompt, reminder_prompt


def bank_conversations() -> list[dict[str, Any]]:
    """
    One conversation for each hand-written answer.

    Returns:
        `list[dict]`: `topic`; `statement` (what the teacher reads); `forms` (turns that reveal it, of which one is
        written); `question`; `answer`; `source` (`bank` or `opposite`).
    """
    rows = []
    for p in load_bank()[0]:
        forms = [
            {"agent": "", "user": p.explicit},
            {"agent": "", "user": p.casual},
            {"agent": p.implicit_agent, "user": p.implicit_user},
        ]
        for question, answer in zip(p.questions, p.answers, strict=False):
            rows.append(_row(p.topic, p.explicit, forms, question, answer, "bank"))
        reverse = [{"agent": "", "user": p.opposite}]
        rows.append(_row(p.topic, p.opposite, reverse, p.questions[0], p.opposite_answer, "opposite"))
    return rows


def self_conversations(
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    strength: float,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """
    Answers by the frozen LM itself: an opening that takes the preference up, then the LM reading it as a reminder.

    The continuation is sampled with classifier-free guidance against the LM that has not read the preference
    (Ho & Salimans 2022; for text Sanchez et al. 2023, arXiv 2306.17806): an LM this small often forgets a reminder.

    Args:
        lm, tokenizer: The frozen LM.
        seed (`int`): Of openings and sampling.
        strength (`float`): Guidance beyond reading: logits are `reminder + strength * (reminder - question)`.
        max_new_tokens (`int`): Length of a continuation.
        batch_size (`int`): Continuations at a time.
        limit (`int`, *optional*): Only so many preferences, for a quick try.
    """
    rng = random.Random(seed)
    preferences = list(load_bank()[0])[:limit]
    openings = [make_opening(p, rng) for p in preferences]
    rows = []
    generator = torch.Generator().manual_seed(seed)
    for start in track(range(0, len(preferences), batch_size), description="writing answers"):
        batch = preferences[start : start + batch_size]
        begun = openings[start : start + batch_size]
        opened = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in begun]
        read = [
            reminder_prompt(tokenizer, [p.explicit], p.questions[2]) + o for p, o in zip(batch, opened, strict=True)
        ]
        bare = [question_prompt(tokenizer, p.questions[2]) + o for p, o in zip(batch, opened, strict=True)]
        texts = _guided(lm, tokenizer, read, bare, strength, max_new_tokens, generator)
        for p, opening, text in zip(batch, begun, texts, strict=True):
            forms = [{"agent": "", "user": p.explicit}, {"agent": "", "user": p.casual}]
            rows.append(_row(p.topic, p.explicit, forms, p.questions[2], opening + text, "self"))
    return rows


def unrelated_conversations(oasst_path: str, limit: int) -> list[dict[str, Any]]:
    """OASST1 prompts with their replies, for which no stored preference matters (`statement` is empty)."""
    pairs = load_oasst_pairs(oasst_path, "train")[:limit]
    return [_row("oasst", "", [], pair["prompt"][:600], pair["reply"], "oasst") for pair in pairs]


def conversations_dataset(rows: list[dict[str, Any]]) -> Dataset:
    """The rows as a `datasets.Dataset`."""
    return Dataset.from_list(rows)


def _row(
    topic: str, statement: str, forms: list[dict[str, str]], question: str, answer: str, source: str
) -> dict[str, Any]:
    return {
        "topic": topic,
        "statement": statement,
        "forms": forms,
        "question": question,
        "answer": answer,
        "source": source,
    }


@torch.inference_mode()
def _guided(
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    read: list[list[int]],
    bare: list[list[int]],
    strength: float,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[str]:
    """Sample continuations under guidance; both prompts of a row go through the LM in one batch."""
    batch = tokenizer.pad({"input_ids": read + bare}, padding_side="left", return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    out, cache, n = [], None, len(read)
    done = torch.zeros(n, dtype=torch.bool)
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(-1) - 1).clamp(0)[:, -ids.shape[1] :]
        step = lm(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1,
            use_cache=True,
        )  # fmt: skip
        cache = step.past_key_values
        with_text, without = step.logits[:, -1].log_softmax(-1).chunk(2)
        logits = with_text + strength * (with_text - without)
        # Nucleus sampling at a low temperature: greedy answers of a small LM repeat themselves.
        probs = (logits / 0.7).softmax(-1)
        top, index = probs.topk(20)
        top = top.masked_fill(top.cumsum(-1) - top > 0.9, 0.0)
        token = index.gather(1, torch.multinomial(top, 1, generator=generator)).squeeze(1)
        token = torch.where(done, tokenizer.pad_token_id, token)
        done |= token == tokenizer.eos_token_id
        out.append(token)
        if bool(done.all()):
            break
        ids = torch.cat([token, token])[:, None]
        mask = torch.cat([mask, mask.new_ones(2 * n, 1)], dim=1)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in torch.stack(out, dim=1)]
