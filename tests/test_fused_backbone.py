"""The fused layers give what the model gives, with padding and without, on the model's own weights."""

import pytest
import torch
from pref_lstm.modeling.fused_backbone import FusedBackbone, can_fuse
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from tiny import TOLERANCE, make_encoder, make_tokenizer

TURNS = [Turn("I love green tea and cats"), Turn("hate", agent="love?")]


@pytest.fixture(scope="module")
def encoder():
    return TurnEncoder(make_encoder(), make_tokenizer())


@pytest.mark.parametrize("turns", [TURNS, TURNS[:1], TURNS[1:]])
@pytest.mark.parametrize("num_layers", [None, 0, 1, 2])
def test_hidden_states_are_the_models(encoder, turns, num_layers):
    batch = tokenize_turns(encoder.tokenizer, turns)
    with torch.no_grad():
        expected = encoder.backbone(**batch, output_hidden_states=True).hidden_states
        states = FusedBackbone(encoder.backbone)(**batch, num_layers=num_layers)
    assert len(states) == (len(expected) if num_layers is None else num_layers + 1)
    there = batch["attention_mask"].bool()
    for mine, theirs in zip(states, expected, strict=False):
        torch.testing.assert_close(mine[there], theirs[there], **TOLERANCE)


def test_weights_are_shared_but_for_the_joined_projections(encoder):
    fused = FusedBackbone(encoder.backbone)
    theirs = {parameter.data_ptr() for parameter in encoder.backbone.parameters()}
    own = [name for name, parameter in fused.named_parameters() if parameter.data_ptr() not in theirs]
    assert {name.split(".", 2)[2] for name in own} == {"self_attn.in_proj_weight", "self_attn.in_proj_bias"}
    assert not fused.layers.training and not any(p.requires_grad for p in fused.layers.parameters())


def test_another_form_is_left_to_the_model(encoder):
    assert can_fuse(encoder.backbone)
    assert not can_fuse(torch.nn.Linear(2, 2))
    other = TurnEncoder(make_encoder(), make_tokenizer())
    other.backbone.config.hidden_act = "gelu_new"
    assert not can_fuse(other.backbone)
    passed = other.hidden_states(TURNS)
    for mine, theirs in zip(passed.hidden_states, encoder.hidden_states(TURNS).hidden_states, strict=True):
        there = passed.attention_mask.bool()
        torch.testing.assert_close(mine[there], theirs[there], **TOLERANCE)


def test_what_is_wrapped_or_decodes_is_left_to_the_model():
    wrapped = TurnEncoder(make_encoder(), make_tokenizer())
    layer = wrapped.backbone.encoder.layer[0]
    layer.attention.self.query = torch.nn.Sequential(layer.attention.self.query, torch.nn.Identity())  # as LoRA would
    assert not can_fuse(wrapped.backbone)
    wrapped.hidden_states(TURNS)
    decoder = TurnEncoder(make_encoder(), make_tokenizer())
    decoder.backbone.config.is_decoder = True
    assert not can_fuse(decoder.backbone)


def test_a_changed_encoder_is_read_as_changed():
    encoder = TurnEncoder(make_encoder(), make_tokenizer())
    before = encoder.hidden_states(TURNS).hidden_states[-1]
    with torch.no_grad():
        encoder.backbone.encoder.layer[1].attention.self.value.weight.mul_(2)
    passed, batch = encoder.hidden_states(TURNS), tokenize_turns(encoder.tokenizer, TURNS)
    with torch.no_grad():
        expected = encoder.backbone(**batch).last_hidden_state
    there = batch["attention_mask"].bool()
    torch.testing.assert_close(passed.hidden_states[-1][there], expected[there], **TOLERANCE)
    assert not torch.allclose(passed.hidden_states[-1][there], before[there])
    encoder.encoder.double()
    assert encoder.hidden_states(TURNS).hidden_states[-1].dtype == torch.float64
