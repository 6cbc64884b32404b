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
from .teacher import add_teacher

_SHARD = 256


def select_conversations(recipe: Recipe, seed: int) -> list[dict[str, Any]]:
    """
    The conversations of a recipe, in an order that the seed fixes.

    Every preference comes once with its first answer before any comes again with its second.
    """
    rows = bank_conversations()
    bank, opposite = ([row for row in rows if row["source"] == source] for source in ("bank", "opposite"))
    rng = random.Random(seed)
    chosen = (bank[::2] + bank[1::2])[: recipe.data["bank"]] + rng.sample(opposite, recipe.data["opposite"])
    rng.shuffle(chosen)
    return chosen


def prepare_conversations(
    recipe: Recipe, lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, seed: int
) -> Dataset:
    """
    The recipe's conversations with the teacher's outputs, from `folder` where they are there already.

    They are written in parts of 256 rows, each whole or not at all: a killed run goes on where it was.

    Returns:
        [`~datasets.Dataset`] with the columns of [`add_teacher`].
    """
    rows = select_conversations(recipe, seed)
    place = folder / _key(recipe, rows, lm.name_or_path)
    place.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(rows), _SHARD):
        part = place / f"{start:06d}"
        if not part.is_dir():
            scratch = place / f".{start:06d}"
            shutil.rmtree(scratch, ignore_errors=True)
            dataset = add_teacher(Dataset.from_list(rows[start : start + _SHARD]), lm, tokenizer, **recipe.teacher)
            dataset.save_to_disk(scratch)
            scratch.rename(part)
        parts.append(load_from_disk(part))
    return concatenate_datasets(parts)


def _key(recipe: Recipe, rows: list[dict[str, Any]], lm: str) -> str:
    content = json.dumps([recipe.teacher, rows, lm], sort_keys=True)
    return f"teacher-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
