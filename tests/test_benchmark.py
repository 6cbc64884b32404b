"""`pref-lstm benchmark` on tiny models: calls take turns, each way to answer does what it says, all is reported."""

import json

import pytest
import torch
from pref_lstm.modeling.defaults import load_default_model
from pref_lstm.training import benchmark_run
from pref_lstm.training.bank import load_bank
from pref_lstm.training.benchmark_answers import NUM_NEW_TOKENS, PROMPT_TOKENS, AnswerCosts
from pref_lstm.training.benchmark_timing import Timings, take_turns
from pref_lstm.training.benchmark_training import BATCH_SIZE, TrainingCosts
from pref_lstm.training.text_forms import prefix_prompt, question_prompt, reminder_prompt
from prefeval_folder import write_adapter
from tiny import KeywordDetector

from pref_lstm.cli import main

COUNTS = (1, 3, 60)
PREFERENCES = [p.forms[0].user for p in load_bank().preferences[: COUNTS[-1]]]
REPORT = [
    "machine", "lm", "num_soft_tokens", "prompt_tokens", "write_ms", "write_parts_ms", "first_token_ms",
    "first_token_ratio", "text_first_token_ratio", "retrieval_first_token_ratio", "first_token_growth", "text_tokens",
    "text_left_out", "state_bytes", "mixed_batch_speedup", "training_speed_ratio", "quartiles",
]  # fmt: skip


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return write_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def costs(adapter):
    return AnswerCosts(load_default_model(str(adapter))[0], PREFERENCES, COUNTS)


# --- taking turns


def test_every_round_runs_every_call_in_an_order_of_its_own():
    log = []
    calls = {name: lambda i, name=name: log.append((i, name)) for name in "abcd"}
    timings = take_turns(calls, rounds=6, most_seconds=60)
    rounds = [log[k : k + 4] for k in range(0, len(log), 4)]
    assert [{i for i, _ in one} for one in rounds] == [{0}, {0}, {1}, {2}, {3}, {4}, {5}]  # the first does not count
    assert all({name for _, name in one} == set("abcd") for one in rounds)
    assert len({tuple(name for _, name in one) for one in rounds}) > 2
    assert all(list(seconds) == list(range(6)) for seconds in timings.seconds.values())


def test_a_slow_call_leaves_after_three_rounds():
    timings = take_turns({"bare": lambda i: None, "slow": lambda i: torch.randn(10_000)}, rounds=5, most_seconds=1e-9)
    assert {name: len(seconds) for name, seconds in timings.seconds.items()} == {"bare": 3, "slow": 3}


def test_ratios_are_medians_within_rounds():
    # The machine is slow in round 1; only rounds that both had are compared.
    timings = Timings({"ours": {0: 2.0, 1: 20.0, 2: 4.0}, "theirs": {0: 1.0, 1: 10.0, 2: 1.0, 3: 50.0}})
    assert timings.ratio("ours", "theirs") == 2.0
    assert timings.quartiles("ours", "theirs") == [2.0, 3.0]
    assert timings.milliseconds("ours") == 4000.0


# --- ways to answer


def test_the_prompt_has_a_hundred_tokens(costs):
    assert costs.prompt_tokens == PROMPT_TOKENS


def test_each_way_gives_the_first_token_of_what_it_reads(costs):
    lm, tokenizer, message = costs.lm, costs.model.tokenizer, costs.message
    stored = PREFERENCES[:3]
    scores = costs.vectors[:3] @ costs.model.encoder.encode_query([message])[0]
    expected = {
        "bare": question_prompt(tokenizer, message),
        "text 3": prefix_prompt(tokenizer, stored, message),
        "retrieval 3": reminder_prompt(tokenizer, [stored[int(scores.argmax())]], message),
    }
    calls = costs.calls()
    for name, ids in expected.items():
        assert calls[name](0) == int(lm(torch.tensor([ids])).logits[0, -1].argmax())
    assert list(calls) == ["bare", *(f"{method} {n}" for n in COUNTS for method in ("memory", "text", "retrieval"))]


