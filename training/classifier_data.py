"""The classifier's training and validation turns: synthetic, from the bank, hand-written negatives, real chats."""

from __future__ import annotations

import hashlib
import json
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from .alpsbench import load_alpsbench
from .bank_turns import STATEMENTS, load_bank_turns
from .oasst import load_oasst_prompts
from .synthesize_turns import synthesize_turns

# Real negatives are few: each hand-written one and each OASST1 prompt counts this often.
REAL_NEGATIVE_WEIGHT = 3.0
# Longer AlpsBench messages are mostly pasted documents, whose labels are the noisiest.
MAX_ALPSBENCH_CHARACTERS = 400


def classifier_data(
    oasst: Path | None = None, alpsbench: Path | None = None, alpsbench_weight: float = 1.0, seed: int = 0
) -> DatasetDict:
    """
    Everything the shipped classifier learns from, as splits `train` and `validation`.

    Args:
        oasst (`Path`, *optional*): File of OASST1 messages; prompts of its training trees are negatives.
        alpsbench (`Path`, *optional*): File of AlpsBench turns; its training sessions are used.
        alpsbench_weight (`float`, *optional*, defaults to 1.0):
            Weight of an AlpsBench turn in the loss. Its positives count four times that: they are few.
        seed (`int`, *optional*, defaults to 0): Seed of the synthetic turns and of what is derived from the bank.

    Returns:
        [`~datasets.DatasetDict`]: Columns `agent`, `user`, `labels` (0/1), `weight` (float), `source`. One in five
        trees and sessions is validation data.
    """
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}

    def add(split: str, source: str, turn: dict[str, Any], weight: float = 1.0) -> None:
        rows[split].append(
            {
                "agent": turn["agent"],
                "user": turn["user"],
                "labels": turn["preference"],
                "weight": weight,
                "source": source,
            }
        )

    synthetic = synthesize_turns(seed=seed)
    for split in rows:
        for turn in synthetic[split]:
            add(split, "synthetic", turn)
    bank = load_bank_turns()
    for turn in bank:
        if turn["split"] in rows:
            add(turn["split"], turn["family"], turn)
    for split in rows:
        for turn in derived_negatives([turn for turn in bank if turn["split"] == split], seed):
            add(split, "bank_negative", turn)
    for turn in hand_written_negatives():
        add("train", "hand_written_negative", turn, REAL_NEGATIVE_WEIGHT)
    for turn in load_oasst_prompts(oasst) if oasst is not None else []:
        if turn["split"] == "train":
            add(_inner_split(turn["tree"]), "oasst", {**turn, "preference": 0}, REAL_NEGATIVE_WEIGHT)
    for turn in load_alpsbench(alpsbench) if alpsbench is not None else []:
        if turn["split"] == "train" and len(turn["user"]) <= MAX_ALPSBENCH_CHARACTERS:
            weight = alpsbench_weight * (4.0 if turn["preference"] else 1.0)
            add(_inner_split(turn["session"]), "alpsbench", turn, weight)
    return DatasetDict({split: Dataset.from_list(part) for split, part in rows.items()})


def _inner_split(group: str) -> str:
    """Validation for one group in five, independent of the split into training and test groups."""
    return "validation" if int(hashlib.sha256(f"inner-{group}".encode()).hexdigest(), 16) % 5 == 0 else "train"


def hand_written_negatives() -> list[dict[str, Any]]:
    """The hand-written turns that look like preferences and are none: `{"agent", "user", "preference": 0}`."""
    return _read("turn_negatives.jsonl")


def _read(name: str) -> list[dict[str, Any]]:
    text = (files("pref_lstm.training") / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def derived_negatives(bank: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """
    Negatives out of the bank's own words: a share of its statements quoted or put in somebody else's mouth, and its
    agent lines answered neutrally, so that neither the words nor the agent's line alone give the label away.
    """
    rng = random.Random(seed)
    frames = {frame["kind"]: frame["texts"] for frame in _read("turn_frames.jsonl")}
    negatives = []
    for turn in bank:
        slots = {"person": rng.choice(frames["person"]), "character": rng.choice(frames["character"])}
        if turn["family"] in {f"bank_{kind}" for kind in STATEMENTS} and rng.random() < 0.18:
            said = turn["user"].rstrip(".") if rng.random() < 0.5 else turn["user"]
            user = rng.choice(frames["quote"]).format(said=said, **slots)
            negatives.append({"agent": "", "user": user, "preference": 0})
        if turn["family"] == "bank_implicit" and rng.random() < 0.7:
            user = rng.choice(frames["neutral"]).format(**slots)
            negatives.append({"agent": turn["agent"], "user": user, "preference": 0})
    return negatives
