"""The last stage of memory training: answers as the LM gives them when it reads what matters as text."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, concatenate_datasets
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from transformers import TrainerCallback

from .arguments import MemoryTrainingArguments
from .bank import Bank
from .collator import MemoryCollator
from .recipe import Recipe
from .resume import train_from_last
from .trainer import MemoryTrainer


def train_answers(
    model: PrefLSTMForCausalLM,
    conversations: Dataset,
    bank: Bank,
    recipe: Recipe,
    arguments: MemoryTrainingArguments,
    callback: TrainerCallback,
) -> dict[str, Any]:
    """
    Train what earlier stages left trainable, by [`memory_objective`].

    It goes on from the last checkpoint of `arguments.output_dir`, if there is one.

    Returns:
        `dict`: For the report: `seconds`, `steps`, `log`.
    """
    config = model.memory_config
    collator = MemoryCollator(
        model.tokenizer,
        model.encoder,
        bank.preferences,
        int(config.memory_token_id or 0),
        config.num_soft_tokens,
        recipe.data["num_turns"],
    )
    trainer = MemoryTrainer(
        model=model.language_model,
        args=arguments,
        train_dataset=repeated(conversations, recipe.data["epochs"]),
        data_collator=collator,
        callbacks=[callback],
    )
    seconds = train_from_last(trainer)["train_runtime"]
    log = [row for row in trainer.state.log_history if "loss" in row]
    return {"seconds": seconds, "steps": trainer.state.global_step, "log": log}


def repeated(dataset: Dataset, epochs: int) -> Dataset:
    """The dataset `epochs` times over, each row with an `index` of its own: other turns are drawn for it each time."""
    whole = concatenate_datasets([dataset] * epochs)
    return whole.add_column("index", list(range(len(whole))))
