"""The HF Trainer with the memory's objective."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pref_lstm.modeling.peft_method import PrefMemoryModel
from transformers import Trainer

from .arguments import MemoryTrainingArguments
from .objective import memory_objective

Objective = Callable[[PrefMemoryModel, Mapping[str, Any]], dict[str, torch.Tensor]]


class MemoryTrainer(Trainer):  # type: ignore[misc]
    """
    Trains the memory of a `PeftModel`; the LM stays as it is.

    Checkpoints are adapter folders; a resumed run is the uninterrupted one. Logs carry the loss and each term.

    Args:
        objective (`Callable`, *optional*): The loss terms of a batch; [`memory_objective`] by default.
        args, kwargs: As for `Trainer`.
    """

    args: MemoryTrainingArguments

    def __init__(self, *args: Any, objective: Objective = memory_objective, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.objective = objective
        self._terms: dict[str, list[float]] = defaultdict(list)
        # Terms are means already; the Trainer divides by the number of accumulation steps.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        terms: dict[str, torch.Tensor] = model(memory_objective=lambda tuner: self.objective(tuner, inputs))
        loss = torch.stack([getattr(self.args, f"{name}_weight") * value for name, value in terms.items()]).sum()
        for name, value in terms.items():
            self._terms[name].append(value.item())
        return (loss, terms) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each term since the last log."""
        for name, values in self._terms.items():
            if values:
                logs[f"loss_{name}"] = round(sum(values) / len(values), 4)
        self._terms.clear()
        super().log(logs, start_time)
