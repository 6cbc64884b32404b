"""A training step of the memory against one of PEFT's prompt tuning: same LM, rows and number of soft tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PromptTuningConfig, TaskType, get_peft_model
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.resolve import load_language_model

from .bank import load_bank
from .benchmark_timing import Call
from .collator import MemoryCollator
from .conversations import bank_conversations
from .objective import memory_objective
from .recipe import load_recipe
from .teacher import add_teacher
from .text_forms import question_prompt

BATCH_SIZE = 8
NUM_BATCHES = 4


class TrainingCosts:
    """
    A step is collation, forward, backward and AdamW's update. The memory's collation encodes the turns that are
    written; the teacher's outputs are cached in training, so they are made before. Prompt tuning is PEFT's own, with
    next-token loss on the same answers.

    The steps change the weights of `model`'s memory.

    Args:
        model ([`PrefLSTMForCausalLM`]): LM and memory.
    """

    def __init__(self, model: PrefLSTMForCausalLM) -> None:
        self.model, config, recipe = model, model.memory_config, load_recipe("default")
        bank = load_bank()
        by_hand = [row for row in bank_conversations(bank) if row["answer"]]
        rows = Dataset.from_list(by_hand[: BATCH_SIZE * NUM_BATCHES])
        with model.disable_memory():
            rows = add_teacher(rows, model.language_model, model.tokenizer, **recipe.teacher)
        self.rows = [{**row, "index": i} for i, row in enumerate(rows)]
        self.collator = MemoryCollator(
            model.tokenizer,
            model.encoder,
            bank.preferences,
            int(config.memory_token_id or 0),
            config.num_soft_tokens,
            recipe.data["num_turns"],
        )
        model.memory.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(model.memory.parameters())
        lm, _ = load_language_model(config.base_model_name_or_path)
        prompt = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=config.num_soft_tokens)
        self.tuned = get_peft_model(lm, prompt)
        self.tuned_optimizer = torch.optim.AdamW([p for p in self.tuned.parameters() if p.requires_grad])

    def calls(self) -> dict[str, Call]:
        """`memory` and `prompt tuning`: one step each, on the round's batch."""
        return {"memory": self.memory_step, "prompt tuning": self.prompt_tuning_step}

    def memory_step(self, i: int) -> float:
        """Returns the loss."""
        batch = self.collator(self._batch(i))
        terms = self.model(memory_objective=lambda tuner: memory_objective(tuner, batch))
        return _step(terms["distill"], self.optimizer)

    def prompt_tuning_step(self, i: int) -> float:
        """Returns the loss."""
        prompts, answers = [], []
        for row in self._batch(i):
            prompts.append(question_prompt(self.model.tokenizer, row["question"]))
            answers.append(row["answer_ids"])
        ids = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        batch = self.model.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        labels = torch.full_like(batch["input_ids"], -100)
        for r, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            labels[r, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        return _step(self.tuned(**batch, labels=labels).loss, self.tuned_optimizer)

    def _batch(self, i: int) -> Sequence[dict[str, Any]]:
        start = BATCH_SIZE * (i % NUM_BATCHES)
        return self.rows[start : start + BATCH_SIZE]


def _step(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()
