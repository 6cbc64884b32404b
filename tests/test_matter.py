"""Which slot speaks where several are on the matter of a question."""

import pytest
import torch
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.pref_memory import PrefMemory
from tiny import ENCODER_WIDTH, TOLERANCE, tiny_config

HIDDEN = 10
WORDS = torch.randn(64, HIDDEN, generator=torch.Generator().manual_seed(7))


def embed(ids):
    return WORDS[ids]


def stored(memory, cosines_to_query, cosines_to_first):
    """A state whose slots were written in order, with the given cosines, and the query."""
    state = memory.initial_state(1)
    keys = torch.zeros(1, memory.config.num_slots, ENCODER_WIDTH)
    query = torch.eye(ENCODER_WIDTH)[:1]
    first = torch.eye(ENCODER_WIDTH)[0] * cosines_to_query[0]
    first[1] = (1 - cosines_to_query[0] ** 2) ** 0.5
    for j, (to_query, to_first) in enumerate(zip(cosines_to_query, cosines_to_first, strict=True)):
        keys[0, j, 0] = to_query
        keys[0, j, 1] = (to_first - to_query * first[0]) / first[1]
        keys[0, j, 2 + j] = (1 - keys[0, j].square().sum()).clamp_min(0) ** 0.5
    n = len(cosines_to_query)
    tensors = dict(state.tensors)
    tensors["keys"] = keys
    tensors["strengths"][0, :n] = 1
    tensors["times"][0, :n] = torch.arange(1, n + 1)
    tensors["token_ids"][0, :n] = torch.arange(8, 8 + n)[:, None].int()
    tensors["token_mask"][0, :n] = True
    tensors["writes"] = torch.tensor([n])
    return MemoryState(state.cell, tensors), query


@pytest.mark.parametrize(
    ("to_query", "to_first", "read"),
    [
        ((0.8, 0.75), (1.0, 0.9), 1),  # on the same matter, said later
        ((0.8, 0.85), (1.0, 0.9), 1),  # the best one is the latest already
        ((0.8, 0.75), (1.0, 0.61), 0),  # another matter
        ((0.8, 0.6), (1.0, 0.9), 0),  # the same matter, but the question is about the other
        ((0.8, 0.78, 0.76), (1.0, 0.95, 0.9), 2),  # the latest of three
    ],
)
def test_of_turns_on_one_matter_the_latest_is_read(to_query, to_first, read, monkeypatch):
    def by_cosine(first, second, cosine):
        """Surely different below 0.7, surely not above."""
        return torch.nn.functional.one_hot((cosine < 0.7).long() * 2, 3).float() * 100

    check_read(to_query, to_first, read, monkeypatch, by_cosine, matter_share=1.0)


@pytest.mark.parametrize(
    ("to_query", "read"),
    [
        ((0.8, 0.7, 0.3), 1),  # two stand out: the later
        ((0.3, 0.8, 0.3, 0.7), 3),  # wherever they are
        ((0.7, 0.8, 0.3), 1),  # the best one is the later
        ((0.8, 0.55, 0.3), 0),  # the second is no nearer to the best than to the third
        ((0.8, 0.75, 0.7), 0),  # nothing stands out
        ((0.8, 0.75), 1),  # all that there is, and far above what has nothing to do with the question
        ((0.8, 0.3), 0),
        ((0.19, 0.18), 0),  # nothing has to do with it
    ],
)
def test_of_two_turns_that_stand_out_the_later_is_read(to_query, read, monkeypatch):
    def different(first, second, cosine):
        return torch.tensor([0.0, 0.0, 100.0]).expand(*cosine.shape, 3)

    to_first = [0.9 * cosine for cosine in to_query]
    to_first[0] = 1.0
    check_read(to_query, to_first, read, monkeypatch, different, matter_share=0.6)


def check_read(to_query, to_first, read, monkeypatch, relation_logits, matter_share):
    config = tiny_config(matter_threshold=0.2, matter_margin=0.1, matter_share=matter_share)
    memory = PrefMemory(config, HIDDEN, len(WORDS))
    memory.cell.reset_parameters(WORDS)
    monkeypatch.setattr(memory.cell, "relation_logits", relation_logits)
    state, query = stored(memory, to_query, to_first)
    word = memory.read(state, embed, query).soft_tokens[0, 1]
    alone = [memory.read(one_slot(state, j), embed, query).soft_tokens[0, 1] for j in range(len(to_query))]
    torch.testing.assert_close(word, alone[read], **TOLERANCE)
    assert all(not torch.allclose(word, other) for j, other in enumerate(alone) if j != read)


def one_slot(state, j):
    strengths = torch.zeros_like(state["strengths"])
    strengths[0, j] = 1
    return MemoryState(state.cell, {**state.tensors, "strengths": strengths})
