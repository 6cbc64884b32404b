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

from .bank import Bank
from .conversations import bank_conversations
from .recipe import Recipe
from .score_cache import lm_fingerprint
from .teacher import TEACHER_VERSION, add_teacher

_SHARD = 128


def select_conversations(recipe: Recipe, bank: Bank, seed: int) -> list[dict[str, Any]]:
    """
    Conversations in the bank's order: of each source as many as the recipe says, chosen by the seed.

    Raises:
        ValueError: if the bank has fewer.
    """
    rows = bank_conversations(bank)
    rng = random.Random(seed)
    chosen: set[int] = set()
    for source, count in recipe.data["conversations"].items():
        there = [i for i, row in enumerate(rows) if row["source"] == source]
        if count > len(there):
            raise ValueError(
                f"The recipe takes {count} conversations of the source '{source}', the bank has {len(there)}. Write a "
                "smaller count into the recipe, or give a larger bank."
            )
        chosen |= set(rng.sample(there, count))
    return [row for i, row in enumerate(rows) if i in chosen]


def prepare_conversations(
    rows: list[dict[str, Any]],
    recipe: Recipe,
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    bf16: bool = False,
) -> Dataset:
    """
    Conversations with what the recipe's teacher says, from `folder` where it is there already.

    They are written in parts of 128 rows, each whole or not at all: a killed run goes on where it was, and a bank that
    has grown keeps the parts that stayed the same.

    Returns:
        [`~datasets.Dataset`] with the columns of [`add_teacher`].
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(rows), _SHARD):
        shard = rows[start : start + _SHARD]
        part = folder / _key(recipe, shard, lm, bf16)
        if not part.is_dir():
            scratch = folder / f".{part.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            dataset = add_teacher(Dataset.from_list(shard), lm, tokenizer, **recipe.teacher, bf16=bf16)
            dataset.save_to_disk(scratch)
            scratch.rename(part)
        parts.append(load_from_disk(part))
    return concatenate_datasets(parts)


def _key(recipe: Recipe, rows: list[dict[str, Any]], lm: PreTrainedModel, bf16: bool) -> str:
    content = json.dumps([TEACHER_VERSION, recipe.teacher, rows, lm_fingerprint(lm), bf16], sort_keys=True)
    return f"teacher-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
