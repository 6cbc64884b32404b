"""The memory cells: equal to their plain reference, gradients too; masks, padding, carried state, bounds, the gate."""

import pytest
import torch
from pref_lstm.modeling.memory_reference import reference_read, reference_update
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.pref_memory import PrefMemory
from tiny import CELLS, ENCODER_WIDTH, TOLERANCE, random_turns, scramble, tiny_config

HIDDEN = 10
WORDS = torch.randn(64, HIDDEN, generator=torch.Generator().manual_seed(7))


def embed(ids):
    return WORDS[ids]


def make_memory(cell, seed=0, decisive=True):
    torch.manual_seed(seed)
    memory = PrefMemory(tiny_config(cell), HIDDEN, len(WORDS))
    memory.cell.reset_parameters(WORDS)
    scramble(memory, seed)
    if cell == "slots" and decisive:
        # Far from undecided: among random turns some repeat and some reverse another.
        scramble(memory.cell.relation_head, seed + 6, scale=4.0)
    return memory


def at(turns, t):
    return EncodedTurn(*[value[:, t] for value in turns.to_tuple()])


def steps(memory, turns, mask, state):
    """Step by step through the reference; a row without a turn keeps its state."""
    for t in range(mask.shape[1]):
        new = reference_update(memory.cell, at(turns, t), state)
        state = MemoryState(
            state.cell,
            {n: torch.stack([new[n][b] if mask[b, t] else old[b] for b in range(len(mask))])
             for n, old in state.tensors.items()},
        )  # fmt: skip
    return state


def assert_same_state(actual, expected):
    assert actual.cell == expected.cell
    assert list(actual.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(actual[name], tensor, **TOLERANCE, msg=lambda text, n=name: f"{n}: {text}")


def some_state(memory, batch=3, seed=3):
    """A state with a past, whose floating-point tensors are leaves."""
    with torch.no_grad():
        turns = random_turns(batch, 2, seed=seed)
        state = memory.scan(turns, embed, torch.tensor([[1, 1], [1, 0], [1, 1]])[:batch])
    return MemoryState(
        state.cell,
        {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in state.tensors.items()},
    )


def gradients(memory, initial, state, readout):
    g = torch.Generator().manual_seed(11)
    loss = torch.zeros(())
    for value in [readout.soft_tokens, readout.gate_logits, *state.tensors.values()]:
        if value.is_floating_point():
            loss = loss + (value * torch.randn(value.shape, generator=g)).sum()
    leaves = {n: p for n, p in memory.named_parameters()}
    leaves |= {f"initial {n}": t for n, t in initial.tensors.items() if t.requires_grad}
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(leaves[n]) if d is None else d for n, d in zip(leaves, found, strict=True)}


