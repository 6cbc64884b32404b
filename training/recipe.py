"""A recipe: all that a training run depends on beside the bank and the seed, in one small JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from pref_lstm.modeling.configuration_pref_memory import PrefMemoryConfig

from .arguments import (
    CategoryTrainingArguments,
    KeyTrainingArguments,
    MemoryTrainingArguments,
    RelationTrainingArguments,
    RetrievalTrainingArguments,
)

_PREFIX, _SUFFIX = "recipe_", ".json"
_ARGUMENTS = {
    "memory": PrefMemoryConfig,
    "training": MemoryTrainingArguments,
    "keys": KeyTrainingArguments,
    "retrieval": RetrievalTrainingArguments,
    "relations": RelationTrainingArguments,
    "reconstruction": MemoryTrainingArguments,
    "categories": CategoryTrainingArguments,
}
_NAMES = {part: {f.name for f in fields(kind)} for part, kind in _ARGUMENTS.items()} | {
    "teacher": {"strength", "late_strength", "max_answer_tokens"},
    "data": {"conversations", "epochs", "num_turns"},
}


@dataclass(frozen=True)
class Recipe:
    """
    One way to train a memory.

    Args:
        description (`str`): What it is, and what to know before using it.
        memory (`dict`): Arguments of [`PrefMemoryConfig`].
        training (`dict`): Arguments of [`MemoryTrainingArguments`].
        teacher (`dict`): `strength` (guidance beyond reading), `max_answer_tokens`, `late_strength` if it differs.
        data (`dict`): `conversations` (how many of each source of [`bank_conversations`]), `epochs`, `num_turns` (how
            many turns are written before the question; one of them is drawn per conversation).
        keys (`dict`): Arguments of [`KeyTrainingArguments`], where the memory has key layers.
        retrieval (`dict`): Arguments of [`RetrievalTrainingArguments`], where the cell is `slots`.
        relations (`dict`): Arguments of [`RelationTrainingArguments`], where the memory has relation layers.
        reconstruction (`dict`, *optional*): Arguments of [`MemoryTrainingArguments`] for a stage before the last one,
            whose answers say what was stated.
        categories (`dict`, *optional*): Arguments of [`CategoryTrainingArguments`]: the paper's stage. There are no
            conversations then, so no `training`, `teacher` and `data`.
    """

    description: str
    memory: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    retrieval: dict[str, Any] = field(default_factory=dict)
    relations: dict[str, Any] = field(default_factory=dict)
    reconstruction: dict[str, Any] = field(default_factory=dict)
    categories: dict[str, Any] | None = None

    def memory_config(self) -> PrefMemoryConfig:
        """A fresh adapter configuration."""
        return PrefMemoryConfig(**self.memory)


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    names = [file.name for file in files("pref_lstm.training").iterdir()]
    return sorted(n[len(_PREFIX) : -len(_SUFFIX)] for n in names if n.startswith(_PREFIX) and n.endswith(_SUFFIX))


def load_recipe(name: str) -> Recipe:
    """
    Load a shipped recipe by name, or one from a JSON file. A stage that the recipe does without may stand there as
    `null` or empty, as `dataclasses.asdict` leaves it.

    Raises:
        ValueError: if there is neither, or the file's keys are not those that its stages need.
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
    if not isinstance(content, dict) or not isinstance(content.get("memory"), dict):
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"The recipe '{name}' must be an object with an object `memory`, got {got}.")
    for part, values in content.items():
        # A name misspelt in a late stage would be found after the stages before it.
        if part in _NAMES and values is not None and not (isinstance(values, dict) and values.keys() <= _NAMES[part]):
            wrong = sorted(values.keys() - _NAMES[part]) if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"The recipe '{name}' must have an object of known names as `{part}`, got {wrong}.")
    expected = _expected_keys(content)
    stated = {name for name, part in content.items() if name in expected or part not in (None, {})}
    if stated != expected:
        raise ValueError(
            f"The recipe '{name}' must have the keys {sorted(expected)} for its `memory`, got {sorted(content)}."
        )
    recipe = Recipe(**{name: content[name] for name in stated})
    cell = recipe.memory_config().cell
    if recipe.categories is not None and cell not in ("pref_lstm", "lstm"):
        raise ValueError(
            f"The recipe '{name}' has the stage `categories`, which reads the state of a cell 'pref_lstm' or 'lstm', "
            f"got '{cell}'."
        )
    return recipe


def _expected_keys(content: dict[str, Any]) -> set[str]:
    """A recipe has what its stages need and no more."""
    config = PrefMemoryConfig(**content["memory"])
    keys = {"description", "memory"}
    keys |= {"categories"} if content.get("categories") is not None else {"training", "teacher", "data"}
    keys |= {"reconstruction"} if content.get("reconstruction") and "training" in keys else set()
    keys |= {"keys"} if config.num_key_layers else set()
    keys |= {"relations"} if config.num_relation_layers else set()
    return keys | ({"retrieval"} if config.cell == "slots" else set())