def test_the_memory_acts_even_where_its_gate_is_closed(costs):
    """Else the figure would be the bare LM's."""
    seen = []
    layer = costs.model.tuner.layer
    hook = layer.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    threshold = costs.model.memory.cell.gate[-1].bias.data
    before = threshold.clone()
    try:
        threshold.fill_(-100.0)
        assert not bool(costs.model.read(costs.states[3], [costs.message]).is_open.any())
        costs.with_memory(costs.states[3])
    finally:
        threshold.copy_(before)
        hook.remove()
    config = costs.model.memory_config
    assert int((seen[0] == config.memory_token_id).sum()) == config.num_soft_tokens


def test_text_that_exceeds_the_context_is_cut_from_the_front(costs):
    def prompt(count):
        return prefix_prompt(costs.model.tokenizer, PREFERENCES[-count:], costs.message)

    room, text = costs.lm.config.max_position_embeddings, costs.texts[60]
    assert costs.texts[3].count == 3
    assert 0 < text.count < 60
    assert len(prompt(text.count)) < room <= len(prompt(text.count + 1))
    assert text.ids + question_prompt(costs.model.tokenizer, costs.message) == prompt(text.count)


def test_users_get_the_same_answers_in_a_batch_as_alone(costs):
    calls = costs.user_calls()
    together, alone = calls["batch"](0), calls["one by one"](0)
    assert together.shape == (len(alone), NUM_NEW_TOKENS)
    assert torch.equal(together, torch.cat(alone))


# --- training


def test_both_steps_train_what_they_should_and_nothing_else(adapter):
    model, _ = load_default_model(str(adapter))
    costs = TrainingCosts(model)
    for name, step in costs.calls().items():
        network = {"memory": model.language_model, "prompt tuning": costs.tuned}[name]
        before = {key: p.detach().clone() for key, p in network.named_parameters()}
        losses = [step(i) for i in range(4)]
        moved = {key for key, p in network.named_parameters() if not torch.equal(p, before[key])}
        assert all(loss > 0 for loss in losses)
        part = {"memory": "pref_memory_cell", "prompt tuning": "prompt_encoder"}[name]
        assert moved and all(part in key for key in moved)
    prompts = costs.tuned.peft_config["default"].num_virtual_tokens
    assert prompts == model.memory_config.num_soft_tokens
    assert len(costs._batch(3)) == BATCH_SIZE
    assert costs._batch(4) == costs._batch(0) != costs._batch(1)


# --- the command


def test_the_command_writes_what_it_prints(adapter, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark_run, "COUNTS", COUNTS)
    for name in ("WRITE_ROUNDS", "FIRST_TOKEN_ROUNDS", "BATCH_ROUNDS", "TRAINING_ROUNDS"):
        monkeypatch.setattr(benchmark_run, name, 3)
    monkeypatch.setattr("pref_lstm.training.benchmark.load_default_detector", KeywordDetector)
    file, plot = tmp_path / "costs.json", tmp_path / "costs.png"
    assert main(["benchmark", "--model", str(adapter), "--json", str(file), "--plot", str(plot)]) == 0
    figures = json.loads(file.read_text())
    assert list(figures) == REPORT
    for name in ("first_token_ratio", "text_first_token_ratio", "retrieval_first_token_ratio"):
        assert list(figures[name]) == [str(n) for n in COUNTS]
        for n, (low, high) in figures["quartiles"][name].items():
            assert 0 < low <= figures[name][n] <= high
    assert figures["text_left_out"]["3"] == 0 < figures["text_left_out"]["60"]
    assert figures["state_bytes"] < 2**20
    out = " ".join(capsys.readouterr().out.split())
    assert f"{figures['state_bytes']:,}" in out
    assert f"{figures['training_speed_ratio']:.2f} (" in out
    assert "preferences for which the LM's context has no room" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
