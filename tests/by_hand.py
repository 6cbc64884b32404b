"""Prompts with a block of placeholders, and what the bare LM makes of each row when the block is put in by hand."""

import torch
from pref_lstm.modeling.outputs import MemoryReadout

M, K, PAD = 6, 6, 1  # placeholder id, soft tokens of a block, pad id
BLOCK = [M] * K
PROMPTS = [[2, 27, 44, *BLOCK, 7, 30], [*BLOCK, 2, 31], [2, 40, 41, 42, 43, 50, *BLOCK, 9]]


def make_readout(model, is_open, seed=0):
    """A read of random vectors, `is_open` for each row."""
    width = model.get_input_embeddings().weight.shape[1]
    soft = torch.randn(len(is_open), K, width, generator=torch.Generator().manual_seed(seed))
    return MemoryReadout(soft, torch.tensor(is_open)[:, None].expand(-1, K), torch.zeros(len(is_open)))


def pad(rows, side="left"):
    length = max(map(len, rows))
    gaps = [(length - len(row)) for row in rows]
    left = side == "left"
    ids = [[PAD] * g + row if left else row + [PAD] * g for g, row in zip(gaps, rows, strict=True)]
    mask = [[0] * g + [1] * len(row) if left else [1] * len(row) + [0] * g for g, row in zip(gaps, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


def by_hand(bare, row, readout, b):
    """One row's embeddings `(1, length, hidden)`: soft tokens in place, closed placeholders left out."""
    soft, out = iter(zip(readout.soft_tokens[b], readout.is_open[b], strict=True)), []
    for i in row:
        if i != M:
            out.append(bare.get_input_embeddings()(torch.tensor(i)))
            continue
        vector, is_open = next(soft)
        if is_open:
            out.append(vector)
    return torch.stack(out)[None]


def kept(row, readout, b):
    """Columns of the row that the LM gets to see."""
    is_open = iter(readout.is_open[b].tolist())
    return [c for c, i in enumerate(row) if i != M or next(is_open)]


def answers_by_hand(bare, rows, readout, **how):
    out = []
    for b, row in enumerate(rows):
        embeds = by_hand(bare, row, readout, b)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        out.append(
            bare.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=10, suppress_tokens=[M], **how)
        )
    return torch.cat(out)
