"""The paper's own second stage: the memory learns to tell preference categories, and nothing reads it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from pref_lstm.modeling.cell import Embed
from pref_lstm.modeling.cell_vector import VectorCell
from pref_lstm.modeling.outputs import EncodedTurn
from torch import nn
from transformers import EvalPrediction, Trainer, TrainerCallback

from .arguments import CategoryTrainingArguments
from .categories import CategorySequences
from .resume import train_from_last


class CategoryModel(nn.Module):
    """
    The memory's write path with a linear classifier over its state.

    **The loss never reaches the projection head**: soft tokens are not made here, so the head that makes them, and the
    relevance gate, stay as initialised. What the LM reads after this stage is a fixed random projection of the memory.
    That is the paper's recipe (arXiv 2507.03042).

    Args:
        cell ([`VectorCell`]): Of the adapter.
        embed: The LM's input embedding.
        num_categories (`int`): Width of the classifier, which is not kept.
    """

    def __init__(self, cell: VectorCell, embed: Embed, num_categories: int) -> None:
        super().__init__()
        self.cell, self.embed = cell, embed
        self.classifier = nn.Linear(cell.config.memory_size, num_categories)

    def forward(self, vectors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Every turn is written; after each, its category is told from the memory.

        Args:
            vectors (`torch.Tensor` of shape `(batch, num_turns, vector_size)`): Of the turns.
            labels (`torch.Tensor` of shape `(batch, num_turns)`): Their categories, -100 where there is no turn.

        Returns:
            `loss`, the mean cross-entropy, and `logits` `(batch, num_turns, num_categories)`.
        """
        state = self.cell.initial_state(len(vectors), vectors.device)
        logits = []
        for t in range(vectors.shape[1]):
            state = self.cell.update(EncodedTurn(vectors[:, t]), state, self.embed, labels[:, t] >= 0)
            logits.append(self.classifier(self.cell.vector(state)))
        out = torch.stack(logits, dim=1)
        return {"loss": F.cross_entropy(out.flatten(0, 1), labels.flatten(), ignore_index=-100), "logits": out}


def train_categories(
    cell: VectorCell,
    embed: Embed,
    sequences: CategorySequences,
    num_categories: int,
    arguments: CategoryTrainingArguments,
    callback: TrainerCallback,
) -> dict[str, Any]:
    """
    Train how `cell` writes, by cross-entropy on the categories of the turns written.

    It goes on from the last checkpoint of `arguments.output_dir`, if there is one.

    Returns:
        `dict`: For the report: `seconds`, `steps`, `log`, `conversations`, and `category_accuracy`: over the turns of
        the conversations trained on (`train`), of those held out (`held_out`), and of always saying the category that
        is the most frequent in training (`held_out_most_frequent`).
    """

    def collate(rows: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        index = [row["index"] for row in rows]
        return {"vectors": sequences.vectors[index], "labels": sequences.labels[index]}

    def part(of: torch.Tensor) -> Dataset:
        return Dataset.from_dict({"index": of.nonzero().flatten().tolist()})

    train, held_out = part(~sequences.held_out), part(sequences.held_out)
    trainer = Trainer(
        CategoryModel(cell, embed, num_categories),
        arguments,
        data_collator=collate,
        train_dataset=train,
        compute_metrics=_accuracy,
        callbacks=[callback],
    )
    seconds = train_from_last(trainer)["train_runtime"]
    accuracy = {
        name: round(trainer.evaluate(dataset, metric_key_prefix=name)[f"{name}_accuracy"], 4)
        for name, dataset in (("train", train), ("held_out", held_out))
    }
    labels, held_out_labels = sequences.labels[~sequences.held_out], sequences.labels[sequences.held_out]
    most_frequent = labels[labels >= 0].mode().values
    share = (held_out_labels[held_out_labels >= 0] == most_frequent).float().mean()
    return {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "log": [row for row in trainer.state.log_history if "loss" in row],
        "conversations": len(train),
        "category_accuracy": accuracy | {"held_out_most_frequent": round(float(share), 4)},
    }


def _accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
    real = labels >= 0
    return {"accuracy": float((logits.argmax(-1) == labels)[real].float().mean())}
