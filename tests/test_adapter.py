"""The adapter's life: a step trains it and nothing else, every door opens its folder, several live on one LM."""

import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.peft_method import PrefMemoryLayer
from safetensors.torch import load_file, save_file
from tiny import (
    CELLS,
    ENCODER_WIDTH,
    FAMILIES,
    PLACEHOLDER,
    TOLERANCE,
    make_lm,
    make_model,
    make_tokenizer,
    random_turns,
    scramble,
    tiny_config,
)
from transformers import AutoModelForCausalLM

M, K = make_tokenizer().convert_tokens_to_ids(PLACEHOLDER), 6
IDS = torch.tensor([[2, 27, *[M] * K, 44, 30], [1, 2, *[M] * K, 7, 31]])
MASK = torch.tensor([[1] * 10, [0] + [1] * 9])


def inputs(model):
    """A prompt for two users of one and two turns, under a query."""
    with torch.no_grad():
        state = model.memory.scan(random_turns(2, 2), model.embed, torch.tensor([[1, 1], [1, 0]]))
    return {
        "input_ids": IDS,
        "attention_mask": MASK,
        "memory_state": state,
        "memory_query": torch.randn(2, ENCODER_WIDTH, generator=torch.Generator().manual_seed(2)),
    }


@pytest.fixture(params=CELLS)
def saved(request, tmp_path):
    """An LM's folder, an adapter's folder that names it, and the logits of the two together."""
    base, folder = tmp_path / "lm", tmp_path / "adapter"
    lm = make_lm("llama")
    lm.save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    model = make_model("llama", request.param)
    model.language_model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return base, folder, model(**inputs(model.tuner)).logits.detach()


def load_lm(base):
    return AutoModelForCausalLM.from_pretrained(base)


DOORS = {
    "PrefLSTMForCausalLM": lambda base, folder: PrefLSTMForCausalLM.from_pretrained(folder),
    "PrefLSTMForCausalLM, loaded LM": lambda base, folder: PrefLSTMForCausalLM.from_pretrained(
        folder, lm=load_lm(base), tokenizer=make_tokenizer()
    ),
    "PeftModel": lambda base, folder: PeftModel.from_pretrained(load_lm(base), folder),
    "PeftModel, low memory": lambda base, folder: PeftModel.from_pretrained(
        load_lm(base), folder, low_cpu_mem_usage=True
    ),
    "PeftModel, other name": lambda base, folder: PeftModel.from_pretrained(
        load_lm(base), folder, adapter_name="taste"
    ),
    "PeftModel, trainable": lambda base, folder: PeftModel.from_pretrained(load_lm(base), folder, is_trainable=True),
    "AutoPeftModelForCausalLM": lambda base, folder: AutoPeftModelForCausalLM.from_pretrained(folder),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same_logits(saved, door):
    base, folder, expected = saved
    model = DOORS[door](base, folder)
    tuner = model.tuner if isinstance(model, PrefLSTMForCausalLM) else model.base_model
    actual = model.eval()(**inputs(tuner)).logits
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    trainable = {p.requires_grad for p in tuner.memory.parameters()}
    assert trainable == {door.endswith("trainable")}
    assert not any(p.requires_grad for n, p in model.named_parameters() if "pref_memory_" not in n)


def test_transformers_own_door_puts_the_same_memory_on_the_lm(saved):
    base, folder, expected = saved
    lm = AutoModelForCausalLM.from_pretrained(folder)
    layer = lm.get_input_embeddings()
    assert isinstance(layer, PrefMemoryLayer)
    loaded, written = layer.pref_memory_cell["default"].state_dict(), load_file(folder / "adapter_model.safetensors")
    assert len(loaded) == len(written)
    for name, tensor in loaded.items():
        [stored] = [t for key, t in written.items() if key.endswith(f"pref_memory_cell.{name}")]
        torch.testing.assert_close(tensor, stored, **TOLERANCE)
    bare = load_lm(base)
    ids = torch.tensor([[2, 27, 44, 30]])
    assert torch.equal(lm(input_ids=ids).logits, bare(input_ids=ids).logits)
    # The adapter's own interface, around the LM that transformers loaded.
    model = PeftModel.from_pretrained(bare, folder)
    torch.testing.assert_close(model(**inputs(model.base_model)).logits, expected, **TOLERANCE)


def test_the_folder_holds_the_adapter_and_nothing_else(saved):
    _, folder, _ = saved
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    tensors = load_file(folder / "adapter_model.safetensors")
    assert tensors
    assert all(".pref_memory_cell.cell." in key for key in tensors)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["memory_token_id"], config["hidden_size"]) == ("PREF_MEMORY", M, 32)


