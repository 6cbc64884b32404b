"""Soft tokens in the LM: whatever the batch, padding, cache or way to generate, the same as each row alone by hand."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from by_hand import BLOCK, PROMPTS, M, answers_by_hand, by_hand, kept, make_readout, pad
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.outputs import MemoryReadout
from tiny import ENCODER_WIDTH, FAMILIES, TOLERANCE, make_lm, make_model, random_turns


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """One family's LM with a memory, and the same LM without."""
    return make_model(request.param), make_lm(request.param)


@pytest.fixture(scope="module")
def llama():
    return make_model("llama"), make_lm("llama")


@pytest.mark.parametrize("side", ["left", "right"])
def test_forward_equals_each_row_by_hand(pair, side):
    model, bare = pair
    readout = make_readout(model, [True, True, False])
    ids, mask = pad(PROMPTS, side)
    logits = model(input_ids=ids, attention_mask=mask, memory_readout=readout).logits
    assert logits.shape[:2] == ids.shape
    for b, row in enumerate(PROMPTS):
        start = ids.shape[1] - len(row) if side == "left" else 0
        expected = bare(inputs_embeds=by_hand(bare, row, readout, b)).logits[0]
        actual = logits[b, [start + c for c in kept(row, readout, b)]]
        torch.testing.assert_close(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_that_count_the_placeholders_shift_no_closed_row(pair, side):
    model, bare = pair
    ids, mask = pad(PROMPTS, side)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    kwargs = {"input_ids": ids, "attention_mask": mask, "memory_readout": make_readout(model, [True, True, False])}
    given, own = model(**kwargs, position_ids=positions).logits, model(**kwargs).logits
    real = mask.bool() & (ids != M)
    torch.testing.assert_close(given[real], own[real], **TOLERANCE)

    kwargs["memory_readout"] = make_readout(model, [False] * 3)
    closed = model(**kwargs, position_ids=positions).logits
    plain, plain_mask = pad([[i for i in row if i != M] for row in PROMPTS], side)
    plain_positions = (plain_mask.cumsum(-1) - 1).clamp(min=0)
    expected = bare(input_ids=plain, attention_mask=plain_mask, position_ids=plain_positions).logits
    torch.testing.assert_close(closed[real], expected[plain_mask.bool()], **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_block_is_put_before_prompts_that_have_none(pair, side):
    model, _ = pair
    rows = [[i for i in row if i != M] for row in PROMPTS]
    readout = make_readout(model, [True, False, True])
    (ids, mask), (full, full_mask) = pad(rows, side), pad([BLOCK + row for row in rows], side)
    labels = ids.masked_fill(mask == 0, -100)
    full_labels = full.masked_fill((full_mask == 0) | (full == M), -100)
    out = model(input_ids=ids, attention_mask=mask, labels=labels, memory_readout=readout)
    expected = model(input_ids=full, attention_mask=full_mask, labels=full_labels, memory_readout=readout)
    assert torch.equal(out.logits, expected.logits)
    assert torch.equal(out.loss, expected.loss)


@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"do_sample": False, "use_cache": False},
        {"do_sample": False, "cache_implementation": "static"},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
        {"do_sample": False, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    ],
    ids=["greedy", "no cache", "static cache", "beams", "beams returned", "penalties"],
)
def test_generate_equals_each_row_by_hand(pair, how):
    model, bare = pair
    readout = make_readout(model, [True, True, False])
    ids, mask = pad(PROMPTS)
    out = model.generate(input_ids=ids, attention_mask=mask, memory_readout=readout, max_new_tokens=10, **how)
    copies = how.get("num_return_sequences", 1)
    assert torch.equal(out[:, : ids.shape[1]], ids.repeat_interleave(copies, dim=0))
    if "repetition_penalty" in how:
        # A penalty looks at the prompt's ids, which are not there by hand: compare with each row alone.
        alone = [
            model.generate(
                input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long),
                memory_readout=MemoryReadout(*[v[b : b + 1] for v in readout.to_tuple()]), max_new_tokens=10, **how,
            )[:, len(row) :]
            for b, row in enumerate(PROMPTS[:2])
        ]  # fmt: skip
        assert torch.equal(out[:2, ids.shape[1] :], torch.cat(alone))
    else:
        assert torch.equal(out[:, ids.shape[1] :], answers_by_hand(bare, PROMPTS, readout, **how))