@pytest.mark.parametrize("num_turns", [1, 2, 63])
@pytest.mark.parametrize("cell", CELLS)
def test_scan_and_read_equal_the_reference_with_gradients(cell, num_turns):
    memory = make_memory(cell)
    initial = some_state(memory)
    turns = random_turns(3, num_turns, seed=num_turns)
    mask = torch.rand(3, num_turns, generator=torch.Generator().manual_seed(num_turns)) > 0.3
    mask[2] = 0  # a row without any turn
    query = torch.randn(3, ENCODER_WIDTH)

    state = memory.scan(turns, embed, mask, initial)
    readout = memory.read(state, embed, query)
    plain_state = steps(memory, turns, mask, initial)
    plain = reference_read(memory.cell, plain_state, query, embed)

    assert_same_state(state, plain_state)
    torch.testing.assert_close(readout.soft_tokens, plain.soft_tokens, **TOLERANCE)
    torch.testing.assert_close(readout.gate_logits, plain.gate_logits, **TOLERANCE)
    if cell == "slots":
        torch.testing.assert_close(readout.slot_weights, plain.slot_weights, **TOLERANCE)
    expected = gradients(memory, initial, plain_state, plain)
    for name, gradient in gradients(memory, initial, state, readout).items():
        assert gradient.isfinite().all(), name
        scale = expected[name].abs().max().clamp_min(1.0)
        torch.testing.assert_close(
            gradient / scale, expected[name] / scale, **TOLERANCE, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_the_slots_of_the_comparison_are_let_in_kept_out_and_reversed():
    """Else the comparison above would pin less than it seems to."""
    memory = make_memory("slots")
    turns = random_turns(3, 63, seed=63)
    state, kinds = memory.initial_state(3), set()
    for t in range(63):
        new = memory.update(at(turns, t), state, embed)
        filled, filled_now = (state["strengths"] > 0).sum(1), (new["strengths"] > 0).sum(1)
        kinds |= {"kept out" if w == v else "let in" for w, v in zip(new["writes"], state["writes"], strict=True)}
        kinds |= {"reversed" for a, b in zip(filled, filled_now, strict=True) if b < a}
        state = new
    assert kinds == {"let in", "kept out", "reversed"}


@pytest.mark.parametrize("cell", CELLS)
def test_read_without_query_equals_the_reference(cell):
    memory = make_memory(cell)
    state = some_state(memory)
    readout, plain = memory.read(state, embed), reference_read(memory.cell, state, None, embed)
    torch.testing.assert_close(readout.soft_tokens, plain.soft_tokens, **TOLERANCE)
    torch.testing.assert_close(readout.gate_logits, plain.gate_logits, **TOLERANCE)


def test_read_without_query_takes_the_latest_slot():
    memory = make_memory("slots")
    memory.cell.reset_parameters(WORDS)  # nothing is the same as, or the reverse of, another turn
    state = memory.scan(random_turns(1, 3), embed, torch.ones(1, 3))
    weights = memory.read(state, embed).slot_weights
    assert int(weights.argmax()) == int(state["times"].argmax()) == 2


@pytest.mark.parametrize("cell", CELLS)
def test_masked_rows_keep_their_state_bit_for_bit(cell):
    memory = make_memory(cell, seed=2, decisive=False)
    old = some_state(memory).detach()
    new = memory.update(at(random_turns(3, 2), 1), old, embed, torch.tensor([0, 0, 1]))
    assert new.rows([0, 1]).equal(old.rows([0, 1]))
    assert not new.rows([2]).equal(old.rows([2]))


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_equals_its_rows_one_by_one(cell):
    memory = make_memory(cell)
    turns = random_turns(4, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
    query = torch.randn(4, ENCODER_WIDTH)
    state = memory.scan(turns, embed, mask)
    readout = memory.read(state, embed, query)
    for b in range(4):
        one = EncodedTurn(*[value[b : b + 1] for value in turns.to_tuple()])
        alone = memory.scan(one, embed, mask[b : b + 1])
        assert_same_state(state.rows([b]), alone)
        assert_same_state(alone, MemoryState.cat([alone]))
        read_alone = memory.read(alone, embed, query[b : b + 1])
        torch.testing.assert_close(readout.soft_tokens[b : b + 1], read_alone.soft_tokens, **TOLERANCE)
        assert torch.equal(readout.is_open[b : b + 1], read_alone.is_open)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_of_turns_and_of_their_tokens_changes_nothing(cell):
    memory = make_memory(cell)
    turns = random_turns(2, 3)
    padded = EncodedTurn(
        torch.cat([turns.pooled, torch.full((2, 2, ENCODER_WIDTH), 9.0)], 1),
        torch.nn.functional.pad(turns.token_ids, (0, 4, 0, 2), value=5),
        torch.nn.functional.pad(turns.token_mask, (0, 4, 0, 2)),
        torch.nn.functional.pad(turns.token_features, (0, 0, 0, 4, 0, 2), value=9.0),
        torch.nn.functional.pad(turns.token_salience, (0, 4, 0, 2), value=9.0),
    )
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 0]])
    assert_same_state(memory.scan(padded, embed, mask), memory.scan(turns, embed, mask[:, :3]))


@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_equals_steps_with_carried_and_saved_state(cell, tmp_path):
    memory = make_memory(cell).requires_grad_(False)
    turns = random_turns(2, 6)
    mask = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 1]])
    state = memory.initial_state(2)
    for t in range(6):
        state = memory.update(at(turns, t), state, embed, mask[:, t])
        state.save(tmp_path / "user", memory)
        state = MemoryState.load(tmp_path / "user", memory)
    assert [path.name for path in tmp_path.iterdir()] == ["user"]
    assert state.equal(memory.scan(turns, embed, mask))


@pytest.mark.parametrize("cell", CELLS)
def test_an_update_leaves_the_old_state_as_it_was(cell):
    memory = make_memory(cell)
    old = some_state(memory).detach()
    copy = MemoryState(old.cell, {n: t.clone() for n, t in old.tensors.items()})
    memory.read(memory.update(at(random_turns(3, 1), 0), old, embed), embed)
    assert old.equal(copy)


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_history_is_a_closed_memory(cell):
    memory = make_memory(cell)
    empty = memory.initial_state(2)
    turns = random_turns(2, 1)
    none = memory.scan(turns, embed, torch.zeros(2, 1))
    assert none.equal(empty)
    no_turns = EncodedTurn(*[value[:, :0] for value in turns.to_tuple()])
    assert memory.scan(no_turns, embed, torch.zeros(2, 0)).equal(empty)
    for query in (None, torch.randn(2, ENCODER_WIDTH)):
        readout = memory.read(empty, embed, query)
        assert not readout.is_open.any()
        assert readout.soft_tokens.isfinite().all()
    readout.soft_tokens.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in memory.parameters())