def test_saving_takes_the_adapter_out_of_a_whole_state_dict(saved, tmp_path):
    """As the Trainer saves: it passes everything that the composite model holds."""
    _, folder, _ = saved
    model = PrefLSTMForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again", state_dict=model.state_dict())
    first, second = (load_file(f / "adapter_model.safetensors") for f in (folder, tmp_path / "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_missing_and_foreign_keys_raise(saved, change):
    base, folder, _ = saved
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    count, key = len(tensors), min(tensors)
    inside = key.replace("pref_memory_cell.", "pref_memory_cell.default.")
    if change == "missing":
        del tensors[key]
        what = f"1 are missing (first: ['{inside}']), 0 are foreign (first: [])"
    else:
        foreign = key.rsplit(".", 1)[0] + ".extra"
        tensors[foreign] = torch.zeros(1)
        what = f"0 are missing (first: []), 1 are foreign (first: ['{foreign}'])"
    save_file(tensors, path)
    cell = json.loads((folder / "adapter_config.json").read_text())["cell"]
    message = (
        f"The adapter file must hold exactly the {count} tensors of a '{cell}' memory: {what}. Was it saved by "
        "another version or cell, or for another LM?"
    )
    for door in ("PeftModel", "PrefLSTMForCausalLM", "PeftModel, low memory"):
        with pytest.raises(ValueError) as error:
            DOORS[door](base, folder)
        assert str(error.value) == message


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_moves_every_adapter_parameter_and_no_other(family, cell):
    """As it is initialised, in the first step: several turns, shorter than a slot, and a query that is near one."""
    torch.manual_seed(0)
    lm = make_lm(family)
    before_wrapping = {n: p.clone() for n, p in lm.named_parameters()}
    model = PrefLSTMForCausalLM.from_language_model(lm, make_tokenizer(), tiny_config(cell)).train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    turns = random_turns(2, 3, turn_length=3)
    loss = model(
        input_ids=IDS,
        attention_mask=MASK,
        labels=IDS.masked_fill((IDS == M) | (MASK == 0), -100),
        memory_turns=turns,
        # Related, not equal: the gate is open and its sigmoid not yet flat.
        memory_query=0.2 * (turns.pooled[:, 0] + 2 * torch.randn(2, ENCODER_WIDTH)),
    ).loss
    loss.backward()
    optimizer.step()
    still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    memory = {n for n in before if "pref_memory_cell" in n}
    assert still == before.keys() - memory
    assert memory == {n for n, p in model.named_parameters() if p.requires_grad}
    after = {n.replace(".base_layer", ""): p for n, p in lm.named_parameters() if "pref_memory_cell" not in n}
    assert after.keys() == before_wrapping.keys()
    assert all(torch.equal(after[n], before_wrapping[n]) for n in after)


@pytest.mark.parametrize("family", FAMILIES)
def test_unload_gives_the_bare_lm(family):
    model, bare = make_model(family), make_lm(family)
    lm = model.language_model.unload()
    assert [n for n, _ in lm.named_modules()] == [n for n, _ in bare.named_modules()]
    ids = IDS[:, :1].repeat(1, 3)
    assert torch.equal(lm(input_ids=ids).logits, bare(input_ids=ids).logits)


@pytest.mark.parametrize("how", ["merge_adapter", "merge_and_unload"])
def test_merging_is_refused(how):
    model = make_model()
    with pytest.raises(NotImplementedError) as error:
        getattr(model.language_model, how)()
    assert str(error.value) == (
        "A preference memory depends on its input and can't be merged into the LM. Use `unload()` to get the bare LM."
    )


def test_two_adapters_on_one_lm(saved, tmp_path):
    base, folder, expected = saved
    model = PeftModel.from_pretrained(load_lm(base), folder)
    other = make_model("llama", "lstm")
    scramble(other.memory, seed=9)
    model.add_adapter("other", tiny_config("lstm", memory_token_id=M))
    model.base_model.layer.pref_memory_cell["other"].load_state_dict(other.memory.state_dict())
    torch.testing.assert_close(model(**inputs(model.base_model)).logits, expected, **TOLERANCE)

    model.set_adapter("other")
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("pref_memory_cell.other." in n for n in trainable)
    second = other(**inputs(other.tuner)).logits
    torch.testing.assert_close(model(**inputs(model.base_model)).logits, second, **TOLERANCE)

    model.save_pretrained(tmp_path / "both")
    assert sorted(p.name for p in (tmp_path / "both" / "other").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    again = PeftModel.from_pretrained(load_lm(base), tmp_path / "both")
    again.load_adapter(tmp_path / "both" / "other", "other")
    torch.testing.assert_close(again(**inputs(again.base_model)).logits, expected, **TOLERANCE)
    again.set_adapter("other")
    torch.testing.assert_close(again(**inputs(again.base_model)).logits, second, **TOLERANCE)
    again.set_adapter("default")
    again.delete_adapter("other")
    assert list(again.base_model.layer.pref_memory_cell) == ["default"]
    torch.testing.assert_close(again(**inputs(again.base_model)).logits, expected, **TOLERANCE)


def test_a_fresh_adapter_by_peft_alone():
    bare = make_lm()
    model = get_peft_model(make_lm(), tiny_config(memory_token_id=M)).eval()
    ids = torch.tensor([[2, 27, 44, 30]])
    with model.disable_adapter():
        assert torch.equal(model(input_ids=ids).logits, bare(input_ids=ids).logits)
    turns = random_turns(1, 2)
    state = model.base_model.memory.scan(turns, model.base_model.embed, torch.ones(1, 2))
    with_memory = model(input_ids=ids, memory_state=state).logits
    assert with_memory.shape[1] == ids.shape[1] + K
    assert not torch.equal(with_memory[:, -1], bare(input_ids=ids).logits[:, -1])


def test_a_fresh_slot_copies_the_turns_words():
    """Untrained, the soft tokens are nearly the embeddings of what was said."""
    lm = make_lm()
    words = lm.get_input_embeddings().weight.detach().clone()
    model = PrefLSTMForCausalLM.from_language_model(lm, make_tokenizer(), tiny_config())
    turn = EncodedTurn(*[value[:, 0] for value in random_turns(1, 1, turn_length=4).to_tuple()])
    turn.token_ids, turn.token_mask = torch.tensor([[31, 32, 33, 34]]), torch.ones(1, 4, dtype=torch.bool)
    turn.token_salience = torch.ones(1, 4)
    state = model.memory.update(turn, model.initial_state(), model.tuner.embed)
    soft = model.read(state).soft_tokens[0]
    torch.testing.assert_close(soft[1:5], words[[31, 32, 33, 34]], atol=0.05, rtol=0.0)
