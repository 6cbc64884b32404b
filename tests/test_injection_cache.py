"""Later turns on an old key/value cache, the memory changed in between: the same as the whole prompt at once."""

import pytest
import torch
from by_hand import BLOCK, PAD, PROMPTS, M, make_readout, pad
from pref_lstm.modeling.outputs import MemoryReadout
from tiny import FAMILIES, TOLERANCE, make_lm, make_model
from transformers import DynamicCache

SECOND = [[33, *BLOCK, 34], [35, *BLOCK, 36], [37, *BLOCK, 38]]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """One family's LM with a memory, and the same LM without."""
    return make_model(request.param), make_lm(request.param)


@pytest.mark.parametrize("is_open", [[True] * 3, [True, False, True], [False] * 3])
@pytest.mark.parametrize("longer", [0, 12])
def test_turn_two_on_the_old_cache_equals_a_full_recompute(pair, is_open, longer):
    """The memory changes between the turns; what stands in the cache was read before."""
    model, _ = pair
    first, second = make_readout(model, [True, True, False], seed=1), make_readout(model, is_open, seed=2)
    ids, mask = pad(PROMPTS)
    new = torch.tensor([row + [51, 52] * longer for row in SECOND])
    both = torch.cat([ids, new], dim=1)
    both_mask = torch.cat([mask, torch.ones_like(new)], dim=1)
    whole = model(input_ids=both, attention_mask=both_mask, memory_readout=MemoryReadout.cat([first, second])).logits
    past = DynamicCache()  # the caller's own: it keeps the caller's columns
    model(input_ids=ids, attention_mask=mask, memory_readout=first, past_key_values=past, use_cache=True)
    both_mask[2, : ids.shape[1]][ids[2] == M] = 0  # closed in the first turn
    logits = model(
        input_ids=new, attention_mask=both_mask, memory_readout=second, past_key_values=past, use_cache=True
    ).logits
    torch.testing.assert_close(logits[new != M], whole[:, ids.shape[1] :][new != M], **TOLERANCE)


def test_turn_two_without_a_mask_equals_a_full_recompute(pair):
    model, _ = pair
    first, second = make_readout(model, [True], seed=1), make_readout(model, [True], seed=2)
    ids, new = torch.tensor(PROMPTS[:1]), torch.tensor(SECOND[:1])
    whole = model(input_ids=torch.cat([ids, new], 1), memory_readout=MemoryReadout.cat([first, second])).logits
    past = model(input_ids=ids, memory_readout=first, use_cache=True).past_key_values
    logits = model(input_ids=new, memory_readout=second, past_key_values=past, use_cache=True).logits
    torch.testing.assert_close(logits, whole[:, ids.shape[1] :], **TOLERANCE)


@pytest.mark.parametrize("masked", [True, False])
def test_generate_on_the_old_cache_equals_generate_without(pair, masked):
    model, _ = pair
    rows = PROMPTS if masked else [PROMPTS[0]] * 3
    first = make_readout(model, [True, True, not masked], seed=1)
    second = make_readout(model, [not masked, True, True], seed=2)
    ids, mask = pad(rows)
    how = {"max_new_tokens": 8, "do_sample": False, "return_dict_in_generate": True}
    # Without a mask `generate` takes every pad id for padding, those of its own answers too.
    how["suppress_tokens"] = [PAD]

    def kwargs(of):
        return {"attention_mask": of} if masked else {}

    out = model.generate(input_ids=ids, **kwargs(mask), memory_readout=first, past_key_values=DynamicCache(), **how)
    both = torch.cat([out.sequences, torch.tensor(SECOND)], dim=1)
    both_mask = torch.cat([mask, torch.ones(3, both.shape[1] - mask.shape[1], dtype=torch.long)], dim=1)
    readout = MemoryReadout.cat([first, second])
    expected = model.generate(input_ids=both, **kwargs(both_mask), memory_readout=readout, **how)
    again = model.generate(
        input_ids=both, **kwargs(both_mask), memory_readout=readout, past_key_values=out.past_key_values, **how
    )
    assert torch.equal(again.sequences, expected.sequences)


def test_generate_on_the_old_cache_with_the_new_ids_only(pair):
    model, _ = pair
    first, second = make_readout(model, [True], seed=1), make_readout(model, [True], seed=2)
    ids, new = torch.tensor(PROMPTS[:1]), torch.tensor([SECOND[0] + [51, 52] * 12])
    both = torch.cat([ids, new], 1)
    expected = model.generate(
        input_ids=both, attention_mask=torch.ones_like(both), memory_readout=MemoryReadout.cat([first, second]),
        max_new_tokens=8,
    )  # fmt: skip
    past = model(input_ids=ids, memory_readout=first, use_cache=True).past_key_values
    out = model.generate(
        input_ids=new, attention_mask=torch.ones_like(both), memory_readout=second, past_key_values=past,
        max_new_tokens=8,
    )  # fmt: skip
    assert torch.equal(out[:, new.shape[1] :], expected[:, both.shape[1] :])


def test_an_empty_cache_and_a_closed_batch_is_the_bare_lm(pair):
    """The columns of a cache that the caller keeps are not taken out, only masked."""
    model, bare = pair
    ids, mask = pad(PROMPTS)
    logits = model(
        input_ids=ids, attention_mask=mask, memory_readout=make_readout(model, [False] * 3),
        past_key_values=DynamicCache(), use_cache=True,
    ).logits  # fmt: skip
    for b, row in enumerate(PROMPTS):
        plain = torch.tensor([[i for i in row if i != M]])
        real = (ids[b] != M) & mask[b].bool()
        torch.testing.assert_close(logits[b, real], bare(input_ids=plain).logits[0], **TOLERANCE)
