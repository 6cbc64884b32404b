"""Turns made of the bank's statements and questions: quoted, answered past, or set inside real prompts."""

from __future__ import annotations

import random
from typing import Any

from .bank_turns import STATEMENTS
from .turn_grammar import read_packaged

QUOTED_SHARE = 0.18
ANSWERED_SHARE = 0.7
MAX_PROMPT_CHARACTERS = 300


def derived_negatives(bank: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """
    Negatives out of the bank's own words: a share of its statements quoted or put in somebody else's mouth, and its
    agent lines answered neutrally, so that neither the words nor the agent's line alone give the label away.
    """
    rng = random.Random(seed)
    frames = {frame["kind"]: frame["texts"] for frame in read_packaged("turn_frames.jsonl")}
    negatives = []
    for turn in bank:
        slots = {"person": rng.choice(frames["person"]), "character": rng.choice(frames["character"])}
        if turn["family"] in {f"bank_{kind}" for kind in STATEMENTS} and rng.random() < QUOTED_SHARE:
            said = turn["user"].rstrip(".") if rng.random() < 0.5 else turn["user"]
            user = rng.choice(frames["quote"]).format(said=said, **slots)
            negatives.append({"agent": "", "user": user, "preference": 0})
        if turn["agent"] and turn["preference"] and rng.random() < ANSWERED_SHARE:
            user = rng.choice(frames["neutral"]).format(**slots)
            negatives.append({"agent": turn["agent"], "user": user, "preference": 0})
    return negatives


def inside_prompts(bank: list[dict[str, Any]], prompts: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """
    Each short real prompt twice: with a statement of the bank before or after it (1), and with a question (0). So the
    classifier learns to find one revealing sentence in a longer message about something else.
    """
    rng = random.Random(seed)
    said = {
        label: [turn["user"] for turn in bank if turn["preference"] == label and not turn["agent"]] for label in (0, 1)
    }
    turns = []
    for prompt in prompts:
        if len(prompt["user"]) <= MAX_PROMPT_CHARACTERS:
            for label, sentences in said.items():
                parts = [prompt["user"].strip(), rng.choice(sentences)]
                rng.shuffle(parts)
                turns.append(
                    {"agent": prompt["agent"], "user": rng.choice([" ", "\n"]).join(parts), "preference": label}
                )
    return turns
