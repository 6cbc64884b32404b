"""Writes the training conversations to a folder, and caches beside them what the teacher says."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_from_disk
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .conversations import bank_conversations
from .recipe import Recipe
from .teacher import add_teacher, answer_ids, opening_length

_SHARD = 128


def select_conversations(counts: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Conversations in the bank's order: of each source as many as `counts` says, chosen by the seed."""
    rows = bank_conversations()
    rng = random.Random(seed)
    chosen: set[int] = set()
    for source, count in counts.items():
        chosen |= set(rng.sample([i for i, row in enumerate(rows) if row["source"] == source], count))
    return [row for i, row in enumerate(rows) if i in chosen]


def prepare_conversations(
    recipe: Recipe, lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, seed: int
) -> Dataset:
    """
    The recipe's conversations with the teacher's outputs, from `folder` where they are there already.

    They are written in parts of 128 rows, each whole or not at all: a killed run goes on where it was, and a bank that
    has grown keeps the parts that stayed the same.

    Returns:
        [`~datasets.Dataset`] with the columns of [`add_teacher`]; those of the teacher are empty for conversations of
        which only the opening is learnt, and `answer_ids` hold just that.
    """
    openings = Dataset.from_list(select_conversations(recipe.data["openings"], seed))
    rows = select_conversations(recipe.data["distilled"], seed)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(rows), _SHARD):
        own = rows[start : start + _SHARD]
        part = folder / _key(recipe, own, lm.name_or_path)
        if not part.is_dir():
            scratch = folder / f".{part.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            dataset = add_teacher(Dataset.from_list(own), lm, tokenizer, **recipe.teacher)
            dataset.save_to_disk(scratch)
            scratch.rename(part)
        parts.append(load_from_disk(part))
    distilled = concatenate_datasets(parts)

    def add_opening(row: dict[str, Any]) -> dict[str, Any]:
        ids = answer_ids(tokenizer, row["answer"], recipe.teacher["max_answer_tokens"])
        return {"answer_ids": ids[: opening_length(tokenizer, ids)], "teacher_ids": [], "teacher_logits": []}

    return concatenate_datasets([distilled, openings.map(add_opening, features=distilled.features)])


def _key(recipe: Recipe, rows: list[dict[str, Any]], lm: str) -> str:
    content = json.dumps([recipe.teacher, rows, lm], sort_keys=True)
    return f"teacher-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
