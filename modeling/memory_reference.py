"""The cells once more in plain loops, row by row and slot by slot: for readers, and for the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .cell import CellReadout, Embed
from .cell_one_vector import OneVectorCell
from .cell_prompt import PromptCell
from .cell_slots import APART, DIFFERENT, REPEATED, REVERSED, SAME, SURELY, UNRELATED, SlotCell
from .cell_vector import LSTMCell, PrefLSTMCell, VectorCell
from .memory_state import MemoryState
from .outputs import EncodedTurn

Row = dict[str, torch.Tensor]


def reference_update(
    cell: nn.Module, turn: EncodedTurn, state: MemoryState, relations: torch.Tensor | None = None
) -> MemoryState:
    """What [`MemoryCell.step`] does, one user after the other."""
    rows = []
    for b in range(state.batch_size):
        row = {name: tensor[b] for name, tensor in state.tensors.items()}
        one = EncodedTurn(*[value[b] for value in turn.to_tuple()])
        if isinstance(cell, SlotCell):
            rows.append(_write_slots(cell, one, row, None if relations is None else relations[b]))
        elif isinstance(cell, PrefLSTMCell):
            rows.append(_write_pref_lstm(cell, one, row))
        elif isinstance(cell, LSTMCell):
            rows.append(_write_lstm(cell, one, row))
        elif isinstance(cell, PromptCell):
            rows.append({"writes": row["writes"] + 1})
        elif isinstance(cell, OneVectorCell):
            rows.append(_write_one_vector(one, row))
    return MemoryState(state.cell, {name: torch.stack([row[name] for row in rows]) for name in state.tensors})


def reference_read(cell: nn.Module, state: MemoryState, query: torch.Tensor | None, embed: Embed) -> CellReadout:
    """What [`MemoryCell.read`] does, one user after the other."""
    soft, gates, weights = [], [], []
    for b in range(state.batch_size):
        row = {name: tensor[b] for name, tensor in state.tensors.items()}
        q = None if query is None else query[b]
        if isinstance(cell, SlotCell):
            tokens, gate, weight = _read_slots(cell, row, q, embed)
            weights.append(weight)
        elif isinstance(cell, VectorCell):
            tokens, gate = _read_vector(cell, row["memory" if isinstance(cell, PrefLSTMCell) else "hidden"], q)
        elif isinstance(cell, PromptCell):
            tokens, gate = cell.tokens, torch.tensor(1.0)
        elif isinstance(cell, OneVectorCell):
            tokens, gate = _read_one_vector(cell, row, q), torch.tensor(1.0)
        soft.append(tokens)
        gates.append(gate)
    return CellReadout(torch.stack(soft), torch.stack(gates), torch.stack(weights) if weights else None)


def _write_pref_lstm(cell: PrefLSTMCell, turn: EncodedTurn, row: Row) -> Row:
    new = cell.turn_projection(turn.pooled)
    f = torch.sigmoid(cell.forget_gate(torch.cat([row["memory"], new])))
    return {"memory": f * row["memory"] + (1 - f) * new, "writes": row["writes"] + 1}


def _write_lstm(cell: LSTMCell, turn: EncodedTurn, row: Row) -> Row:
    lstm = cell.lstm
    new = cell.turn_projection(turn.pooled)
    z = lstm.weight_ih @ new + lstm.bias_ih + lstm.weight_hh @ row["hidden"] + lstm.bias_hh
    i, f, g, o = z.chunk(4)
    c = torch.sigmoid(f) * row["cell"] + torch.sigmoid(i) * torch.tanh(g)
    return {"hidden": torch.sigmoid(o) * torch.tanh(c), "cell": c, "writes": row["writes"] + 1}


def _read_vector(
    cell: VectorCell, memory: torch.Tensor, query: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    gate = cell.gate_bias[0]
    if query is not None:
        gate = gate + cell.relevance(memory) @ query
    tokens = []
    for token in cell.projection_head(memory).chunk(cell.config.num_soft_tokens):
        tokens.append(token / token.norm() * cell.output_scale * _one(torch.sigmoid(gate)))
    return torch.stack(tokens), gate


def _write_one_vector(turn: EncodedTurn, row: Row) -> Row:
    vectors, order, writes = list(row["vectors"]), row["order"].tolist(), row["writes"] + 1
    oldest = order.index(min(order))  # a free place has the time 0
    vectors[oldest], order[oldest] = turn.pooled, int(writes)
    return {"vectors": torch.stack(vectors), "order": torch.tensor(order), "writes": writes}


def _read_one_vector(cell: OneVectorCell, row: Row, query: torch.Tensor | None) -> torch.Tensor:
    order = row["order"].tolist()
    chosen = order.index(max(order))
    if query is not None:
        cosines = [
            (v @ query / (v.norm() * query.norm())).item() if t else -2.0
            for v, t in zip(row["vectors"], order, strict=True)
        ]
        chosen = max(range(len(order)), key=lambda j: (cosines[j], order[j]))
    first = cell.first.weight @ row["vectors"][chosen] + cell.first.bias
    tokens = cell.second.weight @ F.gelu(first) + cell.second.bias
    return torch.stack(tokens.chunk(cell.config.num_soft_tokens))


def _write_slots(cell: SlotCell, turn: EncodedTurn, row: Row, relations: torch.Tensor | None) -> Row:
    config = cell.config
    key = turn.pooled / turn.pooled.norm()

    # The most salient words, in their order.
    real = [i for i in range(len(turn.token_ids)) if turn.token_mask[i]]
    words: dict[float, list[int]] = {}
    for i in real:
        words.setdefault(turn.token_salience[i].item(), []).append(i)
    length = int(config.slot_length or 0)
    kept, said = _most_salient(words, length), _most_salient(words, config.num_content_tokens)
    ids, mask, spoken = torch.zeros(length).int(), torch.zeros(length).bool(), torch.zeros(length).bool()
    for place, i in enumerate(sorted(kept)):
        ids[place], mask[place], spoken[place] = turn.token_ids[i], True, i in said

    salience, features = turn.token_salience[real], turn.token_features[real]
    mean = (salience.unsqueeze(-1) * features).sum(0) / salience.sum()
    relation = cell.relation_projection(torch.cat([turn.pooled, mean]))

    # What the turn does to each slot: take it away, or be kept out by it.
    names = ("keys", "relations", "token_ids", "token_mask", "token_spoken", "strengths", "times")
    new = {name: list(torch.zeros_like(row[name])) for name in names}
    same, is_same = torch.tensor(0.0), False
    for j in range(config.num_slots):
        if row["strengths"][j] == 0:
            continue
        other = row["relations"][j]
        pair = torch.cat([other * relation, (other - relation).abs(), (row["keys"][j] @ key)[None]])
        p = cell.relation_head(pair).softmax(0)
        if row["keys"][j] @ key < config.relation_threshold:
            p = torch.zeros_like(p)
        if relations is not None:
            p = relations[j]
        same = torch.maximum(same, p[SAME])
        likeliest = int(p.argmax()) if p.sum() > 0 else DIFFERENT
        is_same = is_same or bool(p[SAME] >= REPEATED)
        if likeliest != REVERSED:
            for name in names:
                new[name][j] = row[name][j]
            new["strengths"][j] = row["strengths"][j] * _one(1 - p[REVERSED])

    writes = row["writes"]
    if not is_same:
        writes = writes + 1
        free = [j for j in range(config.num_slots) if new["strengths"][j] == 0]
        target = free[0] if free else min(range(config.num_slots), key=lambda j: new["times"][j].item())
        new["keys"][target], new["relations"][target] = key, relation
        new["token_ids"][target], new["token_mask"][target], new["token_spoken"][target] = ids, mask, spoken
        new["strengths"][target], new["times"][target] = _one(1 - same), writes
    return {**{name: torch.stack(values) for name, values in new.items()}, "writes": writes}


def _most_salient(words: dict[float, list[int]], length: int) -> list[int]:
    """Of words by their salience, the tokens of as many as there is room for, the most salient first."""
    taken: list[int] = []
    for value in sorted(words, reverse=True):
        if len(taken) + len(words[value]) > length:
            return taken or words[value][:length]
        taken += words[value]
    return taken


def _read_slots(
    cell: SlotCell, row: Row, query: torch.Tensor | None, embed: Embed
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    filled = [j for j in range(cell.config.num_slots) if row["strengths"][j] > 0]
    temperature = cell.log_temperature[0].exp()
    scores = torch.full((cell.config.num_slots,), float("-inf"))
    best = torch.tensor(-1.0)
    for j in filled:
        if query is None:
            scores[j] = row["times"][j].item()
        else:
            cosine = (query @ row["keys"][j]) / query.norm()
            scores[j], best = temperature * cosine, torch.maximum(best, cosine)
    weights = scores.softmax(0) if filled else torch.zeros_like(scores)
    first = chosen = max(filled, key=lambda j: scores[j].item()) if filled else 0
    if query is not None and filled:
        cosines = scores / temperature
        third = sorted((cosines[j].item() for j in filled), reverse=True)[2:3]
        level = max([UNRELATED, *third])
        for j in filled:
            different = _relation(cell, row, first, j)[DIFFERENT]
            alike = different < cell.config.matter_threshold
            near = cosines[j] >= cosines[first] - cell.config.matter_margin
            apart = cosines[j] - level >= APART
            apart &= cosines[j] - level > cell.config.matter_share * (cosines[first] - level)
            apart &= different < SURELY
            if ((alike and near) or apart) and row["times"][j] > row["times"][chosen]:
                chosen = j
    exchanged = list(range(cell.config.num_slots))
    exchanged[first], exchanged[chosen] = chosen, first
    weights = torch.stack([weights[j] for j in exchanged])

    gate = torch.tensor(1.0)
    if query is not None:
        mean = torch.stack([scores[j] / temperature for j in filled]).mean() if filled else torch.tensor(0.0)
        features = torch.stack([best, mean, torch.tensor(float(len(filled))).log1p()])
        gate = cell.gate(features)[0] + temperature * (best - cell.gate_threshold[0])
    acts = _one(torch.sigmoid(gate)) * _one(weights[chosen])
    if filled:
        acts = acts * row["strengths"][chosen]

    slot = {name: row[name][chosen] for name in row if name != "writes"}
    return acts * _spoken(cell, slot, embed), gate, weights


def _relation(cell: SlotCell, row: Row, i: int, j: int) -> torch.Tensor:
    first, second = row["relations"][i], row["relations"][j]
    pair = torch.cat([first * second, (first - second).abs(), (row["keys"][i] @ row["keys"][j])[None]])
    probabilities: torch.Tensor = cell.relation_head(pair).softmax(0)
    return probabilities


def _spoken(cell: SlotCell, slot: Row, embed: Embed) -> torch.Tensor:
    """The soft tokens of one slot."""
    transform, num_frame = cell.transform, len(cell.frame)
    there = [place for place in range(len(slot["token_ids"])) if slot["token_mask"][place]]
    words = {place: embed(slot["token_ids"][place].long()) for place in there}

    # In the encoder: the frame, all of the slot's words, its key; and last, seen by none, the places of blanks.
    said = [place for place in there if slot["token_spoken"][place]]
    empty = [place for place in range(len(slot["token_ids"])) if place not in said]
    said += empty[: transform.num_content_tokens - len(said)]
    inner = [transform.down(token / _size(token)) + transform.places[f] for f, token in enumerate(cell.frame)]
    for place in [*there, *(p for p in said if p not in there)]:
        token = words.get(place, cell.blank)
        inner.append(transform.down(token / _size(token)) + transform.places[num_frame + place])
        inner[-1] = inner[-1] + transform.spoken * slot["token_spoken"][place]
    inner.append(transform.key_down(slot["keys"]))
    unseen = [False] * num_frame + [True] * (len(inner) - 1 - num_frame) + [False]
    unseen[num_frame : num_frame + len(there)] = [False] * len(there)
    seen = transform.encoder(torch.stack(inner)[None], src_key_padding_mask=torch.tensor([unseen]))[0]
    at = dict(zip([*there, *(p for p in said if p not in there)], seen[num_frame:], strict=False))

    tokens = [words[place] if slot["token_spoken"][place] else cell.blank for place in said]
    tokens = [*cell.frame[:1], *tokens, *cell.frame[1:]]
    places = [*seen[: min(1, num_frame)], *(at[place] for place in said), *seen[1:num_frame]]
    out = []
    for token, h in zip(tokens, places, strict=True):
        others = torch.zeros_like(token)
        if there:
            scores = torch.stack(
                [transform.word_query(h) @ transform.word_key(at[place]) / len(h) ** 0.5 for place in there]
            )
            for weight, place in zip(scores.softmax(0), there, strict=True):
                others = others + weight * words[place] / _size(words[place])
        out.append(token + _size(token) * (transform.up(h) + transform.word_gate(h) * others))
    return torch.stack(out)


def _size(token: torch.Tensor) -> torch.Tensor:
    return token.pow(2).mean().sqrt()


def _one(probability: torch.Tensor) -> torch.Tensor:
    """1 with the probability's gradient: the gates are hard, and still learn."""
    return probability - probability.detach() + 1
