"""A recipe: all that a training run depends on beside the bank and the seed, in one small JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from pref_lstm.modeling.configuration_pref_memory import PrefMemoryConfig

_PREFIX, _SUFFIX = "recipe_", ".json"


@dataclass(frozen=True)
class Recipe:
    """
    One way to train a memory.

    Args:
        memory (`dict`): Arguments of [`PrefMemoryConfig`].
        training (`dict`): Arguments of [`MemoryTrainingArguments`].
        teacher (`dict`): `strength` (guidance beyond reading) and `max_answer_tokens`.
        data (`dict`): `distilled` and `openings` (how many conversations of each source of [`bank_conversations`] are
            distilled whole, and of how many more only the answer's opening is learnt), `epochs`, `num_turns` (how many
            turns are written before the question; one of them is drawn per conversation).
        keys (`dict`): Arguments of [`KeyTrainingArguments`]; read where the memory has key layers.
        retrieval (`dict`): Arguments of [`RetrievalTrainingArguments`]; read where the cell is `slots`.
    """

    memory: dict[str, Any]
    training: dict[str, Any]
    teacher: dict[str, Any]
    data: dict[str, Any]
    keys: dict[str, Any]
    retrieval: dict[str, Any]

    def memory_config(self) -> PrefMemoryConfig:
        """A fresh adapter configuration."""
        return PrefMemoryConfig(**self.memory)


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    names = [file.name for file in files("pref_lstm.training").iterdir()]
    return sorted(n[len(_PREFIX) : -len(_SUFFIX)] for n in names if n.startswith(_PREFIX) and n.endswith(_SUFFIX))


def load_recipe(name: str) -> Recipe:
    """
    Load a shipped recipe by name, or one from a JSON file.

    Raises:
        ValueError: if there is neither, or the file's keys are not those of [`Recipe`].
    """
    if name in recipe_names():
        text = (files("pref_lstm.training") / f"{_PREFIX}{name}{_SUFFIX}").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise ValueError(f"Expected a recipe's file or one of {recipe_names()}, got '{name}'.")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The recipe '{name}' must be JSON, but line {error.lineno} is not: {error.msg}.") from None
    expected = {field.name for field in fields(Recipe)}
    if not isinstance(content, dict) or content.keys() != expected:
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"The recipe '{name}' must have the keys {sorted(expected)}, got {got}.")
    return Recipe(**content)
