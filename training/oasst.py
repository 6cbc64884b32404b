"""OASST1 prompts (OpenAssistant/oasst1, Apache-2.0): real user turns, split once by conversation tree."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pref_lstm.modeling.turn import Turn

from .json_lines import read_json_lines

_FIELDS = ("message_id", "parent_id", "message_tree_id", "role", "text")


def oasst_split(tree_id: str) -> Literal["train", "test"]:
    """The part of OASST1 that a conversation tree belongs to, the same for every stage of training and evaluation."""
    return "test" if int(hashlib.sha256(tree_id.encode()).hexdigest(), 16) % 2 else "train"


def load_oasst_prompts(path: str | Path) -> list[dict[str, Any]]:
    """
    Every prompt of a file of OASST1 messages with the assistant's message before it.

    Args:
        path (`str` or `Path`):
            JSONL with the upstream fields `message_id`, `parent_id`, `message_tree_id`, `role`, `text`.

    Returns:
        `list[dict]`: `{"agent", "user", "tree", "split"}` per prompt that holds text.
    """
    messages = {message["message_id"]: message for message in read_json_lines(path, _FIELDS)}
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


def load_oasst_threads(path: str | Path, split: Literal["train", "test"]) -> dict[str, list[Turn]]:
    """
    The longest conversation of every tree of one part.

    Args:
        path (`str` or `Path`): As for [`load_oasst_prompts`].
        split (`str`): `"train"` or `"test"`, see [`oasst_split`].

    Returns:
        `dict[str, list[Turn]]`: By tree, the user's turns in order.
    """
    messages = {message["message_id"]: message for message in read_json_lines(path, _FIELDS)}
    threads: dict[str, list[Turn]] = {}
    for message in messages.values():
        tree = message["message_tree_id"]
        if oasst_split(tree) != split:
            continue
        turns: list[Turn] = []
        current: dict[str, Any] | None = message
        while current is not None:
            parent = messages.get(current["parent_id"])
            if current["role"] == "prompter" and current["text"].strip():
                turns.insert(0, Turn(current["text"], parent["text"] if parent else ""))
            current = parent
        if turns and len(turns) > len(threads.get(tree, ())):
            threads[tree] = turns
    return threads


def load_oasst_pairs(path: str | Path, split: Literal["train", "test"]) -> list[dict[str, str]]:
    """
    The first prompt of every tree of one part, with its best-ranked reply.

    Args:
        path (`str` or `Path`): As for [`load_oasst_prompts`], with the field `rank`.
        split (`str`): `"train"` or `"test"`, see [`oasst_split`].

    Returns:
        `list[dict]`: `{"tree", "prompt", "reply"}`, in the file's order.
    """
    messages = read_json_lines(path, _FIELDS)
    replies: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message["parent_id"]:
            replies.setdefault(message["parent_id"], []).append(message)
    pairs = []
    for message in messages:
        answers = replies.get(message["message_id"], [])
        if message["parent_id"] is None and answers and oasst_split(message["message_tree_id"]) == split:
            best = min(answers, key=lambda m: (m.get("rank") is None, m.get("rank") or 0))
            pairs.append({"tree": message["message_tree_id"], "prompt": message["text"], "reply": best["text"]})
    return pairs