def test_sampling_with_a_seed_equals_the_row_by_hand(pair):
    model, bare = pair
    row = PROMPTS[0]
    readout = make_readout(model, [True])
    how = {"do_sample": True, "num_return_sequences": 3}
    torch.manual_seed(5)
    expected = answers_by_hand(bare, [row], readout, **how)
    torch.manual_seed(5)
    ids = torch.tensor([row])
    mask = torch.ones_like(ids)
    out = model.generate(input_ids=ids, attention_mask=mask, memory_readout=readout, max_new_tokens=10, **how)
    assert torch.equal(out[:, len(row) :], expected)
    assert len({tuple(answer) for answer in expected.tolist()}) > 1


def test_the_lm_never_writes_the_placeholder_itself(pair):
    """Its next step would take it for a soft token, and the next turn's prompt would have one too many."""
    model, _ = pair
    readout = make_readout(model, [True])
    ids = torch.tensor([PROMPTS[0]])

    class PreferPlaceholder(list):
        def __call__(self, input_ids, scores):
            return scores.index_fill(1, torch.tensor([M]), 1e4)

    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), memory_readout=readout, max_new_tokens=5,
        logits_processor=[PreferPlaceholder()],
    )  # fmt: skip
    assert M not in out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("placeholders", [True, False])
def test_a_closed_batch_an_empty_memory_and_a_disabled_adapter_are_the_bare_lm_bitwise(pair, side, placeholders):
    model, bare = pair
    rows = PROMPTS
    plain_rows = [[i for i in row if i != M] for row in rows]
    ids, mask = pad(rows if placeholders else plain_rows, side)
    plain, plain_mask = pad(plain_rows, side)
    expected = bare(input_ids=plain, attention_mask=plain_mask).logits
    closed = {"memory_readout": make_readout(model, [False] * 3)}
    empty = {"memory_state": model.initial_state(3), "memory_query": torch.randn(3, ENCODER_WIDTH)}
    opened = {"memory_readout": make_readout(model, [True] * 3)}
    for memory, disabled in ((closed, False), (empty, False), (opened, True), ({}, True)):
        with model.disable_memory() if disabled else torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, **memory).logits
            assert logits.shape[:2] == ids.shape
            assert torch.equal(logits[ids != M], expected.reshape(-1, expected.shape[-1]))
            assert not logits[ids == M].any()
            if side == "right":
                continue
            for how in ({"do_sample": False}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}):
                torch.manual_seed(3)
                answer = bare.generate(input_ids=plain, attention_mask=plain_mask, max_new_tokens=6, **how)
                torch.manual_seed(3)
                out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, **how, **memory)
                copies = how.get("num_return_sequences", 1)
                assert torch.equal(out[:, ids.shape[1] :], answer[:, plain.shape[1] :])
                assert torch.equal(out[:, : ids.shape[1]], ids.repeat_interleave(copies, dim=0))


def test_a_closed_row_of_a_mixed_batch_is_the_bare_lm(pair):
    model, bare = pair
    readout = make_readout(model, [True, False, True])
    ids, mask = pad(PROMPTS)
    logits = model(input_ids=ids, attention_mask=mask, memory_readout=readout).logits[1]
    row = [i for i in PROMPTS[1] if i != M]
    expected = bare(input_ids=torch.tensor([row])).logits[0]
    torch.testing.assert_close(logits[-len(row) :], expected, **TOLERANCE)


def test_a_closed_row_keeps_its_sliding_window():
    """Closed placeholders must not push real tokens out of a window that counts columns."""
    model = make_model("gemma3")
    window = 8
    for lm in (model.language_model.get_base_model(), bare := make_lm("gemma3", sliding_window=window)):
        lm.config.sliding_window = window
        for layer in lm.model.layers:
            if layer.self_attn.sliding_window is not None:
                layer.self_attn.sliding_window = window
    rows = [[2, 27, 44, 45, 46, *BLOCK, 7, 30, 31], [2, 27, 44, 50, 51, *BLOCK, 7, 30, 31]]
    ids, mask = pad(rows)
    readout = make_readout(model, [True, False])
    logits = model(input_ids=ids, attention_mask=mask, memory_readout=readout).logits
    plain = [i for i in rows[1] if i != M]
    expected = bare(input_ids=torch.tensor([plain])).logits[0]
    torch.testing.assert_close(logits[1, ids[1] != M], expected, **TOLERANCE)
    opened = bare(inputs_embeds=by_hand(bare, rows[0], readout, 0)).logits[0]
    torch.testing.assert_close(logits[0], opened, **TOLERANCE)
    out = model.generate(input_ids=ids, attention_mask=mask, memory_readout=readout, max_new_tokens=10)
    assert torch.equal(out[:, ids.shape[1] :], answers_by_hand(bare, rows, readout))
    assert torch.equal(out[:, : ids.shape[1]], ids)


