"""Bad input: each error says what was expected, what came and what to do, word for word."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import TurnEncoder
from refused import refused
from safetensors.torch import load_file, save_file
from tiny import (
    make_encoder,
    make_lm,
    make_model,
    make_tokenizer,
    make_turn_encoder,
    random_turns,
    tiny_config,
)


@pytest.fixture(scope="module")
def model():
    model = make_model()
    model._encoder = make_turn_encoder()
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def state_file(model, tmp_path):
    path = tmp_path / "user.safetensors"
    model.initial_state().save(path, model.memory)
    return path


def load(folder):
    return PrefLSTMForCausalLM.from_pretrained(folder, lm=make_lm(), tokenizer=make_tokenizer())


# Configuration


def test_a_typo_in_the_config():
    with refused(TypeError, "PrefMemoryConfig.__init__() got an unexpected keyword argument 'num_soft_token'"):
        tiny_config(num_soft_token=4)


def test_an_unknown_cell():
    with refused(
        ValueError, "`cell` must be one of ['slots', 'pref_lstm', 'lstm', 'prompt', 'one_vector'], got 'gru'."
    ):
        tiny_config("gru")


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("num_soft_tokens", 0, 1),
        ("num_soft_tokens", 2.0, 1),
        ("num_slots", True, 1),
        ("encoder_hidden_size", -1, 1),
        ("memory_size", "12", 1),
        ("transform_rank", None, 1),
        ("slot_length", 0, 1),
        ("relation_size", 0, 1),
        ("relation_rank", 0, 1),
        ("num_relation_layers", -1, 0),
        ("hidden_size", 0, 1),
        ("num_frame_tokens", -1, 0),
        ("classifier_vector_size", -1, 0),
        ("num_frame_tokens", "2", 0),
        ("memory_token_id", -1, 0),
        ("memory_token_id", "<mem>", 0),
    ],
)
def test_config_values_out_of_range(name, value, least):
    with refused(ValueError, f"`{name}` must be a whole number of at least {least}, got {value!r}."):
        tiny_config(**{name: value})


def test_a_slot_too_short_for_its_soft_tokens():
    message = "`slot_length` must be at least the 4 soft tokens that carry a slot's words, got 3."
    with refused(ValueError, message):
        tiny_config(slot_length=3)
    assert tiny_config(slot_length=None).slot_length == 32
    assert tiny_config(slot_length=None, num_soft_tokens=50).slot_length == 48


def test_a_transform_that_its_heads_do_not_divide():
    with refused(ValueError, "`transform_rank` must be a multiple of 4, got 6."):
        tiny_config(transform_rank=6)


def test_too_many_frame_tokens():
    message = "`num_frame_tokens` must be below `num_soft_tokens` (6), got 6: the rest carries a slot's words."
    with refused(ValueError, message):
        tiny_config(num_frame_tokens=6)


@pytest.mark.parametrize("other", [{"cell": "slots"}, {"cell": "one_vector"}, {"cell": "lstm", "num_key_layers": 1}])
def test_vectors_from_two_places(other):
    message = (
        "`classifier_vector_size` must be 0 but for the cells 'pref_lstm' and 'lstm' without key layers, got 8: "
        "elsewhere a turn's vector is the encoder's."
    )
    with refused(ValueError, message):
        tiny_config(classifier_vector_size=8, **other)


def test_frame_ids_of_another_number():
    with refused(ValueError, "`frame_token_ids` must hold `num_frame_tokens` (2) ids, got 3."):
        tiny_config(frame_token_ids=[1, 2, 3])


def test_ids_outside_the_embedding():
    rows = make_lm().get_input_embeddings().weight.shape[0]
    message = (
        f"`memory_token_id` must be an id inside the LM's embedding of {rows} rows, got 999. "
        "Pick one with `pick_memory_token_id(tokenizer, vocab_size)`."
    )
    with refused(ValueError, message):
        get_peft_model(make_lm(), tiny_config(memory_token_id=999))
    message = (
        f"`frame_token_ids` must be ids inside the LM's embedding of {rows} rows, got [1, 999]. "
        "Take them from the LM's own tokenizer."
    )
    with refused(ValueError, message):
        make_model(frame_token_ids=[1, 999])


# Turns, encoder, states


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_turn(text):
    message = "`Turn.user` must hold text, got an empty or blank string. Leave turns without user text out."
    with refused(ValueError, message):
        Turn(text)


@pytest.mark.parametrize(("name", "values"), [("user", (None, "")), ("agent", ("tea", None))])
def test_a_turn_that_is_no_text(name, values):
    with refused(TypeError, f"`Turn.{name}` must be a string, got NoneType. Pass the message's text."):
        Turn(*values)


def test_no_turns_and_no_queries(model):
    for call in (
        lambda: model.write([], model.initial_state()),
        lambda: model.read(model.initial_state(), []),
    ):
        with refused(ValueError, "`turns` must hold at least one turn, got none."):
            call()


def test_several_turns_of_one_user_at_once(model):
    message = "There must be one turn per user (1), got 2. Write the turns of one user one after the other."
    with refused(ValueError, message):
        model.write([Turn("tea"), Turn("no coffee")], model.initial_state())


def test_an_encoder_of_another_width():
    model = make_model()
    model._encoder = TurnEncoder(make_encoder(width=8), make_tokenizer())
    message = (
        "`turn.pooled` must be (1, 16), one row per state of the encoder's width, got (1, 8). "
        "Is 'tiny-encoder' the encoder?"
    )
    with refused(ValueError, message):
        model.write([Turn("tea")], model.initial_state())
    message = (
        "`query` must be (1, 16), one row per state of the encoder's width, got (1, 8). "
        "Make it with `TurnEncoder.encode_query`."
    )
    with refused(ValueError, message):
        model.read(model.initial_state(), ["tea"])


def test_a_mask_of_another_number_of_turns(model):
    with refused(ValueError, "The turns' mask must be (batch, num_turns) (1, 3), got (1, 2)."):
        model.memory.scan(random_turns(1, 3), model.tuner.embed, torch.ones(1, 2))


def test_a_memory_in_another_dtype():
    model = make_model().to(torch.bfloat16)
    model._encoder = make_turn_encoder()
    message = (
        "The memory must be of torch.float32, got torch.bfloat16: states are, whatever the LM's dtype is. Give `dtype` "
        "to `from_pretrained` instead of converting the whole model, or call `model.memory.float()`."
    )
    with refused(ValueError, message):
        model.write([Turn("i love tea")], model.initial_state())
    with refused(ValueError, message):
        model.read(model.initial_state(), ["tea ?"])
    # What it says to do does it.
    model.memory.float()
    state = model.write([Turn("i love tea")], model.initial_state())
    assert model.read(state, ["tea ?"]).soft_tokens.dtype == torch.float32


def test_a_state_of_another_cell(model):
    message = (
        "The state must come from a memory of cell 'slots', got one of cell 'lstm'. "
        "Start with `initial_state()` and write the user's turns again."
    )
    other = make_model(cell="lstm").initial_state()
    with refused(ValueError, message):
        model.write([Turn("tea")], other)
    with refused(ValueError, message):
        model.read(other)


def test_a_state_of_another_config(model):
    message = (
        "The state's `keys` must have shape (batch, *(5, 16)), got (batch, *(3, 16)). "
        "It was made by an adapter with another configuration."
    )
    with refused(ValueError, message):
        model.write([Turn("tea")], make_model(num_slots=3).initial_state())


def test_states_that_make_no_batch(model):
    with refused(ValueError, "`states` must be one or more of the same cell, got []."):
        MemoryState.cat([])
    with refused(ValueError, "`states` must be one or more of the same cell, got ['slots', 'lstm']."):
        MemoryState.cat([model.initial_state(), make_model(cell="lstm").initial_state()])


def test_a_state_of_another_adapter(model, state_file):
    other = make_model(seed=7).memory
    message = (
        f"'{state_file}' was made by the adapter with fingerprint '{model.memory.fingerprint()}', but this one has "
        f"'{other.fingerprint()}'. States belong to one adapter and LM: write the user's turns again."
    )
    with refused(ValueError, message):
        MemoryState.load(state_file, other)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda whole: whole[:-5], "incomplete metadata, file not fully covered"),
        (lambda whole: whole[:20], "invalid header length"),
        (lambda whole: b"", "header too small"),
        (lambda whole: b"\xff" * 100, "header too large"),
    ],
    ids=["truncated", "cut in the header", "empty", "no safetensors"],
)
def test_a_damaged_state(model, state_file, content, reason):
    state_file.write_bytes(content(state_file.read_bytes()))
    message = (
        f"'{state_file}' must be a memory state saved by `MemoryState.save`, but is damaged or no safetensors file "
        f"(Error while deserializing: {reason}). Restore it from a copy or start with an empty memory."
    )
    with refused(ValueError, message):
        MemoryState.load(state_file, model.memory)


def test_safetensors_that_are_no_state(model, state_file):
    save_file({"tensor": torch.ones(1)}, state_file)
    message = (
        f"'{state_file}' must be a memory state of format 'pref_lstm.memory_state.v1', got 'None'. "
        "Was it saved by `MemoryState.save`?"
    )
    with refused(ValueError, message):
        MemoryState.load(state_file, model.memory)


# Adapter folders


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_that_is_no_adapter(folder, file):
    (folder / file).unlink()
    message = (
        f"Expected an adapter folder with `{file}`, found none in '{folder}'. "
        "Pass the folder that `save_pretrained` wrote."
    )
    with refused(ValueError, message):
        load(folder)


def test_a_folder_that_is_absent(tmp_path):
    message = (
        f"Expected a folder or a hub id of an adapter, got '{tmp_path / 'none'}': there is no such folder, and the Hub "
        "shows no such repository. Check the name; if it is private, log in with `hf auth login`."
    )
    with refused(FileNotFoundError, message):
        load(tmp_path / "none")


def test_damaged_adapter_files(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    message = (
        f"'{folder}' must hold a whole `adapter_model.safetensors`, but it is damaged (Error while deserializing "
        "header: incomplete metadata, file not fully covered). Fetch it again."
    )
    with refused(ValueError, message):
        load(folder)
    (folder / "adapter_config.json").write_text("{")
    message = (
        f"'{folder}' must hold a JSON `adapter_config.json`, but it is damaged (Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1))."
    )
    with refused(ValueError, message):
        load(folder)


def test_config_and_weights_of_two_adapters(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "slot_length": 8}))
    message = (
        "The adapter file's 'base_model.model.model.embed_tokens.pref_memory_cell.default.cell.transform.places' "
        "must have shape (10, 8), got (8, 8). Do `adapter_config.json` and `adapter_model.safetensors` belong together?"
    )
    with refused(ValueError, message):
        load(folder)


def test_an_adapter_of_another_cell(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cell": "lstm"}))
    count = len(load_file(folder / "adapter_model.safetensors"))
    message = (
        "The adapter file must hold exactly the 12 tensors of a 'lstm' memory: 12 are missing (first: "
        "['base_model.model.model.embed_tokens.pref_memory_cell.default.cell.gate_bias']), "
        f"{count} are foreign (first: ['base_model.model.model.embed_tokens.pref_memory_cell.cell.blank']). "
        "Was it saved by another version or cell, or for another LM?"
    )
    with refused(ValueError, message):
        load(folder)


def test_an_adapter_of_another_type(tmp_path):
    other = get_peft_model(make_lm(), LoraConfig(target_modules=["q_proj"]))
    other.save_pretrained(tmp_path)
    message = "Expected an adapter of type 'PREF_MEMORY', got 'LORA' in {}. Use it with `peft.PeftModel` instead."
    with refused(ValueError, message.format(f"'{tmp_path}'")):
        load(tmp_path)
    with refused(ValueError, message.format("the model")):
        PrefLSTMForCausalLM(other, make_tokenizer())


def test_an_lm_of_another_width(folder):
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "me/lm"}))
    message = (
        "The adapter was made for an LM of width 32, got one of width 16. "
        "Load it on the LM that it was trained for ('me/lm')."
    )
    with refused(ValueError, message):
        PeftModel.from_pretrained(make_lm(hidden_size=16), folder)


def test_only_one_of_lm_and_tokenizer(folder):
    with refused(ValueError, "`lm` and `tokenizer` must be given together, got only one of them."):
        PrefLSTMForCausalLM.from_pretrained(folder, lm=make_lm())


def test_threshold_of_likeness_is_a_cosine():
    with refused(ValueError, "`relation_threshold` must be a cosine, from -1 to 1, got 2."):
        tiny_config(relation_threshold=2)


@pytest.mark.parametrize("cell", ["pref_lstm", "lstm", "prompt", "one_vector"])
def test_only_slots_keep_turns_to_read(cell):
    message = (
        f"`num_relation_layers` must be 0 but for the cell 'slots', got 2 for '{cell}', which keeps no turn to read."
    )
    with refused(ValueError, message):
        tiny_config(cell, num_relation_layers=2)


def test_other_thresholds_and_shares_are_shares():
    with refused(ValueError, "`pair_threshold` must be a probability, from 0 to 1, got 2."):
        tiny_config(pair_threshold=2)
    with refused(ValueError, "`matter_threshold` must be a probability, from 0 to 1, got -0.1."):
        tiny_config(matter_threshold=-0.1)
    with refused(ValueError, "`matter_share` must be a share, from 0 to 1, got 1.5."):
        tiny_config(matter_share=1.5)
