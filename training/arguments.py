"""Arguments of memory training: the Trainer's own, and the weights of the loss terms."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class MemoryTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """
    Defaults that differ from `TrainingArguments`: `learning_rate` 5e-4, `lr_scheduler_type` cosine, `warmup_steps` 0.05
    of all, `max_grad_norm` 1, `per_device_train_batch_size` 8, one epoch, logging every 10 steps, the last checkpoint
    kept every 50 steps, no columns removed.

    Args:
        distill_weight (`float`): Weight of the KL from the teacher, nats per answer token.
        nll_weight (`float`): Weight of next-token loss on the answers.
        gate_weight (`float`): Weight of knowing whether what is stored is relevant (vector cells).
    """

    learning_rate: float = field(default=5e-4)
    lr_scheduler_type: str = field(default="cosine")
    warmup_steps: float = field(default=0.05)
    per_device_train_batch_size: int = field(default=8)
    num_train_epochs: float = field(default=1.0)
    weight_decay: float = field(default=0.0)
    logging_steps: float = field(default=10)
    save_steps: float = field(default=50)
    save_total_limit: int | None = field(default=1)
    remove_unused_columns: bool = field(default=False)
    label_names: list[str] | None = field(default_factory=lambda: ["answer_ids"])
    distill_weight: float = field(default=1.0)
    nll_weight: float = field(default=0.0)
    gate_weight: float = field(default=1.0)


@dataclass
class CategoryTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """
    Arguments of the paper's stage on preference categories. Defaults that differ from `TrainingArguments`:
    `learning_rate` 1e-2, ten epochs as in the paper, `per_device_train_batch_size` 8, logging every 10 steps, the last
    checkpoint kept every 50 steps, no columns removed.
    """

    learning_rate: float = field(default=1e-2)
    num_train_epochs: float = field(default=10.0)
    per_device_train_batch_size: int = field(default=8)
    logging_steps: float = field(default=10)
    save_steps: float = field(default=50)
    save_total_limit: int | None = field(default=1)
    remove_unused_columns: bool = field(default=False)


@dataclass
class KeyTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """
    Arguments of the key encoder's stage. Defaults that differ from `TrainingArguments`: `learning_rate` 1e-4,
    `lr_scheduler_type` cosine, `warmup_steps` 0.1 of all, `weight_decay` 0.01, `per_device_train_batch_size` 128,
    logging every 10 steps, the last checkpoint kept every 25 steps, no columns removed.
    """

    learning_rate: float = field(default=1e-4)
    lr_scheduler_type: str = field(default="cosine")
    warmup_steps: float = field(default=0.1)
    weight_decay: float = field(default=0.01)
    per_device_train_batch_size: int = field(default=128)
    logging_steps: float = field(default=10)
    save_steps: float = field(default=25)
    save_total_limit: int | None = field(default=1)
    remove_unused_columns: bool = field(default=False)


@dataclass
class RetrievalTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """
    Arguments of the stage of gate and relation head. Defaults that differ from `TrainingArguments`: `learning_rate`
    3e-3, `lr_scheduler_type` cosine, `weight_decay` 0.05, one batch of [`RetrievalSampler`] per step, logging every 50
    steps, the last checkpoint kept every 100 steps, no columns removed.
    """

    learning_rate: float = field(default=3e-3)
    lr_scheduler_type: str = field(default="cosine")
    weight_decay: float = field(default=0.05)
    per_device_train_batch_size: int = field(default=1)
    logging_steps: float = field(default=50)
    save_steps: float = field(default=100)
    save_total_limit: int | None = field(default=1)
    remove_unused_columns: bool = field(default=False)


@dataclass
class RelationTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """
    Arguments of the relation encoder's stage. Defaults that differ from `TrainingArguments`: `learning_rate` 1e-3,
    `lr_scheduler_type` cosine, `warmup_steps` 0.1 of all, `weight_decay` 0.01, `per_device_train_batch_size` 11
    (rows of three pairs), logging every 50 steps, the last checkpoint kept every 100 steps, no columns removed.
    """

    learning_rate: float = field(default=1e-3)
    lr_scheduler_type: str = field(default="cosine")
    warmup_steps: float = field(default=0.1)
    weight_decay: float = field(default=0.01)
    per_device_train_batch_size: int = field(default=11)
    logging_steps: float = field(default=50)
    save_steps: float = field(default=100)
    save_total_limit: int | None = field(default=1)
    remove_unused_columns: bool = field(default=False)
