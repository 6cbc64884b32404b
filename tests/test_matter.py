"""Which slot speaks where several are on the matter of a question."""

import pytest
import torch
from pref_lstm.modeling.memory_reference import reference_read
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

    memory = make_memory(matter_share=1.0)
    monkeypatch.setattr(memory.cell, "relation_logits", by_cosine)
    state, query = stored(memory, to_query, to_first)
    check_read(memory, state, query, read)


@pytest.mark.parametrize(
    ("to_query", "read"),
    [
        ((0.8, 0.7, 0.3), 1),  # two stand apart: the later
        ((0.3, 0.8, 0.3, 0.7), 3),  # wherever they are
        ((0.7, 0.8, 0.3), 1),  # the best one is the later
        ((0.8, 0.55, 0.3), 0),  # the second is no nearer to the best than to the third
        ((0.8, 0.75, 0.7), 0),  # nothing stands apart
        ((0.8, 0.75), 1),  # all that there is, and far above what has nothing to do with the question
        ((0.8, 0.3), 0),
        ((0.19, 0.18), 0),  # nothing has to do with it
        ((0.3, 0.19), 0),  # nor the second
    ],
)
def test_of_two_turns_that_stand_apart_the_later_is_read(to_query, read):
    memory = make_memory(matter_share=0.6)
    compare_as(memory, 2.5)
    to_first = [0.9 * cosine for cosine in to_query]
    to_first[0] = 1.0
    state, query = stored(memory, to_query, to_first)
    check_read(memory, state, query, read)
    plain = reference_read(memory.cell, state, query, embed)
    torch.testing.assert_close(memory.read(state, embed, query).soft_tokens, plain.soft_tokens, **TOLERANCE)
    torch.testing.assert_close(memory.read(state, embed, query).slot_weights, plain.slot_weights, **TOLERANCE)


def test_turns_that_are_surely_different_are_on_two_matters():
    memory = make_memory(matter_share=0.6)
    state, query = stored(memory, (0.8, 0.75, 0.3), (1.0, 0.9, 0.3))
    for logit, read in ((2.8, 1), (3.0, 0)):  # probabilities of 0.89 and 0.91
        compare_as(memory, logit)
        check_read(memory, state, query, read)


def compare_as(memory, logit):
    """All pairs are different with the same probability."""
    with torch.no_grad():
        memory.cell.relation_head[-1].weight.zero_()
        memory.cell.relation_head[-1].bias.copy_(torch.tensor([0.0, 0.0, logit]))


@pytest.mark.parametrize("num_slots", [1, 2])
def test_few_slots_are_enough(num_slots):
    memory = make_memory(matter_share=0.6, num_slots=num_slots)
    compare_as(memory, 0.0)
    state, query = stored(memory, [0.8, 0.75][:num_slots], [1.0, 0.9][:num_slots])
    check_read(memory, state, query, num_slots - 1)


def make_memory(**config):
    torch.manual_seed(0)
    config = tiny_config(matter_threshold=0.2, matter_margin=0.1, **config)
    memory = PrefMemory(config, HIDDEN, len(WORDS))
    memory.cell.reset_parameters(WORDS)
    return memory


def check_read(memory, state, query, read):
    """The words are those of the slot, and its weight is the highest."""
    readout = memory.read(state, embed, query)
    words = [memory.read(one_slot(state, j), embed, query).soft_tokens[0, 1] for j in range(int(state["writes"]))]
    torch.testing.assert_close(readout.soft_tokens[0, 1], words[read], **TOLERANCE)
    assert all(not torch.allclose(readout.soft_tokens[0, 1], other) for j, other in enumerate(words) if j != read)
    assert int(readout.slot_weights[0].argmax()) == read
    torch.testing.assert_close(readout.slot_weights.sum(), torch.tensor(1.0))


def one_slot(state, j):
    strengths = torch.zeros_like(state["strengths"])
    strengths[0, j] = 1
    return MemoryState(state.cell, {**state.tensors, "strengths": strengths})
