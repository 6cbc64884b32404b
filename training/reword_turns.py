"""Lets an instruct LM reword synthesized turns: more variety than a grammar has, filtered, in batches, resumable."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from datasets import Dataset
from pref_lstm.modeling.resolve import load_language_model
from transformers.utils import logging

_PROMPT = (
    "Reword the user's message. Keep its meaning, keep who likes or does what, keep its tone, keep it about as long. "
    "Write only the new message.\n\nMessage: {user}"
)
_REFUSAL = re.compile(
    r"\b(as an ai|language model|i cannot|i'm sorry|here is|here's|reworded|message:|new message)", re.IGNORECASE
)
_FIRST_PERSON = re.compile(r"\b(i|i'm|im|i've|i'd|i'll|me|my|mine|we|our|us)\b", re.IGNORECASE)
_MAX_NEW_TOKENS = 64


def load_generator(name: str) -> Any:
    """
    A text-generation pipeline of the instruct LM `name` (hub id or folder), set up for batches. Out of the Hub's reach
    the default LM is taken from its installed package.
    """
    from transformers import pipeline

    lm, tokenizer = load_language_model(name)
    generator = pipeline("text-generation", model=lm, tokenizer=tokenizer)
    generator.tokenizer.padding_side = "left"
    if generator.tokenizer.pad_token is None:
        generator.tokenizer.pad_token = generator.tokenizer.eos_token
    return generator


def is_usable(original: str, reworded: str) -> bool:
    """
    Whether a rewording can stand for the original: one line, of similar length, no refusal or preamble, other words and
    not just other case or punctuation, speaking of its writer if and only if the original does (the label hangs on
    it), and sharing at least one content word (four letters or more), so that it still speaks of the same thing.
    """
    before, after = (re.findall(r"\w+", text.lower()) for text in (original, reworded))
    content = {word for word in before if len(word) >= 4}
    return (
        before != after
        and "\n" not in reworded
        and 0.4 <= len(reworded) / len(original) <= 2.5
        and not _REFUSAL.search(reworded)
        and bool(_FIRST_PERSON.search(original)) == bool(_FIRST_PERSON.search(reworded))
        and (not content or bool(content & set(after)))
    )


def reword_turns(turns: Dataset, generator: Any, progress: Path, batch_size: int = 16) -> Dataset:
    """
    Rewords the user's message of each turn where the LM's words pass [`is_usable`]; the others stay as they are.

    Args:
        turns ([`~datasets.Dataset`]): With a column `user`.
        generator: A text-generation pipeline, as [`load_generator`] gives it.
        progress (`Path`): JSONL file that takes each batch as it is done; what it holds already is not done again.
        batch_size (`int`, *optional*, defaults to 16): Messages in one call of the pipeline.

    Returns:
        [`~datasets.Dataset`]: The turns with the new messages and a column `reworded` (bool).

    Raises:
        ValueError: if `progress` was written for other turns.
    """
    messages = turns["user"][:]
    done = [json.loads(line) for line in progress.read_text("utf-8").splitlines()] if progress.exists() else []
    if [row["original"] for row in done] != messages[: len(done)]:
        raise ValueError(
            f"`{progress.name}` holds {len(done)} rewordings of other turns. "
            "Delete it, or ask for the same turns (numbers and seed) again."
        )
    with progress.open("a", encoding="utf-8") as file:
        for start in logging.tqdm(range(len(done), len(messages), batch_size), desc="rewording", unit="batch"):
            batch = messages[start : start + batch_size]
            chats = [[{"role": "user", "content": _PROMPT.format(user=message)}] for message in batch]
            outputs = generator(
                chats, batch_size=batch_size, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False, return_full_text=False
            )
            for original, output in zip(batch, outputs, strict=True):
                text = output[0]["generated_text"].strip().strip('"').strip()
                row = {"original": original, "user": text if is_usable(original, text) else original}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                done.append(row)
            file.flush()
    return (
        turns.remove_columns("user")
        .add_column("user", [row["user"] for row in done])
        .add_column("reworded", [row["user"] != row["original"] for row in done])
    )
