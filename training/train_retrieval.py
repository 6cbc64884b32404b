"""The second stage of memory training (cell `slots`): whether anything stored matters, and how two turns relate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from pref_lstm.modeling.cell_slots import SlotCell
from torch import nn
from transformers import Trainer

from .arguments import RetrievalTrainingArguments
from .resume import train_from_last
from .retrieval_sampler import RetrievalSampler

# What this stage trains of the cell; the answers' stage trains the rest.
HEADS = ("gate", "gate_threshold", "log_temperature", "relation_projection", "relation_head")


class RetrievalHeads(nn.Module):
    """The cell's gate, temperature and relation head, with their loss as `forward`."""

    def __init__(self, cell: SlotCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        The loss terms of one batch of [`RetrievalSampler`], each a mean: `gate`, binary cross-entropy of whether a
        stored turn matters; `relevance`, cross-entropy of which; `relation`, cross-entropy of how two turns relate.
        """
        cell = self.cell
        scores, gate = cell.relevance(batch["retrieval_query"], batch["retrieval_keys"], batch["retrieval_filled"])
        label = batch["retrieval_label"]
        first, second, width = batch["first"], batch["second"], batch["retrieval_query"].shape[-1]
        cosine = F.cosine_similarity(first[:, :width], second[:, :width], dim=-1)
        relation = cell.relation_logits(cell.relation_projection(first), cell.relation_projection(second), cosine)
        return {
            "gate": F.binary_cross_entropy_with_logits(gate, (label >= 0).float()),
            "relevance": F.cross_entropy(scores, label, ignore_index=-1),
            "relation": F.cross_entropy(relation, batch["relation"]),
        }


class RetrievalTrainer(Trainer):  # type: ignore[misc]
    """The HF Trainer with the loss of [`RetrievalHeads`]."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        terms = model(inputs)
        loss = torch.stack(list(terms.values())).sum()
        return (loss, terms) if return_outputs else loss


def train_retrieval(
    cell: SlotCell, sampler: RetrievalSampler, arguments: RetrievalTrainingArguments
) -> dict[str, float]:
    """
    Train [`HEADS`]; the rest of the cell stays as it is.

    It goes on from the last checkpoint of `arguments.output_dir`, if there is one.

    Returns:
        `dict[str, float]`: The Trainer's metrics.
    """

    def collate(rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        return sampler(random.Random(f"row {rows[0]['index']}"))

    for name, parameter in cell.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in HEADS)
    # One row stands for one batch: the sampler draws it whole.
    dataset = Dataset.from_dict({"index": list(range(arguments.max_steps))})
    trainer = RetrievalTrainer(RetrievalHeads(cell), arguments, data_collator=collate, train_dataset=dataset)
    metrics = train_from_last(trainer)
    for name, parameter in cell.named_parameters():
        parameter.requires_grad_(name.split(".")[0] not in HEADS)
    return metrics
