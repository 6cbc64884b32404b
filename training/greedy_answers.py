"""Greedy answers of the frozen LM, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .likelihood import AnswerScorer, Reading, readout_of


@torch.inference_mode()
def greedy_answers(
    scorer: AnswerScorer, readings: Sequence[Reading], max_new_tokens: int, batch_size: int = 16
) -> list[list[int]]:
    """
    What the LM says after each reading, as token ids without the end of the turn.

    Args:
        scorer ([`AnswerScorer`]): Its model answers, its cache keeps the answers.
        readings (`Sequence[Reading]`): What is read.
        max_new_tokens (`int`): Answers are cut there.
        batch_size (`int`, defaults to 16): Answers at a time.
    """
    model, cache = scorer.model, scorer.cache
    tokenizer = scorer.tokenizer
    keys = [scorer.key(f"greedy {max_new_tokens}", reading) for reading in readings]
    due = {key: reading for key, reading in zip(keys, readings, strict=True) if key not in cache}
    names = sorted(due, key=lambda key: (due[key].soft_tokens is not None, len(due[key].prompt)))
    done = 0
    while done < len(names):
        is_soft = due[names[done]].soft_tokens is not None
        batch = [n for n in names[done : done + batch_size] if (due[n].soft_tokens is not None) == is_soft]
        rows = [due[name] for name in batch]
        ids = tokenizer.pad({"input_ids": [r.prompt for r in rows]}, padding_side="left", return_tensors="pt")
        out = model.generate(
            **ids.to(model.device), **readout_of(rows), max_new_tokens=max_new_tokens, do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        new = out[:, ids["input_ids"].shape[1] :].tolist()
        cache.put({name: _until_end(row, tokenizer.all_special_ids) for name, row in zip(batch, new, strict=True)})
        done += len(batch)
        scorer.on_batch(done, len(names))
    return [cache[key] for key in keys]


def _until_end(ids: list[int], special: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in special), len(ids))
    return ids[:end]
