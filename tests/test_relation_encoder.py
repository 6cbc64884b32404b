"""The encoder with low-rank changes over pairs: against merged weights, gradients, padding, what is refused."""

import copy
import itertools
import re

import pytest
import torch
from pref_lstm.modeling.relation_encoder import RelationEncoder
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_tokenization import tokenize_turns
from tiny import ENCODER_WIDTH, TOLERANCE, make_encoder, make_model, scramble

PAIRS = [Turn("I love tea", agent="no tea"), Turn("cats", agent="I hate long trains, please"), Turn("no", agent="a")]
PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "attention": "attention.output.dense", "intermediate": "intermediate.dense", "output": "output.dense",
}  # fmt: skip


def make_relations(num_layers=2, rank=3, seed=0):
    torch.manual_seed(seed)
    relations = RelationEncoder(ENCODER_WIDTH, num_layers, rank)
    scramble(relations, seed)
    return relations


def weight_of(backbone, relations, part, i):
    first = len(backbone.encoder.layer) - relations.num_layers
    return backbone.get_parameter(f"encoder.layer.{first + i}.{PARTS[part]}.weight")


def merged(backbone, relations):
    """A copy of the encoder whose weights have taken the changes in."""
    out = copy.deepcopy(backbone).requires_grad_(True)
    with torch.no_grad():
        for part in PARTS:
            for i in range(relations.num_layers):
                weight_of(out, relations, part, i).add_(2 * relations.up[part][i] @ relations.down[part][i])
    return out


def pair_logits(backbone, relations, tokenizer, pair):
    """One pair through an encoder as it is, token by token."""
    batch = tokenize_turns(tokenizer, [pair])
    states, types = backbone(**batch).last_hidden_state[0], batch["token_type_ids"][0]
    u = torch.stack([s for s, t in zip(states, types, strict=True) if t == 0]).mean(0)
    v = torch.stack([s for s, t in zip(states, types, strict=True) if t == 1]).mean(0)
    return relations.head(torch.cat([states[0], u, v, (u - v).abs(), u * v]))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_it_is_the_encoder_with_merged_weights_and_so_are_its_gradients(num_layers):
    encoder, relations = make_encoder(), make_relations(num_layers)
    backbone = encoder[0].auto_model.requires_grad_(False)
    reference = merged(backbone, relations)
    expected = torch.stack([pair_logits(reference, relations, encoder.tokenizer, pair) for pair in PAIRS])
    actual = relations(backbone, **tokenize_turns(encoder.tokenizer, PAIRS))
    torch.testing.assert_close(actual, expected, **TOLERANCE)

    weighting = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0], [2.0, 0.1, 1.0]])
    (actual * weighting).sum().backward()
    (expected * weighting).sum().backward()
    assert all(p.grad is None for p in backbone.parameters())
    for part in PARTS:
        for i in range(num_layers):
            grad = weight_of(reference, relations, part, i).grad
            up, down = relations.up[part], relations.down[part]
            assert grad.abs().sum() > 0
            torch.testing.assert_close(up.grad[i], 2 * grad @ down[i].T, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(down.grad[i], 2 * up[i].T @ grad, atol=1e-3, rtol=1e-3)


def test_untrained_it_changes_nothing_of_the_encoder():
    encoder = make_encoder()
    torch.manual_seed(0)
    relations = RelationEncoder(ENCODER_WIDTH, 2, 3)
    expected = torch.stack([pair_logits(encoder[0].auto_model, relations, encoder.tokenizer, p) for p in PAIRS])
    actual = relations(encoder[0].auto_model, **tokenize_turns(encoder.tokenizer, PAIRS))
    torch.testing.assert_close(actual, expected, **TOLERANCE)


def test_a_pair_alone_is_the_pair_in_a_batch():
    encoder, relations = make_encoder(), make_relations()
    backbone = encoder[0].auto_model
    alone = torch.cat([relations(backbone, **tokenize_turns(encoder.tokenizer, [pair])) for pair in PAIRS])
    torch.testing.assert_close(relations(backbone, **tokenize_turns(encoder.tokenizer, PAIRS)), alone, **TOLERANCE)


def test_changed_numbers_count_at_once():
    """The changed weights are kept between calls, and made anew where one of the numbers behind them is another."""
    encoder, relations = make_encoder(), make_relations()
    backbone, batch = encoder[0].auto_model, tokenize_turns(encoder.tokenizer, PAIRS)

    def kept_and_fresh():
        with torch.no_grad():
            kept = [relations(backbone, **batch) for _ in range(2)]
        assert torch.equal(*kept)
        torch.testing.assert_close(kept[0], relations(backbone, **batch).detach(), **TOLERANCE)
        return kept[0]

    found = [kept_and_fresh()]
    with torch.no_grad():
        relations.up["key"][0].add_(1.0)
    found.append(kept_and_fresh())
    relations.load_state_dict(make_relations(seed=1).state_dict())
    found.append(kept_and_fresh())
    with torch.no_grad():
        backbone.encoder.layer[0].output.dense.weight.mul_(2.0)
    found.append(kept_and_fresh())
    backbone = make_encoder(seed=3)[0].auto_model
    found.append(kept_and_fresh())
    relations.half().float()
    found.append(kept_and_fresh())
    assert all(not torch.allclose(a, b, atol=1e-6) for a, b in itertools.pairwise(found[:-1]))


def test_others_read_the_encoder_as_it_is_meanwhile():
    encoder, relations = make_encoder(), make_relations()
    backbone, batch = encoder[0].auto_model, tokenize_turns(encoder.tokenizer, PAIRS)
    weight, seen = weight_of(backbone, relations, "query", 0), []
    before = weight.clone()
    backbone.embeddings.register_forward_pre_hook(
        lambda *_: seen.append(torch.equal(weight_of(backbone, relations, "query", 0), before))
    )
    with torch.no_grad():
        relations(backbone, **batch)
    assert seen == [True]
    theirs = {parameter.data_ptr() for parameter in backbone.parameters()}
    own = {n.split(".", 2)[2] for n, p in relations._changed[1].named_parameters() if p.data_ptr() not in theirs}
    changed = {f"{part}.weight" for part in ("self_attn.out_proj", "linear1", "linear2")}
    assert own == changed | {"self_attn.in_proj_weight", "self_attn.in_proj_bias"}  # the rest is shared


def test_it_is_part_of_the_adapter(tmp_path):
    model = make_model(num_relation_layers=2, relation_rank=3)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, lm=model.language_model.unload(), tokenizer=model.tokenizer)
    expected = model.memory.relation_encoder.state_dict()
    assert len(expected) == 2 * len(PARTS) + 4
    for name, tensor in again.memory.relation_encoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert again.memory.fingerprint() == model.memory.fingerprint()
    assert make_model().memory.relation_encoder is None


def test_another_encoder_is_refused():
    encoder = make_encoder()
    batch = tokenize_turns(encoder.tokenizer, PAIRS)
    start = "needs a BERT-like encoder with as many layers in `encoder.layer`, as wide as the adapter's, got "
    with pytest.raises(ValueError, match=re.escape(f"`num_relation_layers` = 3 {start}BertModel with 2")):
        make_relations(3)(encoder[0].auto_model, **batch)
    with pytest.raises(ValueError, match=re.escape(f"`num_relation_layers` = 1 {start}Linear with 0")):
        make_relations(1)(torch.nn.Linear(2, 2), **batch)
    with pytest.raises(ValueError, match=re.escape(f"`num_relation_layers` = 1 {start}BertModel with 2")):
        RelationEncoder(2 * ENCODER_WIDTH, 1, 3)(encoder[0].auto_model, **batch)
