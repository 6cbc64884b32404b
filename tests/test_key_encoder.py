"""The tuned last layers: they start as the encoder's own, and are the same alone and in a batch."""

import re

import pytest
import torch
from pref_lstm.modeling.key_encoder import KeyEncoder
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from tiny import ENCODER_WIDTH, TOLERANCE, make_encoder, make_model, make_tokenizer

TURNS = [Turn("I love tea"), Turn("no cats on trains, please", "Shall I book?"), Turn("hate")]


def make_pair(num_layers):
    keys = KeyEncoder(ENCODER_WIDTH, num_layers, 2).eval()
    plain = TurnEncoder(make_encoder(), make_tokenizer())
    keys.copy_last_layers(plain.backbone)
    return plain, TurnEncoder(make_encoder(), make_tokenizer(), key_encoder=keys)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_untrained_it_is_the_encoder(num_layers):
    plain, tuned = make_pair(num_layers)
    expected = torch.nn.functional.normalize(plain.encode_pooled(TURNS), dim=-1)
    torch.testing.assert_close(tuned.encode_pooled(TURNS), expected, **TOLERANCE)
    torch.testing.assert_close(tuned.encode(TURNS).pooled, expected, **TOLERANCE)
    # What salience and relation read stays the frozen encoder's.
    torch.testing.assert_close(tuned.encode(TURNS).token_features, plain.encode(TURNS).token_features)


def test_a_turn_alone_is_the_turn_in_a_batch():
    _, tuned = make_pair(2)
    alone = torch.cat([tuned.encode_pooled([turn]) for turn in TURNS])
    torch.testing.assert_close(tuned.encode_pooled(TURNS), alone, **TOLERANCE)


def test_gradients_reach_the_layers_and_not_the_encoder():
    plain, tuned = make_pair(1)
    vectors = tuned.key_encoder(plain.hidden_states(TURNS))
    vectors[0, 0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tuned.key_encoder.parameters())
    assert all(p.grad is None for p in plain.backbone.parameters())


def test_it_is_part_of_the_adapter(tmp_path):
    model = make_model(num_key_layers=1, num_key_heads=2)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, lm=model.language_model.unload(), tokenizer=model.tokenizer)
    expected = model.memory.key_encoder.state_dict()
    assert expected
    for name, tensor in again.memory.key_encoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert again.memory.fingerprint() == model.memory.fingerprint()


@pytest.mark.parametrize(("num_layers", "heads", "why"), [(3, 2, ""), (1, 4, "2 attention heads")])
def test_another_encoder_is_refused(num_layers, heads, why):
    keys = KeyEncoder(ENCODER_WIDTH, num_layers, heads)
    start = f"`num_key_layers` = {num_layers} with `num_key_heads` = {heads} needs a BERT-like encoder"
    with pytest.raises(ValueError, match=re.escape(start) + ".*" + re.escape(why)):
        keys.copy_last_layers(make_encoder()[0].auto_model)
    with pytest.raises(ValueError, match=re.escape(start)):
        keys.copy_last_layers(torch.nn.Linear(2, 2))