def test_the_oldest_slot_gives_way():
    memory = make_memory("slots")
    memory.cell.reset_parameters(WORDS)
    turns = random_turns(1, 8)
    state = memory.scan(turns, embed, torch.ones(1, 8))
    assert state["times"].tolist() == [[6, 7, 8, 4, 5]]
    assert state["writes"].tolist() == [8]
    keys = torch.nn.functional.normalize(turns.pooled[0], dim=-1)
    torch.testing.assert_close(state["keys"][0], keys[[5, 6, 7, 3, 4]], **TOLERANCE)


def test_the_prompt_is_the_same_for_every_user():
    memory = make_memory("prompt")
    states = [memory.scan(random_turns(2, n, seed=n), embed, torch.ones(2, n)) for n in (1, 4)]
    reads = [memory.read(state, embed, torch.randn(2, ENCODER_WIDTH)) for state in states]
    assert all(read.is_open.all() for read in reads)
    assert all(torch.equal(row, memory.cell.tokens) for read in reads for row in read.soft_tokens)


def test_one_vector_reads_the_nearest_turn_and_forgets_the_oldest():
    memory = make_memory("one_vector")
    turns = random_turns(1, 7)  # two more than there are places
    state = memory.scan(turns, embed, torch.ones(1, 7))
    assert state["order"].tolist() == [[6, 7, 3, 4, 5]]
    for t in range(2, 7):
        alone = memory.update(at(turns, t), memory.initial_state(1), embed)
        nearest = memory.read(state, embed, 3 * turns.pooled[:, t] + 0.1)
        torch.testing.assert_close(nearest.soft_tokens, memory.read(alone, embed).soft_tokens, **TOLERANCE)
    latest = memory.read(state, embed)
    torch.testing.assert_close(latest.soft_tokens, memory.read(alone, embed).soft_tokens, **TOLERANCE)


@pytest.mark.parametrize("cell", ["pref_lstm", "lstm"])
def test_the_gate_of_a_vector_cell_is_open_until_trained(cell):
    memory = PrefMemory(tiny_config(cell), HIDDEN, len(WORDS))
    memory.cell.reset_parameters(WORDS)
    state = memory.scan(random_turns(3, 2), embed, torch.ones(3, 2))
    assert memory.read(state, embed, 100 * torch.randn(3, ENCODER_WIDTH)).is_open.all()


@pytest.mark.parametrize(
    ("salience", "kept", "spoken"),
    [
        # by salience, in the turn's order
        ([0.1, 1.2, 3.0, 1.1, 2.0, 0.5, 1.0], [12, 13, 14, 15, 16, 17], [12, 13, 14, 15]),
        # a word of two tokens that doesn't fit is left out
        ([1.2, 1.2, 3.0, 1.1, 1.1, 0.5, 0.5], [11, 12, 13, 14, 15], [11, 12, 13]),
        # a word longer than the place for it is cut
        ([0.5, 2.0, 2.0, 2.0, 2.0, 2.0], [11, 12, 13, 14, 15, 16], [12, 13, 14, 15]),
        ([0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], [12, 13, 14, 15, 16, 17], [12, 13, 14, 15]),
        # fewer than there is room for
        ([2.0, 1.0], [11, 12], [11, 12]),
    ],
)
def test_a_slot_holds_the_most_salient_words_in_their_order(salience, kept, spoken):
    memory = make_memory("slots")
    memory.cell.reset_parameters(WORDS)
    turn, n = at(random_turns(1, 1), 0), len(salience)
    turn.token_ids = torch.tensor([[*range(11, 11 + n), 31]])
    turn.token_salience = torch.tensor([[*salience, 9.0]])
    turn.token_mask = torch.tensor([[True] * n + [False]])
    turn.token_features = torch.randn(1, n + 1, ENCODER_WIDTH)
    state = memory.update(turn, memory.initial_state(), embed)
    free = 6 - len(kept)
    assert state["token_ids"][0, 0].tolist() == kept + [0] * free
    assert state["token_mask"][0, 0].tolist() == [True] * len(kept) + [False] * free
    assert state["token_spoken"][0, 0].tolist() == [i in spoken for i in kept] + [False] * free
    assert_same_state(state, reference_update(memory.cell, turn, memory.initial_state()))


