"""What a new turn does to what is stored, when both are read: which pairs, what follows, rows and batches."""

import pytest
import torch
from pref_lstm.modeling.memory_reference import reference_update
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.relate import MAX_PAIRS, relate
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from pref_lstm.training.history_writer import HistoryWriter
from tiny import TOLERANCE, make_encoder, make_model

STORED = ["I love green tea", "no long trains", "I hate rain, please", "my cats", "quiet music", "short trips"]
NEW = "never black coffee"
SAME, REVERSED, DIFFERENT = range(3)


def make_reader(**overrides):
    model = make_model(num_slots=8, num_relation_layers=2, relation_rank=3, pair_threshold=1.0, **overrides)
    model._encoder = TurnEncoder(make_encoder(), model.tokenizer)
    return model


def always(model, relation):
    """Whatever two turns say, they relate like this."""
    last = model.memory.relation_encoder.head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(20.0 * torch.eye(3)[relation])


def store(model, texts):
    """One user's memory of these turns, each in a slot of its own."""
    relations, model.memory.relation_encoder = model.memory.relation_encoder, None
    threshold, model.memory_config.relation_threshold = model.memory_config.relation_threshold, 1.0
    state = model.initial_state()
    for text in texts:
        state = model.write([Turn(text)], state)
    model.memory.relation_encoder, model.memory_config.relation_threshold = relations, threshold
    assert int((state["strengths"] > 0).sum()) == len(texts)
    return state


def relations_of(model, texts, state):
    return relate(model.encoder, model.memory, model.encoder.encode([Turn(text) for text in texts]), state)


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_the_likest_slots_are_read_with_the_turn(count):
    model = make_reader()
    state = store(model, STORED[:count])
    found = relations_of(model, [NEW], state)[0]
    by_vectors = model.memory.cell.compare(model.encoder.encode([Turn(NEW)]), state)[0].detach()
    different = {j: float(by_vectors[j, DIFFERENT]) for j in range(8) if state["strengths"][0, j] > 0}
    likest = sorted(different, key=different.get)[:MAX_PAIRS]
    assert sorted(found.sum(-1).nonzero().flatten().tolist()) == sorted(likest)
    for j in likest:
        length = int(state["token_mask"][0, j].sum())
        old = model.tokenizer.decode(state["token_ids"][0, j, :length])
        pair = tokenize_turns(model.encoder.tokenizer, [Turn(NEW, agent=old)])
        by_reader = model.memory.relation_encoder(model.encoder.backbone, **pair)[0].softmax(0)
        expected = by_vectors[j] * by_reader
        torch.testing.assert_close(found[j], expected / expected.sum(), **TOLERANCE)


def test_turns_that_are_different_by_their_vectors_are_not_read():
    model = make_reader()
    state = store(model, STORED[:MAX_PAIRS])
    every = relations_of(model, [NEW], state)[0].sum(-1)
    by_vectors = model.memory.cell.compare(model.encoder.encode([Turn(NEW)]), state)[0].detach()
    low, high = by_vectors[:MAX_PAIRS, DIFFERENT].sort().values
    model.memory_config.pair_threshold = float((low + high) / 2)
    some = relations_of(model, [NEW], state)[0].sum(-1)
    assert [int((x > 0).sum()) for x in (every, some)] == [MAX_PAIRS, MAX_PAIRS - 1]
    model.memory_config.pair_threshold = 0.0
    assert not relations_of(model, [NEW], state).any()


def test_a_row_alone_is_the_row_in_a_batch():
    model = make_reader()
    states = [store(model, STORED[:n]) for n in (2, 0, 5)]
    texts = [NEW, "I love cats and dogs and long trips", "tea"]
    together = relations_of(model, texts, MemoryState.cat(states))
    alone = torch.cat([relations_of(model, [text], state) for text, state in zip(texts, states, strict=True)])
    torch.testing.assert_close(together, alone, **TOLERANCE)


@pytest.mark.parametrize(("relation", "left"), [(SAME, 3), (REVERSED, 3 - MAX_PAIRS + 1), (DIFFERENT, 4)])
def test_what_the_pair_says_is_done(relation, left):
    model = make_reader()
    always(model, relation)
    state = store(model, STORED[:3])
    new = model.write([Turn(NEW)], state)
    assert int((new["strengths"] > 0).sum()) == left
    assert new.equal(state) == (relation == SAME)
    assert (int(new["writes"]) == 4) == (relation != SAME)


@pytest.mark.parametrize("seed", range(4))
def test_the_cell_does_as_its_reference(seed):
    model = make_reader()
    state = store(model, STORED[:4])
    turn = model.encoder.encode([Turn(NEW)])
    given = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(seed)).mul(4).softmax(-1)
    given = given * (state["strengths"] > 0).unsqueeze(-1)
    with torch.no_grad():
        actual = model.memory.update(turn, state, model.tuner.embed, relations=given)
        expected = reference_update(model.memory.cell, turn, state, given)
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(actual[name], tensor, **TOLERANCE)


def test_a_history_is_written_as_turn_after_turn():
    model = make_reader()
    histories = [[Turn(text) for text in STORED], [Turn(NEW)], []]
    states = HistoryWriter(model).states(histories)
    for row, turns in enumerate(histories):
        state = model.initial_state()
        for turn in turns:
            state = model.write([turn], state)
        for name, tensor in state.tensors.items():
            torch.testing.assert_close(states[name][row], tensor[0], **TOLERANCE)


@pytest.mark.parametrize("text", ["\u200b", "?!", "😀", "[SEP] tea [CLS]"])
def test_odd_turns_are_read_too(text):
    model = make_reader()
    state = store(model, STORED[:2])
    found = relations_of(model, [text], state)
    torch.testing.assert_close(found.sum(-1)[0, :2], torch.ones(2))
    assert torch.isfinite(model.write([Turn(NEW)], model.write([Turn(text)], state))["keys"]).all()
