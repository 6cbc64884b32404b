"""Changes of low rank to the encoder's layers: what they start as, what learns, what is saved."""

import torch
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from safetensors.torch import load_file
from tiny_classifier import CHANGED, TURNS, make, read, save_tiny_encoder, tiny_tokenizer


def test_changes_of_low_rank_begin_at_nothing():
    model, whole = make(**CHANGED), make(num_tuned_layers=2, hidden_state_indices=[])
    rest = {name: value for name, value in model.state_dict().items() if not name.startswith(("encoder.", "tuned"))}
    whole.load_state_dict(rest, strict=False)
    torch.testing.assert_close(read(model, TURNS), read(whole, TURNS))


def test_training_moves_the_changes_and_nothing_that_is_the_encoder_s():
    model = make(**CHANGED).train()
    assert not model.tuned_layers.training
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(".up"):  # `down` has a gradient only once `up` is not 0
                value.normal_()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1, eps=1e-30)
    model(**tokenize_turns(tiny_tokenizer(), TURNS), labels=torch.tensor([1, 0, 1])).loss.backward()
    optimizer.step()
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith("encoder.") or name.startswith("tuned_layers.")}
    frozen = {name for name in frozen if not name.endswith((".down", ".up"))}
    assert still - {"pooler.query.bias", "mix.weight"} == frozen


def test_a_classifier_with_all_layers_of_its_own_reads_the_embeddings_alone():
    model = make(**CHANGED)
    batch = tokenize_turns(tiny_tokenizer(), TURNS)
    states = model.encode(**batch)
    assert model.states_read() == [0] and states[1:] == (None, None)
    given = {name: batch[name] for name in ("attention_mask", "token_type_ids")}
    shared = model.encoder(**batch, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[0], shared[0])
    torch.testing.assert_close(model(**given, hidden_states=shared).logits, model(**batch).logits)


def test_of_changed_layers_the_changes_alone_are_saved(tmp_path):
    encoder, folder = save_tiny_encoder(tmp_path / "encoder"), tmp_path / "classifier"
    model = PreferenceClassifier.from_encoder(encoder, **CHANGED).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(".up"):
                value.normal_()
    model.save_pretrained(folder)
    names = set(load_file(folder / "model.safetensors"))
    assert names == {name for name, value in model.named_parameters() if value.requires_grad}
    loaded, info = PreferenceClassifier.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(read(loaded, TURNS), read(model, TURNS))