def test_words_without_a_soft_token_of_their_own_are_heard():
    memory = make_memory("slots")
    turn = at(random_turns(1, 1, turn_length=6), 0)
    turn.token_mask, turn.token_salience = torch.ones(1, 6).bool(), torch.tensor([[1.0, 2.0, 0.2, 3.0, 4.0, 0.1]])
    other = EncodedTurn(*turn.to_tuple())
    other.token_ids = turn.token_ids.clone()
    other.token_ids[0, 2] += 1  # not among the four that are spoken
    first, second = (memory.read(memory.update(t, memory.initial_state(), embed), embed) for t in (turn, other))
    assert not torch.allclose(first.soft_tokens, second.soft_tokens)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_has_one_size_of_at_most_a_mebibyte(cell):
    config = tiny_config(cell)
    default = type(config)(cell=cell)
    memory = PrefMemory(default, 576, 4)
    memory.cell.reset_parameters(torch.randn(4, 576))
    empty = memory.initial_state()
    assert empty.num_bytes <= 2**20
    small = make_memory(cell).requires_grad_(False)
    state = small.initial_state()
    sizes = set()
    for t in range(12):
        state = small.update(at(random_turns(1, 1, seed=t), 0), state, embed)
        sizes.add((state.num_bytes, len(state.to_bytes("f"))))
    assert len(sizes) == 1
    assert {n: t.dtype for n, t in state.tensors.items()} == {n: t.dtype for n, t in empty.tensors.items()}


@pytest.mark.parametrize("cell", ["slots", "pref_lstm", "lstm"])
@pytest.mark.parametrize("is_open", [True, False])
def test_the_gate_opens_and_closes_by_its_logit(cell, is_open):
    memory = make_memory(cell)
    with torch.no_grad():
        if cell == "slots":
            memory.cell.gate_threshold.fill_(-50.0 if is_open else 50.0)
        else:
            memory.cell.gate_bias.fill_(1e3 if is_open else -1e3)
    readout = memory.read(some_state(memory), embed, torch.randn(3, ENCODER_WIDTH))
    assert torch.equal(readout.is_open, torch.full((3, 6), is_open))
    assert torch.equal(readout.gate_logits > 0, torch.full((3,), is_open))


@pytest.mark.parametrize("cell", CELLS)
def test_a_fingerprint_names_weights_and_cell(cell):
    memory, twin = make_memory(cell), make_memory(cell)
    assert memory.fingerprint() == twin.fingerprint()
    with torch.no_grad():
        next(twin.parameters()).view(-1)[0] += 1e-3
    assert memory.fingerprint() != twin.fingerprint()


def test_a_fingerprint_names_what_gives_a_state_its_meaning():
    torch.manual_seed(0)
    memory = PrefMemory(tiny_config("slots"), HIDDEN, len(WORDS))

    def fingerprint(vocab_size=None, **changes):
        config = tiny_config("slots")
        for name, value in changes.items():
            setattr(config, name, value)
        other = PrefMemory(config, HIDDEN, vocab_size or len(WORDS))
        other.load_state_dict(memory.state_dict())
        return other.fingerprint()

    assert fingerprint() == fingerprint(classifier_name_or_path="moved", revision="other") == memory.fingerprint()
    changed = [{"vocab_size": 65}, {"matter_threshold": 0.9}, {"encoder_name_or_path": "other"}, {"num_slots": 3}]
    assert len({memory.fingerprint(), *[fingerprint(**change) for change in changed]}) == 1 + len(changed)


def test_a_state_moves_between_dtypes_and_batches():
    state = some_state(make_memory("slots")).detach()
    half = state.to(torch.float64)
    assert half["keys"].dtype == torch.float64
    assert half["times"].dtype == torch.int64
    assert MemoryState.cat([state.rows([2]), state.rows(torch.tensor([0, 1]))]).equal(state.rows([2, 0, 1]))


def test_turns_that_are_far_apart_neither_repeat_nor_reverse_each_other():
    memory = make_memory("slots")
    turns, mask = random_turns(1, 5), torch.ones(1, 5)
    near = memory.scan(turns, embed, mask)
    assert int((near["strengths"] > 0).sum()) < 5  # the scrambled relation head takes some for repeats or reversals
    memory.cell.config.relation_threshold = 0.999
    far = memory.scan(turns, embed, mask)
    assert int((far["strengths"] > 0).sum()) == 5
