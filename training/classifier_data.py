"""The classifier's training and validation turns: synthetic, from the bank, hand-written, out of real chats."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from .alpsbench import load_alpsbench
from .bank import load_bank
from .bank_turns import load_bank_turns
from .derived_turns import derived_negatives, inside_prompts
from .oasst import load_oasst_prompts
from .synthesize_turns import synthesize_turns
from .turn_grammar import CASUAL_SHARE, read_packaged
from .turn_style import make_casual

# Hand-written examples and real prompts are few: each counts this often.
RARE_WEIGHT = 3.0
IN_CONVERSATION_SHARE = 0.15
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
        [`~datasets.DatasetDict`]: Columns `agent`, `user`, `labels` (0/1), `weight` (float), `noisy` (bool, where
        labels were not given by hand), `source`. One in five trees, sessions and hand-written examples is
        validation data.
    """
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}

    def add(split: str, source: str, turn: dict[str, Any], weight: float = 1.0) -> None:
        rows[split].append(
            {
                "agent": turn["agent"],
                "user": turn["user"],
                "labels": turn["preference"],
                "weight": weight,
                "noisy": source == "alpsbench",
                "source": source,
            }
        )

    synthetic = synthesize_turns(seed=seed)
    for split in rows:
        for turn in synthetic[split]:
            add(split, "synthetic", turn)
    rng = random.Random(f"{seed}-casual")
    bank = load_bank_turns()
    answers = [answer for preference in load_bank()[0] for answer in preference.answers]
    for turn in bank:
        if turn["split"] in rows:
            # Somewhere in a conversation, so that an agent's line says nothing about the label.
            said = rng.choice(answers) if not turn["agent"] and rng.random() < IN_CONVERSATION_SHARE else turn["agent"]
            add(turn["split"], turn["family"], {**_maybe_casual(turn, rng), "agent": said})
    for turn in hand_written_examples():
        # Replies to one line of the agent's stay together.
        split = _inner_split(turn["agent"] or turn["user"])
        add(split, f"hand_written_{turn['preference']}", turn, RARE_WEIGHT)
        if split == "train":
            add(split, f"hand_written_{turn['preference']}", {**turn, "user": make_casual(turn["user"], rng)})
    prompts = [turn for turn in load_oasst_prompts(oasst) if turn["split"] == "train"] if oasst is not None else []
    for turn in prompts:
        add(_inner_split(turn["tree"]), "oasst", {**turn, "preference": 0}, RARE_WEIGHT)
    for split in rows:
        part = [turn for turn in bank if turn["split"] == split]
        for turn in derived_negatives(part, seed):
            add(split, "bank_negative", _maybe_casual(turn, rng))
        for turn in inside_prompts(part, [turn for turn in prompts if _inner_split(turn["tree"]) == split], seed):
            add(split, "bank_inside_prompt", turn)
    for turn in load_alpsbench(alpsbench) if alpsbench is not None else []:
        if turn["split"] == "train" and len(turn["user"]) <= MAX_ALPSBENCH_CHARACTERS:
            weight = alpsbench_weight * (4.0 if turn["preference"] else 1.0)
            add(_inner_split(turn["session"]), "alpsbench", turn, weight)
    return DatasetDict({split: Dataset.from_list(part) for split, part in rows.items()})


def _inner_split(group: str) -> str:
    """Validation for one group in five, independent of the split into training and test groups."""
    return "validation" if int(hashlib.sha256(f"inner-{group}".encode()).hexdigest(), 16) % 5 == 0 else "train"


def _maybe_casual(turn: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {**turn, "user": make_casual(turn["user"], rng)} if rng.random() < CASUAL_SHARE else turn


def hand_written_examples() -> list[dict[str, Any]]:
    """
    Hand-written turns, most of them in pairs of similar words of which one reveals a preference and the other doesn't:
    `{"agent", "user", "preference"}`.
    """
    return read_packaged("turn_examples.jsonl")
