"""The bank of slots: each keeps the salient words of one turn, and a key to find them by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .cell import CellReadout, Embed, MemoryCell, are_write_numbers, is_within, straight_through
from .configuration_pref_memory import PrefMemoryConfig
from .memory_state import MemoryState
from .outputs import EncodedTurn
from .slot_transform import SlotTransform
from .slot_words import select_words

SAME, REVERSED, DIFFERENT = range(3)
# Least cosine of a query with a turn that may have something to do with it, and how far above this, and above the third
# best turn, one stands apart.
UNRELATED, APART = 0.1, 0.1
# From these probabilities on a turn says what is stored already, and two turns are different whatever else speaks for
# one matter.
REPEATED, SURELY = 0.8, 0.9


class SlotCell(MemoryCell):
    """
    A bounded bank of slots with per-slot input and forget gates, written by copying and read under a query.

    **Write.** A new turn `u` is compared with what each filled slot `j` holds, giving `p_j` over *same*, *reversed* and
    *different*: by [`relate`], which reads those that are alike, or else by their vectors. Slot `j` is forgotten where
    the turn reverses it, the turn is let in unless a slot surely says the same: what is kept twice does less harm than
    a change of mind that is not heard.

        f_j = 1 - [argmax p_j = reversed],    i = 1 - max_j [p_j(same) >= 0.8]
        strength_j <- f_j * strength_j,     strength_new <- i

    The gates are hard, with straight-through gradients. What is written is not synthesised from a vector: it is the
    turn's own most salient words, in order, the most salient of all marked as spoken. A new turn takes the first free
    slot, else the oldest one's.

    **Read.** Slot `j` scores `s_j = t * cos(q, k_j)` against the query. Of the best slot and those that are on the same
    matter the latest one speaks: what a user said last counts. On the same matter is a slot whose `p(different)` from
    the best is low and whose `cos(q, k_j)` is near its, and the runner-up where the two stand apart from all others and
    are not surely different. Its spoken words, between the learned frame tokens, become the soft tokens by a
    [`SlotTransform`], which sees all of its words. Without a query it is the latest of all.

    State, per user (all float32 unless said): `keys (num_slots, encoder_hidden_size)`, `relations (num_slots,
    relation_size)`, `token_ids (num_slots, slot_length)` int32, `token_mask` and `token_spoken` like it, bool,
    `strengths (num_slots,)` (0 = free), `times (num_slots,)` int64, `writes ()` int64. Its size does not depend on how
    much was written.
    """

    name = "slots"

    def __init__(self, config: PrefMemoryConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        width, relation = config.encoder_hidden_size, config.relation_size
        self.relation_projection = nn.Linear(2 * width, relation)
        self.relation_head = nn.Sequential(nn.Linear(2 * relation + 1, 64), nn.GELU(), nn.Linear(64, 3))
        self.log_temperature = nn.Parameter(torch.empty(1))
        self.gate = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 1))
        self.gate_threshold = nn.Parameter(torch.empty(1))
        self.frame = nn.Parameter(torch.empty(config.num_frame_tokens, hidden_size))
        self.blank = nn.Parameter(torch.empty(hidden_size))
        self.transform = SlotTransform(config, hidden_size)

    def reset_parameters(self, words: torch.Tensor) -> None:
        """Untrained, the cell copies: words by [`token_salience`], slots by the encoder's cosine, gate at 0.1 of it."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        self.transform.reset_parameters()
        nn.init.constant_(self.log_temperature, 3.0)
        relation_last, gate_last = self.relation_head[-1], self.gate[-1]
        assert isinstance(relation_last, nn.Linear) and isinstance(gate_last, nn.Linear)
        for last in (relation_last, gate_last):
            # Small, not zero: zero would keep the layers before it still in the first step.
            nn.init.normal_(last.weight, std=1e-2)
            nn.init.zeros_(last.bias)
        nn.init.constant_(relation_last.bias[DIFFERENT : DIFFERENT + 1], 2.0)
        nn.init.constant_(self.gate_threshold, 0.1)
        with torch.no_grad():
            same = words.shape[0] == self.frame.shape[0]
            self.frame.copy_(words if same else words.mean(dim=0).expand_as(self.frame))
            self.blank.copy_(words.mean(dim=0))

    def initial_state(self, batch_size: int, device: torch.device | str = "cpu") -> MemoryState:
        config = self.config
        shape, length = (batch_size, config.num_slots), int(config.slot_length or 0)
        return MemoryState(
            self.name,
            {
                "keys": torch.zeros(*shape, config.encoder_hidden_size, device=device),
                "relations": torch.zeros(*shape, config.relation_size, device=device),
                "token_ids": torch.zeros(*shape, length, dtype=torch.int32, device=device),
                "token_mask": torch.zeros(*shape, length, dtype=torch.bool, device=device),
                "token_spoken": torch.zeros(*shape, length, dtype=torch.bool, device=device),
                "strengths": torch.zeros(*shape, device=device),
                "times": torch.zeros(*shape, dtype=torch.long, device=device),
                "writes": torch.zeros(batch_size, dtype=torch.long, device=device),
            },
        )

    def requirements(self, state: MemoryState, vocab_size: int) -> dict[str, torch.Tensor]:
        """As [`MemoryCell.requirements`]."""
        filled, times = state["strengths"] > 0, state["times"]
        spoken, most = state["token_spoken"], self.config.num_content_tokens
        length = state["keys"].norm(dim=-1)
        return {
            **super().requirements(state, vocab_size),
            "`strengths` must lie from 0 to 1": is_within(state["strengths"], 0, 1),
            "`keys` must have length 1 in filled slots": ((length - 1).abs() < 1e-3)[filled].all(),
            f"`token_ids` must lie from 0 to {vocab_size - 1}": is_within(state["token_ids"], 0, vocab_size - 1),
            f"`token_spoken` must mark at most {most} tokens of `token_mask`": (
                (spoken.sum(dim=-1) <= most).all() & ~(spoken & ~state["token_mask"]).any()
            ),
            "`times` must be 0 in free slots, and different numbers from 1 to `writes` in filled ones": (
                are_write_numbers(times, state["writes"]) & torch.equal(times > 0, filled)
            ),
        }

    def relation_vector(self, turn: EncodedTurn) -> torch.Tensor:
        """What a turn is compared by, `(batch, relation_size)`."""
        vector: torch.Tensor = self.relation_projection(relation_features(turn))
        return vector

    def relation_logits(self, first: torch.Tensor, second: torch.Tensor, cosine: torch.Tensor) -> torch.Tensor:
        """
        Logits over same, reversed, different for pairs of turns.

        Args:
            first, second (`torch.Tensor` of shape `(…, relation_size)`): [`~SlotCell.relation_vector`] of the pair.
            cosine (`torch.Tensor` of shape `(…,)`): Cosine of their keys.
        """
        pair = torch.cat([first * second, (first - second).abs(), cosine.unsqueeze(-1)], dim=-1)
        logits: torch.Tensor = self.relation_head(pair)
        return logits

    def step(
        self, turn: EncodedTurn, state: MemoryState, embed: Embed, relations: torch.Tensor | None = None
    ) -> MemoryState:
        key = F.normalize(turn.pooled, dim=-1)
        relation = self.relation_vector(turn)
        ids, mask, spoken = select_words(turn, int(self.config.slot_length or 0), self.config.num_content_tokens)

        filled = state["strengths"] > 0
        if relations is None:
            # Against many slots, rare mistakes about unrelated turns would add up to a memory that forgets.
            near = filled & (_cosine(turn, state) >= self.config.relation_threshold)
            relations = self.compare(turn, state) * near.unsqueeze(-1)
        same, reversed_, different = relations.unbind(-1)
        # Of a nan neither is true: it takes nothing away.
        keep = filled & ~(reversed_ > torch.maximum(same, different))  # the forget gate, f_j
        is_new = ~(same >= REPEATED).any(dim=1)  # the input gate, i
        strengths = torch.where(keep, state["strengths"] * straight_through(1 - reversed_), 0.0)

        num_slots = self.config.num_slots
        index = torch.arange(num_slots, device=filled.device)
        target = torch.where(keep, state["times"] + num_slots, index).argmin(dim=1)
        write = (index == target[:, None]) & is_new[:, None]  # (batch, num_slots)
        strength = straight_through(1 - same.amax(dim=1))[:, None]
        time = (state["writes"] + 1)[:, None]

        def put(name: str, new: torch.Tensor) -> torch.Tensor:
            old = state[name]
            extra = [1] * (old.dim() - 2)
            kept = torch.where(keep.view(*keep.shape, *extra), old, torch.zeros((), dtype=old.dtype))
            return torch.where(write.view(*write.shape, *extra), new.unsqueeze(1).to(old.dtype), kept)

        return MemoryState(
            self.name,
            {
                "keys": put("keys", key),
                "relations": put("relations", relation),
                "token_ids": put("token_ids", ids),
                "token_mask": put("token_mask", mask),
                "token_spoken": put("token_spoken", spoken),
                "strengths": torch.where(write, strength, strengths),
                "times": torch.where(write, time, torch.where(keep, state["times"], 0)),
                "writes": state["writes"] + is_new.long(),
            },
        )

    def compare(self, turn: EncodedTurn, state: MemoryState) -> torch.Tensor:
        """Same, reversed or different by vectors: probabilities `(batch, num_slots, 3)` for new turns and each slot."""
        others, relation = state["relations"], self.relation_vector(turn)
        logits = self.relation_logits(others, relation[:, None].expand_as(others), _cosine(turn, state))
        return logits.softmax(-1)

    def relevance(
        self, query: torch.Tensor, keys: torch.Tensor, filled: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        How relevant stored turns are to a query, and whether any is.

        Args:
            query (`torch.Tensor` of shape `(batch, encoder_hidden_size)`): Of the current message.
            keys (`torch.Tensor` of shape `(batch, n, encoder_hidden_size)`): Of the stored turns, length 1.
            filled (`torch.Tensor` of shape `(batch, n)`, bool): Which of them there are.

        Returns:
            Scores `(batch, n)`, `-inf` where nothing is stored, and gate logits `(batch,)`.
        """
        cosine = (keys * F.normalize(query, dim=-1)[:, None]).sum(-1)
        best = cosine.masked_fill(~filled, -1.0).amax(dim=1)
        temperature = self.log_temperature.exp()
        # The best of many is higher than the best of few: the gate sees how many there are, and how they are alike.
        count = filled.sum(dim=1)
        mean = (cosine * filled).sum(dim=1) / count.clamp_min(1)
        features = torch.stack([best, mean, count.float().log1p()], dim=-1)
        gate = self.gate(features).squeeze(-1)
        gate = gate + temperature * (best - self.gate_threshold)
        return (cosine * temperature).masked_fill(~filled, float("-inf")), gate

    def read(
        self, state: MemoryState, query: torch.Tensor | None, embed: Embed, slot: torch.Tensor | None = None
    ) -> CellReadout:
        """As [`MemoryCell.read`]; training may name the `slot (batch,)` to read, -1 for the best one."""
        filled = state["strengths"] > 0
        if query is None:
            scores = state["times"].float().masked_fill(~filled, float("-inf"))
            gate = torch.ones_like(scores[:, 0])
        else:
            scores, gate = self.relevance(query, state["keys"], filled)
        # A row without a filled slot has no weights: softmax over nothing would be nan.
        weights = torch.where(filled, scores.masked_fill(~filled.any(1, keepdim=True), 0.0).softmax(-1), 0.0)
        best = torch.where(filled, scores, torch.full_like(scores, -1e9)).argmax(dim=1)
        chosen = best if query is None else self._latest_on_the_matter(state, scores, best)
        if slot is not None:
            chosen = torch.where(slot >= 0, slot, chosen)
        row = torch.arange(chosen.shape[0], device=chosen.device)
        # The slot that speaks for its matter takes the weight of the best on it: weights say what was read.
        exchanged = torch.arange(filled.shape[1], device=filled.device).repeat(len(row), 1)
        exchanged[row, best], exchanged[row, chosen] = chosen, best
        weights = weights.gather(1, exchanged)
        acts = straight_through(torch.sigmoid(gate)) * straight_through(weights[row, chosen])
        acts = acts * torch.where(filled[row, chosen], state["strengths"][row, chosen], 1.0)

        words = embed(state["token_ids"][row, chosen].long()).to(self.frame.dtype)
        mask, spoken = state["token_mask"][row, chosen], state["token_spoken"][row, chosen]
        words = torch.where(mask.unsqueeze(-1), words, self.blank)
        tokens = self.transform(words, mask, spoken, self.frame, self.blank, state["keys"][row, chosen])
        return CellReadout(tokens * acts[:, None, None], gate, weights)

    def _latest_on_the_matter(self, state: MemoryState, scores: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        row, config = torch.arange(best.shape[0], device=best.device), self.config
        keys, others = state["keys"], state["relations"]
        pair = self.relation_logits(
            others[row, best][:, None].expand_as(others), others, (keys * keys[row, best][:, None]).sum(-1)
        )
        cosine = scores / self.log_temperature.exp()  # with the query
        top = cosine[row, best][:, None]
        different = pair.softmax(-1)[..., DIFFERENT]
        alike = (different < config.matter_threshold) & (cosine >= top - config.matter_margin)
        # What a query calls for stands apart from all else that is stored; where two turns do, both are on its matter.
        third = F.pad(cosine, (0, 2), value=float("-inf")).topk(3, dim=1).values[:, 2:]
        level = third.clamp_min(UNRELATED)
        apart = (cosine - level >= APART) & (cosine - level > config.matter_share * (top - level))
        apart &= different < SURELY
        on_matter = alike | apart
        on_matter[row, best] = True
        return torch.where((state["strengths"] > 0) & on_matter, state["times"], -1).argmax(dim=1)


def _cosine(turn: EncodedTurn, state: MemoryState) -> torch.Tensor:
    """Of new turns with each slot's, `(batch, num_slots)`."""
    return (state["keys"] * F.normalize(turn.pooled, dim=-1)[:, None]).sum(-1)


def relation_features(turn: EncodedTurn) -> torch.Tensor:
    """The turn's vector beside the mean of its tokens' features by salience, `(batch, 2 * encoder_hidden_size)`."""
    weight = (turn.token_salience.clamp_min(0) * turn.token_mask).unsqueeze(-1)
    mean = (turn.token_features * weight).sum(-2) / weight.sum(-2).clamp_min(1e-6)
    return torch.cat([turn.pooled, mean], dim=-1)
