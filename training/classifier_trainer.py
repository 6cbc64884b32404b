"""Trains a [`PreferenceClassifier`] on hidden states of its frozen encoder, computed once and kept on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

_KEPT = ("labels", "weight", "noisy")
# One batch of the encoder: rows of like length, so that little of it is padding.
_ENCODED_TOKENS = 4_096
# Generalised cross-entropy (arXiv 1805.07836): 0 is cross-entropy, 1 the mean absolute error.
NOISE_ROBUSTNESS = 0.7


@dataclass
class ClassifierTrainingArguments(TrainingArguments):
    """
    [`~transformers.TrainingArguments`] for the classifier.

    Defaults that differ from the parent's: `learning_rate` 1e-4, `per_device_train_batch_size` 32,
    `per_device_eval_batch_size` 64, `num_train_epochs` 2, `warmup_steps` 0.1, `weight_decay` 0.05,
    `eval_strategy` and `save_strategy` "epoch", `train_sampling_strategy` "group_by_length",
    `remove_unused_columns` False, `logging_steps` 50.

    Args:
        head_learning_rate (`float`, *optional*, defaults to 1e-3):
            Learning rate of all that starts from random weights; `learning_rate` is that of the tuned layers.
    """

    learning_rate: float = 1e-4
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    num_train_epochs: float = 2.0
    warmup_steps: float = 0.1
    weight_decay: float = 0.05
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    train_sampling_strategy: str = "group_by_length"
    remove_unused_columns: bool = False
    logging_steps: float = 50
    head_learning_rate: float = field(
        default=1e-3, metadata={"help": "Learning rate of all that starts from random weights."}
    )


def cache_hidden_states(
    turns: Dataset, model: PreferenceClassifier, tokenizer: PreTrainedTokenizerBase, file: Path, bfloat16: bool = False
) -> Dataset:
    """
    Adds what the head reads: the encoder's hidden states of each turn, in half precision, in an Arrow file.

    Args:
        turns ([`~datasets.Dataset`]): With `agent`, `user` and `labels`, and optionally `weight` and `noisy`.
        model ([`PreferenceClassifier`]): With its encoder attached.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The encoder's tokenizer.
        file (`Path`): Where the states go; a file that is there already is taken for the same turns'.
        bfloat16 (`bool`, *optional*, defaults to `False`): Whether the encoder computes in bfloat16 (autocast).

    Returns:
        [`~datasets.Dataset`]: `labels`, `weight` and `noisy` if they were there, `length`, `token_type_ids` (list of
        int8), and `state_<i>` (list of float16, `length * hidden`) for each hidden state that the model reads.
    """
    read = model.states_read()

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = [Turn(user=user, agent=agent) for user, agent in zip(batch["user"], batch["agent"], strict=True)]
        encoding = tokenize_turns(tokenizer, rows, model.config.max_length, padding=False)
        lengths = [len(ids) for ids in encoding["input_ids"]]
        columns: dict[str, list[Any]] = {
            "length": lengths,
            "token_type_ids": [np.asarray(ids, dtype=np.int8) for ids in encoding["token_type_ids"]],
            **{f"state_{index}": [None] * len(rows) for index in read},
        }
        for part in _batches_of_like_length(lengths):
            padded = tokenizer.pad(
                {name: [ids[i] for i in part] for name, ids in encoding.items()}, return_tensors="pt"
            )
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                states = model.encode(**padded.to(model.device))
            for index in read:
                half = states[index].half().cpu()
                for number, row in enumerate(part):
                    columns[f"state_{index}"][row] = half[number, : lengths[row]].flatten().numpy()
        return columns

    return turns.map(
        encode,
        batched=True,
        batch_size=1_024,
        writer_batch_size=256,
        remove_columns=[name for name in turns.column_names if name not in _KEPT],
        cache_file_name=str(file),
        new_fingerprint=file.stem,
        desc="encoding",
    ).with_format("numpy")


def _batches_of_like_length(lengths: list[int]) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches[-1] and lengths[row] * (len(batches[-1]) + 1) > _ENCODED_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


@dataclass
class HiddenStateCollator:
    """
    Pads cached hidden states.

    Input: rows with `length`, `token_type_ids` (`length`), `state_<i>` (`length * hidden`), `labels`, maybe `weight`
    and `noisy`.
    Output: `hidden_states` (tuple of `num_states` float32 `(batch, longest, hidden)`, `None` where unread),
    `attention_mask` and `token_type_ids` int64 `(batch, longest)`, `labels` int64 `(batch,)`, `weight` float32,
    `noisy` bool.
    """

    hidden_size: int
    num_states: int
    states_read: list[int]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [int(row["length"]) for row in rows]
        shape = (len(rows), max(lengths))
        mask = torch.zeros(shape, dtype=torch.int64)
        types = torch.zeros(shape, dtype=torch.int64)
        states = {index: torch.zeros(*shape, self.hidden_size) for index in self.states_read}
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            mask[number, :length] = 1
            types[number, :length] = torch.from_numpy(np.asarray(row["token_type_ids"], dtype=np.int64))
            for index, padded in states.items():
                flat = np.asarray(row[f"state_{index}"], dtype=np.float32)
                padded[number, :length] = torch.from_numpy(flat).view(length, self.hidden_size)
        batch: dict[str, Any] = {
            "hidden_states": tuple(states.get(index) for index in range(self.num_states)),
            "attention_mask": mask,
            "token_type_ids": types,
            "labels": torch.tensor([int(row["labels"]) for row in rows]),
        }
        if "weight" in rows[0]:
            batch["weight"] = torch.tensor([float(row["weight"]) for row in rows])
        if "noisy" in rows[0]:
            batch["noisy"] = torch.tensor([bool(row["noisy"]) for row in rows])
        return batch


@torch.inference_mode()
def predict_probabilities(
    model: PreferenceClassifier, cached: Dataset, collator: HiddenStateCollator, batch_size: int = 32
) -> list[float]:
    """
    Probability of `preference` of each cached turn, in the dataset's order.

    (`Trainer.predict` gives them in the order of its length-grouped batches.)
    """
    model.eval()
    order = sorted(range(len(cached)), key=cached["length"][:].__getitem__)
    probabilities = [0.0] * len(cached)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        batch = collator(cached.__getitems__(indices))
        states = tuple(state if state is None else state.to(model.device) for state in batch["hidden_states"])
        mask, types = batch["attention_mask"].to(model.device), batch["token_type_ids"].to(model.device)
        values = model.classify(states, mask, types).softmax(-1)[:, 1].tolist()
        for index, value in zip(indices, values, strict=True):
            probabilities[index] = value
    return probabilities


class ClassifierTrainer(Trainer):
    """
    The Trainer with a weight per turn, a loss that noisy labels pull at less, and a learning rate of its own for the
    untrained parts.
    """

    args: ClassifierTrainingArguments

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Mean over the batch of weight times cross-entropy, or generalised cross-entropy where `noisy` is set."""
        extra = {name: inputs.get(name) for name in ("labels", "weight", "noisy")}
        outputs = model(**{name: value for name, value in inputs.items() if name not in extra})
        losses = nn.functional.cross_entropy(outputs.logits.float(), inputs["labels"], reduction="none")
        if extra["noisy"] is not None:
            robust = (1.0 - (-NOISE_ROBUSTNESS * losses).exp()) / NOISE_ROBUSTNESS
            losses = torch.where(extra["noisy"], robust, losses)
        loss = (losses * extra["weight"]).mean() if extra["weight"] is not None else losses.mean()
        return (loss, {"logits": outputs.logits}) if return_outputs else loss

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """AdamW with two groups: the tuned layers, and the rest."""
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups[name.startswith("tuned_layers.")].append(parameter)
        rates = {True: self.args.learning_rate, False: self.args.head_learning_rate}
        self.optimizer = torch.optim.AdamW(
            [{"params": groups[tuned], "lr": rate} for tuned, rate in rates.items() if groups[tuned]],
            weight_decay=self.args.weight_decay,
        )
        return self.optimizer
