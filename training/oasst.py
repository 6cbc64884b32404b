"""OASST1 prompts (OpenAssistant/oasst1, Apache-2.0): real user turns, split once by conversation tree."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal


def oasst_split(tree_id: str) -> Literal["train", "test"]:
    """The part of OASST1 that a conversation tree belongs to, the same for every stage of training and evaluation."""
    return "test" if int(hashlib.sha256(tree_id.encode()).hexdigest(), 16) % 2 else "train"


def load_oasst_prompts(path: str | Path) -> list[dict[str, Any]]:
    """
    Every prompt of a file of OASST1 messages with the assistant's message before it.

    Args:
        path (`str` or `Path`): JSONL with the upstream fields `message_id`, `parent_id`, `message_tree_id`, `role`, `text`.

    Returns:
        `list[dict]`: `{"agent", "user", "tree", "split"}` per prompt that holds text.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    messages = {message["message_id"]: message for message in map(json.loads, lines)}
    prompts = []
    for message in messages.values():
        if message["role"] == "prompter" and message["text"].strip():
            parent = messages.get(message["parent_id"])
            tree = message["message_tree_id"]
            prompts.append(
                {
                    "agent": parent["text"] if parent else "",
                    "user": message["text"],
                    "tree": tree,
                    "split": oasst_split(tree),
                }
            )
    return prompts
