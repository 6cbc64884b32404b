"""The training objective: distil the teacher, which reads the preference, into the LM that reads the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pref_lstm.modeling.cell_slots import SlotCell
from pref_lstm.modeling.cell_vector import VectorCell
from pref_lstm.modeling.outputs import MemoryReadout
from pref_lstm.modeling.peft_method import PrefMemoryModel


def memory_objective(tuner: PrefMemoryModel, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """
    The loss terms of one batch of [`MemoryCollator`], each a mean, unweighted.

    * `distill`: KL(teacher || LM with memory), nats per answer token, over the teacher's likeliest tokens.
    * `nll`: next-token loss of the answers.
    * `gate` (vector cells): binary cross-entropy of the relevance gate. That of the cell `slots` has a stage of its
      own, [`train_retrieval`]; other cells have none.
    """
    memory = tuner.memory
    state = memory.scan(batch["turns"], tuner.embed, batch["turns_mask"])
    cell = memory.cell
    if isinstance(cell, SlotCell):
        # The answer teaches what a slot says, not which slot to read: where one matters, it is given here.
        found = (state["times"] == batch["relevant"][:, None] + 1) & (state["strengths"] > 0)
        slot = torch.where(found.any(dim=1), found.long().argmax(dim=1), -1)
        out = cell.read(state, batch["query"], tuner.embed, slot)
    else:
        out = cell.read(state, batch["query"], tuner.embed)
    is_open = torch.ones(out.soft_tokens.shape[:2], dtype=torch.bool, device=out.soft_tokens.device)
    logits, gold = answer_logits(tuner, batch, MemoryReadout(out.soft_tokens, is_open, out.gate_logits))
    log_z = logits.logsumexp(dim=-1, keepdim=True)
    teacher = batch["teacher_logits"]
    student = logits.gather(1, batch["teacher_ids"]) - log_z
    losses = {
        "distill": (teacher.exp() * (teacher - student)).sum(-1).mean(),
        "nll": (log_z - logits.gather(1, gold[:, None])).mean(),
    }
    if isinstance(cell, VectorCell):
        matters = (batch["relevant"] >= 0).to(out.gate_logits.dtype)
        losses["gate"] = F.binary_cross_entropy_with_logits(out.gate_logits, matters)
    return losses


def answer_logits(
    tuner: PrefMemoryModel, batch: Mapping[str, Any], readout: MemoryReadout
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Logits `(answer tokens, vocabulary)`, float32, at the answers' positions, and the answers' ids `(answer tokens,)`.

    What stands before the block of soft tokens does not depend on them: it goes through the LM without gradients.
    """
    with torch.no_grad():
        positions = (batch["prefix_mask"].cumsum(-1) - 1).clamp(min=0)
        cache = tuner.model(
            input_ids=batch["prefix_ids"],
            attention_mask=batch["prefix_mask"],
            position_ids=positions,
            logits_to_keep=1,
            use_cache=True,
        ).past_key_values
    keep = batch["labels"] != -100
    logits = tuner(
        input_ids=batch["suffix_ids"],
        attention_mask=torch.cat([batch["prefix_mask"], batch["suffix_mask"]], dim=1),
        past_key_values=cache,
        memory_readout=readout,
        logits_to_keep=keep,
    ).logits
    return logits.view(-1, logits.shape[-1]).float(), batch["labels"][keep]
