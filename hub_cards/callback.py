"""Collects the facts of a training run while the Trainer goes through it."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .compute_facts import library_versions
from .facts import CardFacts, TrainingFacts
from .hardware import describe_hardware


class CardCallback(TrainerCallback):  # type: ignore[misc]
    """
    Fills `facts.measured.training` and the library versions of the run.

    Args:
        facts ([`CardFacts`]): Filled in place.
    """

    def __init__(self, facts: CardFacts) -> None:
        self.facts = facts
        self._started = 0.0
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note where the run begins."""
        self._started, self._first_step = time.perf_counter(), state.global_step

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what it came to."""
        # A run that went on from a checkpoint does not know how long the part before took.
        whole = self._first_step == 0
        losses = [row["loss"] for row in state.log_history if "loss" in row]
        self.facts.measured.training = TrainingFacts(
            steps=state.global_step,
            seconds=round(time.perf_counter() - self._started, 1) if whole else None,
            hardware=describe_hardware(args.device.type),
            seed=args.seed,
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            learning_rate=args.learning_rate,
            final_loss=losses[-1] if losses else None,
        )
        self.facts.computed.versions = library_versions()
