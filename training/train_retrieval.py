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

# Weight of rows where a stored turn matters: more, and the gate opens for them more often, and for others as well.
_OPEN = 2.0


class RetrievalHeads(nn.Module):
    """The cell's gate, temperature and relation head, with their loss as `forward`."""

    def __init__(self, cell: SlotCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(
        self,
        retrieval_query: torch.Tensor,
        retrieval_keys: torch.Tensor,
        retrieval_filled: torch.Tensor,
        retrieval_label: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        relation: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """
        Of one batch of [`RetrievalSampler`], the `loss`: binary cross-entropy of whether a stored turn matters,
        cross-entropy of which, and cross-entropy of how two turns relate, each a mean.
        """
        cell, width = self.cell, retrieval_query.shape[-1]
        with torch.autocast(retrieval_query.device.type, enabled=False):  # cosines, as in `KeyLoss`
            scores, gate = cell.relevance(retrieval_query, retrieval_keys, retrieval_filled)
            matters = (retrieval_label >= 0).float()
            cosine = F.cosine_similarity(first[:, :width], second[:, :width], dim=-1)
            pair = cell.relation_logits(cell.relation_projection(first), cell.relation_projection(second), cosine)
            return {
                "loss": F.binary_cross_entropy_with_logits(gate, matters, pos_weight=gate.new_tensor(_OPEN))
                + F.cross_entropy(scores, retrieval_label, ignore_index=-1)
                + F.cross_entropy(pair, relation)
            }


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
    trainer = Trainer(RetrievalHeads(cell), arguments, data_collator=collate, train_dataset=dataset)
    metrics = train_from_last(trainer)
    for name, parameter in cell.named_parameters():
        parameter.requires_grad_(name.split(".")[0] not in HEADS)
    return metrics