def test_states_of_several_users_are_read_in_one_batch(pair):
    model, _ = pair
    states = [
        model.memory.scan(random_turns(1, n, seed=n), model.tuner.embed, torch.ones(1, n)) for n in (1, 2)
    ] + [model.initial_state()]  # fmt: skip
    ids, mask = pad(PROMPTS)
    query = torch.randn(3, ENCODER_WIDTH)
    together = model(
        input_ids=ids, attention_mask=mask, memory_state=MemoryState.cat(states), memory_query=query
    ).logits
    for b, (row, state) in enumerate(zip(PROMPTS, states, strict=True)):
        alone = model(input_ids=torch.tensor([row]), memory_state=state, memory_query=query[b : b + 1]).logits[0]
        real = (ids[b] != M) & mask[b].bool()
        torch.testing.assert_close(together[b, real], alone[torch.tensor(row) != M], **TOLERANCE)


def test_turns_written_in_the_call_equal_a_state_written_before(pair):
    model, _ = pair
    ids, mask = pad(PROMPTS)
    turns = random_turns(3, 2)
    turns_mask = torch.tensor([[1, 1], [1, 0], [0, 0]])
    state = model.memory.scan(turns, model.tuner.embed, turns_mask)
    before = model(input_ids=ids, attention_mask=mask, memory_state=state)
    within = model(input_ids=ids, attention_mask=mask, memory_turns=turns, memory_turns_mask=turns_mask)
    assert torch.equal(before.logits, within.logits)


def test_compiled_forward_equals_the_plain_one(pair):
    model, _ = pair
    ids, mask = pad(PROMPTS)
    readout = make_readout(model, [True, True, False])
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, memory_readout=readout).logits
        actual = compiled(input_ids=ids, attention_mask=mask, memory_readout=readout).logits
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.compiler.reset()


def test_activation_checkpointing_keeps_loss_and_gradients(pair):
    model, _ = pair
    lm = model.language_model.get_base_model()
    ids, mask = pad(PROMPTS)
    labels = ids.masked_fill((mask == 0) | (ids == M), -100)
    kwargs = {"memory_turns": random_turns(3, 2), "memory_query": torch.randn(3, ENCODER_WIDTH), "labels": labels}
    found = []
    model.train()
    for checkpointed in (False, True):
        if checkpointed:
            lm.activation_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        loss = model(input_ids=ids, attention_mask=mask, use_cache=False, **kwargs).loss
        loss.backward()
        found.append([loss.detach(), *[p.grad for p in model.memory.parameters() if p.grad is not None]])
    lm.activation_checkpointing_disable()
    model.eval()
    assert len(found[0]) > 10
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bfloat16_lm_keeps_a_float32_memory(family):
    model, bare = make_model(family, dtype=torch.bfloat16), make_lm(family).to(torch.bfloat16)
    assert {p.dtype for p in model.memory.parameters()} == {torch.float32}
    state = model.memory.scan(random_turns(1, 2), model.tuner.embed, torch.ones(1, 2))
    assert {t.dtype for t in state.tensors.values() if t.is_floating_point()} == {torch.float32}
    readout = model.memory.read(state, model.tuner.embed)
    ids = torch.tensor(PROMPTS[:1])
    logits = model(input_ids=ids, memory_state=state).logits
    soft = MemoryReadout(readout.soft_tokens.to(torch.bfloat16), readout.is_open, readout.gate_logits)
    expected = bare(inputs_embeds=by_hand(bare, PROMPTS[0], soft, 0)).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected, **TOLERANCE)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), memory_state=state, max_new_tokens=6)
    assert torch.equal(out[:, ids.shape[1] :], answers_by_hand(bare, PROMPTS[:1], soft)[:, :6])


def test_requests_in_two_threads_do_not_mix_users(llama):
    model, _ = llama
    ids = torch.tensor(PROMPTS[:1])
    readouts = [make_readout(model, [True], seed=s) for s in range(2)]

    def run(readout):
        with torch.no_grad():
            return [model(input_ids=ids, memory_readout=readout).logits for _ in range(20)]

    expected = [run(readout)[0] for readout in readouts]
    with ThreadPoolExecutor(2) as pool:
        for answers, wanted in zip(pool.map(run, readouts), expected, strict=True):
            assert all(torch.equal(a, wanted) for a in answers)


def test_a_failed_call_leaves_nothing_behind(llama):
    model, bare = llama
    ids = torch.tensor([[2, 27, 44]])
    with pytest.raises(IndexError, match=r"^index out of range in self$"):
        model(input_ids=ids + 10_000, memory_readout=make_readout(model, [True]))
    assert torch.equal(model(input_ids=ids).logits, bare(input_ids=ids).logits)
