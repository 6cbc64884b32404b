"""`pref-lstm evaluate-memory` from end to end on tiny models, and its parts: loading, drawing, scoring, resuming."""

import json
import re
from pathlib import Path

import pytest
import torch
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.greedy_answers import greedy_answers
from pref_lstm.training.harm import harm
from pref_lstm.training.likelihood import AnswerScorer, Reading
from pref_lstm.training.memory_methods import TextReader
from pref_lstm.training.memory_writer import MemoryWriter
from pref_lstm.training.oracle import Oracle
from pref_lstm.training.prefeval import load_inter_turns, load_prefeval
from pref_lstm.training.prefeval_plan import make_plans
from pref_lstm.training.score_cache import ScoreCache, lm_fingerprint
from pref_lstm.training.text_forms import memory_prompt, prefix_prompt, question_prompt, reminder_prompt
from prefeval_folder import TOPICS, UNRELATED, write_adapter, write_oasst, write_prefeval
from tiny import FAMILIES, PLACEHOLDER, KeywordDetector, make_lm, make_model, make_tokenizer, make_turn_encoder

from pref_lstm.cli import main

ROW = [
    "method", "num_preferences", "num_turns", "tokens_read", "nll", "nll_shuffled", "recovery", "recovery_low",
    "recovery_high", "recovery_prefix", "recovery_other_topic", "nll_late", "late_gap", "late_gap_low",
    "late_gap_high", "mcq", "mcq_shuffled", "mention_rate", "mention_rate_shuffled",
]  # fmt: skip
REPORT = [
    "lm", "num_soft_tokens", "n", "harm_kl_per_token", "results", "polarity", "contradiction", "trained", "seed",
    "limits", "statements_through_detector", "turns_detector_open", "forms", "answers", "detector", "polarity_text",
    "contradiction_text", "polarity_reminder", "contradiction_reminder", "polarity_open_share",
    "mention_rate_irrelevant", "harm_open_share", "generation",
]  # fmt: skip
TOKENIZER = make_tokenizer()
PREFEVAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "prefeval"
M = TOKENIZER.convert_tokens_to_ids(PLACEHOLDER)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_prefeval(tmp_path_factory.mktemp("data") / "prefeval")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    return write_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(autouse=True)
def _detector(monkeypatch):
    monkeypatch.setattr("pref_lstm.defaults.load_default_detector", KeywordDetector)


@pytest.fixture
def scorer():
    return AnswerScorer(make_model(), TOKENIZER, batch_tokens=60)


def ids(text):
    return TOKENIZER(text)["input_ids"]


# --- the command


@pytest.fixture(scope="session")
def finished(data, adapter, tmp_path_factory):
    """A whole run with every part, its cache and its report."""
    folder = tmp_path_factory.mktemp("run")
    oasst = write_oasst(folder / "oasst.jsonl")
    argv = [
        "evaluate-memory", "--model", str(adapter), "--data", str(data), "--oasst", str(oasst),
        "--num-preferences", "1", "3", "--num-turns", "0", "2", "--form", "explicit", "choice", "persona",
        "--methods", "none", "text", "reminder", "text_all", "text_truncated", "retrieval_top1", "retrieval_top5",
        "memory", "oracle", "one_vector", "--one-vector-model", str(adapter), "--limit", "6",
        "--oracle-limit", "2", "--judge", str(adapter.parent / "lm"), "--judge-limit", "2",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pref_lstm.defaults.load_default_detector", KeywordDetector)
        patch.setattr("pref_lstm.training.oracle.NUM_STEPS", 2)
        files = ["--cache", str(folder / "cache.jsonl"), "--json", str(folder / "memory.json")]
        assert main([*argv, *files, "--plot", str(folder / "memory.png")]) == 0
    return folder, argv


def test_report_has_the_fields_of_the_architecture(finished):
    report = json.loads((finished[0] / "memory.json").read_text())
    assert sorted(report) == sorted(REPORT)
    assert report["n"] == 6
    assert report["num_soft_tokens"] == 6
    assert report["answers"] == "published"
    assert report["limits"]["mcq_limit"] == 100
    tables = [report["results"], report["statements_through_detector"], report["turns_detector_open"]]
    tables += [rows for by in report["forms"].values() for rows in by.values()]
    assert [list(row) for rows in tables for row in rows] == [ROW] * sum(map(len, tables))
    assert [(r["method"], r["num_preferences"], r["num_turns"]) for r in report["results"]] == [
        *[(m, n, 0) for m in ("none", "text", "reminder", "text_all", "text_truncated", "retrieval_top1",
                              "retrieval_top5", "memory") for n in (1, 3)],
        ("oracle", 1, 0), ("one_vector", 1, 0), ("one_vector", 3, 0), ("memory", 1, 2),
    ]  # fmt: skip
    assert list(report["forms"]) == ["choice", "persona"]
    assert list(report["generation"]["methods"]) == ["none", "text", "reminder", "memory", "one_vector"]


def test_rows_agree_where_they_must(finished):
    rows = {
        (r["method"], r["num_preferences"], r["num_turns"]): r
        for r in json.loads((finished[0] / "memory.json").read_text())["results"]
    }
    assert rows["none", 1, 0]["nll"] == rows["none", 1, 0]["nll_shuffled"]
    assert rows["none", 1, 0]["tokens_read"] == 0
    assert rows["text_all", 1, 0]["nll"] == rows["text", 1, 0]["nll"]
    assert rows["retrieval_top5", 1, 0]["nll"] == rows["reminder", 1, 0]["nll"]
    assert rows["text", 3, 0]["nll"] == rows["text", 1, 0]["nll"]
    assert rows["text_truncated", 3, 0]["tokens_read"] == 6
    assert rows["memory", 1, 0]["tokens_read"] == 6
    assert rows["memory", 1, 0]["nll"] != rows["memory", 1, 0]["nll_shuffled"]
    assert rows["one_vector", 3, 0]["nll"] == rows["memory", 3, 0]["nll"]  # the same folder
    assert rows["text", 1, 0]["mcq"] is not None
    assert rows["text", 3, 0]["mcq"] is rows["oracle", 1, 0]["recovery_other_topic"] is None


def test_plot_is_drawn(finished):
    assert (finished[0] / "memory.png").read_bytes()[:4] == b"\x89PNG"


def test_killed_run_goes_on_and_gives_the_same(finished, monkeypatch):
    folder, argv = finished
    monkeypatch.setattr("pref_lstm.training.oracle.NUM_STEPS", 2)
    whole = (folder / "cache.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    cut = folder / "cut.jsonl"
    cut.write_text("".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:20])
    assert main([*argv, "--cache", str(cut), "--json", str(folder / "again.json")]) == 0
    assert json.loads((folder / "again.json").read_text()) == json.loads((folder / "memory.json").read_text())
    assert len(ScoreCache(cut)) == len(ScoreCache(folder / "cache.jsonl"))


def test_nothing_is_scored_twice(finished, monkeypatch):
    folder, argv = finished
    monkeypatch.setattr("pref_lstm.training.oracle.NUM_STEPS", 2)
    monkeypatch.setattr(AnswerScorer, "_forward", lambda *_: pytest.fail("the cache holds everything"))
    assert main([*argv, "--cache", str(folder / "cache.jsonl")]) == 0


def test_without_published_answers_the_lm_writes_them(adapter, tmp_path):
    data = write_prefeval(tmp_path / "bare", answers=False)
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--methods", "reminder", "--limit", "2"]
    argv += ["--num-turns", "0", "--num-preferences", "1", "--mcq-limit", "0", "--mention-limit", "0"]
    assert main([*argv, "--cache", str(tmp_path / "c.jsonl"), "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["answers"] == "the LM's own, on reading the reminder"
    [row] = report["results"]
    assert row["mcq"] is row["mention_rate"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-preferences", "0"], "`--num-preferences` must be at least 1, got 0."),
        (["--num-turns", "-1"], "`--num-turns` must be at least 0, got -1."),
        (["--limit", "0"], "`--limit` must be at least 1, got 0."),
        (
            ["--methods", "soft_prompt"],
            "The method 'soft_prompt' needs an adapter, got none. Name it with `--soft-prompt-model`, or leave the "
            "method out.",
        ),
        (
            ["--methods", "none", "--num-preferences", "9", "--num-turns", "0"],
            "`--num-preferences` must be at most 4 for the topic 'drinks', got 9: that many preferences of other "
            "topics are in the data.",
        ),
    ],
)
def test_bad_options_say_what_to_do(arguments, message, data, adapter, tmp_path, capsys):
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--cache", str(tmp_path / "c.jsonl")]
    if "9" in arguments:
        # The draw of one question: another topic has another number of foreign preferences.
        arguments = [*arguments, "--limit", "7"]
    assert main([*argv, *arguments]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"pref-lstm evaluate-memory: {message}"


def test_adapter_of_another_lm_is_refused(data, adapter, tmp_path, capsys):
    other = write_adapter(tmp_path / "other", seed=5)
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--cache", str(tmp_path / "c.jsonl")]
    argv += ["--num-preferences", "1", "--num-turns", "0", "--limit", "2"]
    assert main([*argv, "--methods", "paper", "--paper-model", str(other)]) == 2
    assert capsys.readouterr().err.strip() == (
        f"pref-lstm evaluate-memory: The adapter of `--paper-model` must be for the LM '{adapter.parent / 'lm'}', got "
        f"one for '{tmp_path / 'other' / 'lm'}'. All methods are compared on one LM."
    )


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate-memory", "--help"])
    assert stop.value.code == 0
    assert "--num-preferences N [N ...]" in capsys.readouterr().out


# --- the data


def test_forms(data):
    explicit, choice, persona = (load_prefeval(data, form) for form in ("explicit", "choice", "persona"))
    preference, question, answer = TOPICS["drinks"][0]
    assert [(i.topic, i.preference, i.question) for i in explicit] == [
        (i.topic, i.preference, i.question) for i in choice
    ]
    assert explicit[0].turns == (Turn(preference),)
    assert explicit[0].question == question
    assert explicit[0].answer == " ".join([answer] * 6)
    assert explicit[0].options[0] == answer.split(" and ")[0]
    assert choice[0].turns == (Turn("tea or coffee ?"), Turn(f"one , {preference}", "one tea , two coffee"))
    assert persona[0].turns == (Turn("rain again"), Turn(preference, "yes ?"))
    assert load_inter_turns(data) == [Turn(UNRELATED[0]), *[Turn(text, "good") for text in UNRELATED[1:]]]


def test_hub_data_set(monkeypatch):
    rows = [
        {"topic": "drinks", "preference": "i hate tea", "question": "what ?",
         "conversation": {"0": {"user": "i hate tea", "assistant": "good"}, "1": None}},
    ]  # fmt: skip
    monkeypatch.setattr("pref_lstm.training.prefeval.load_dataset", lambda name, split: rows)
    [item] = load_prefeval("siyanzhao/prefeval_implicit_persona", "persona")
    assert item.turns == (Turn("i hate tea"),)
    assert (item.answer, item.options) == ("", ())
    with pytest.raises(ValueError, match=re.escape(
        "Expected a `conversation` of the form 'choice', got the keys ['0', '1']. Is this the right data set for "
        "`--form choice`?"
    )):  # fmt: skip
        load_prefeval("siyanzhao/prefeval_implicit_persona", "choice")


def test_missing_data_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_prefeval(tmp_path)
    assert str(error.value) == (
        "Expected a folder with `benchmark_dataset/` or a hub id such as 'siyanzhao/prefeval_explicit', got "
        f"'{tmp_path}'. Check the path."
    )
    (tmp_path / "benchmark_dataset").mkdir()
    with pytest.raises(ValueError) as missing:
        load_prefeval(tmp_path, "choice")
    assert str(missing.value) == (
        f"Expected one file per topic in '{tmp_path / 'benchmark_dataset/implicit_preference/choice-based'}', found "
        "none. Leave `choice` out of `--form`."
    )
    with pytest.raises(FileNotFoundError) as turns:
        load_inter_turns(tmp_path)
    assert str(turns.value) == (
        f"Expected unrelated turns in '{tmp_path / 'benchmark_dataset/filtered_inter_turns.json'}', found no such "
        "file. Use `--num-turns 0`, or a folder in PrefEval's own layout."
    )


def test_plans_keep_topics_apart_and_do_not_depend_on_the_limit(data):
    items = load_prefeval(data)
    plans = {plan.item.question: plan for plan in make_plans(items, None, seed=1)}
    assert len(plans) == len(items)
    for plan in plans.values():
        assert plan.wrong.topic == plan.item.topic
        assert plan.wrong.preference != plan.item.preference
        assert {plan.item.topic} & {other.topic for other in (plan.foreign, *plan.others)} == set()
        assert plan.foreign not in plan.others
        right, shuffled = plan.case(3), plan.case(3, "shuffled")
        assert right.stored[right.place] == plan.item
        assert shuffled.stored[right.place] == plan.wrong
        assert [a == b for a, b in zip(right.stored, shuffled.stored, strict=True)].count(False) == 1
    for plan in make_plans(items, 3, seed=1):
        assert plan == plans[plan.item.question]
    assert make_plans(items, None, seed=2) != list(plans.values())


def test_one_topic_is_too_few(data):
    items = [item for item in load_prefeval(data) if item.topic == "travel"]
    with pytest.raises(ValueError) as error:
        make_plans(items, None, seed=0)
    assert str(error.value) == (
        "Expected two preferences in every topic and two topics, got 2 in 'travel' and 0 in other topics. Shuffling "
        "needs them: use more of the data set."
    )


@pytest.mark.skipif(not PREFEVAL.is_dir(), reason="PrefEval's files are not at ../shared/data/prefeval")
def test_the_real_folder_is_read():
    items = load_prefeval(PREFEVAL)
    assert len(items) == 469
    assert all(item.answer and len(item.options) == 4 for item in items)
    for form in ("choice", "persona"):
        assert [item.question for item in load_prefeval(PREFEVAL, form)] == [i.question for i in items]
    assert len(load_inter_turns(PREFEVAL)) == 316


# --- scoring


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihood_is_the_lms_own(family):
    model = make_model(family)
    scorer = AnswerScorer(model, TOKENIZER, batch_tokens=40)
    prompts = [question_prompt(TOKENIZER, q) for q in ("what should i drink ?", "where ?", "which music and maps ?")]
    answers = [ids("green tea is good"), ids("here"), ids("some jazz and the quiet rain")]
    scores = scorer.nll([Reading(p, 0) for p in prompts], answers)
    lm = make_lm(family)
    for prompt, answer, score in zip(prompts, answers, scores, strict=True):
        with torch.no_grad():
            logits = lm(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = -logits[torch.arange(len(answer)), torch.tensor(answer)]
        torch.testing.assert_close(torch.tensor(score), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_soft_tokens_that_are_words_score_and_answer_as_the_words(family):
    model = make_model(family)
    scorer = AnswerScorer(model, TOKENIZER)
    question, answer = "what should i drink ?", ids("green tea is good")
    words = ids("i love green tea !")
    prompt = question_prompt(TOKENIZER, question)
    place = len(prompt) - 4
    soft = Reading([*prompt[:place], *[M] * len(words), *prompt[place:]], 5, model.tuner.embed(torch.tensor(words)))
    text = Reading([*prompt[:place], *words, *prompt[place:]], 5)
    a, b = scorer.nll([soft, text], [answer, answer])
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=1e-4, rtol=1e-4)
    assert max(scorer.kl([text], [soft], [answer])[0]) < 1e-4
    bare = Reading(prompt, 0)
    assert max(scorer.kl([bare], [soft], [answer])[0]) > 1e-4
    first, second = greedy_answers(scorer, [soft, text], 8)
    assert first == second


def test_greedy_answers_are_generates_own(scorer):
    prompts = [question_prompt(TOKENIZER, q) for q in ("what should i drink ?", "where ?")]
    answers = greedy_answers(scorer, [Reading(p, 0) for p in prompts], 6, batch_size=2)
    for prompt, answer in zip(prompts, answers, strict=True):
        row = make_lm().generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :].tolist()
        special = [i for i, token in enumerate(row) if token in TOKENIZER.all_special_ids]
        assert answer == row[: special[0] if special else 6]


def test_signature_knows_soft_tokens_up_to_rounding():
    soft = torch.randn(4, 8)
    reading = Reading([1, M, M, M, M], 4, soft)
    assert reading.signature == Reading([1, M, M, M, M], 4, soft + 1e-9).signature
    assert reading.signature != Reading([1, M, M, M, M], 4, soft + 0.01).signature
    assert reading.signature != Reading([2, M, M, M, M], 4, soft).signature


def test_lm_is_named_by_its_weights_and_not_by_its_memory():
    bare = lm_fingerprint(make_lm())
    assert bare == lm_fingerprint(make_model(cell="lstm").language_model.get_base_model())
    assert bare != lm_fingerprint(make_lm(seed=3))


# --- methods


def test_text_methods(data):
    items = load_prefeval(data)
    encoder = make_turn_encoder().encoder
    reader = TextReader(TOKENIZER, encoder, 6)
    [plan] = make_plans(items, 1, seed=0)
    case = plan.case(4)
    stored, question = [item.preference for item in case.stored], case.item.question
    bare = question_prompt(TOKENIZER, question)
    vectors = encoder.encode([question, *stored], normalize_embeddings=True)
    order = sorted(range(4), key=lambda i: -float(vectors[1 + i] @ vectors[0]))
    whole = prefix_prompt(TOKENIZER, stored, question)
    expected = {
        "none": bare,
        "text": prefix_prompt(TOKENIZER, [case.item.preference], question),
        "reminder": reminder_prompt(TOKENIZER, [case.item.preference], question),
        "text_all": whole,
        "text_truncated": whole[:6] + bare,
        "retrieval_top1": reminder_prompt(TOKENIZER, [stored[order[0]]], question),
        "retrieval_top5": reminder_prompt(TOKENIZER, [stored[i] for i in order], question),
    }
    for method, prompt in expected.items():
        [reading] = reader.readings(method, [case])
        assert reading.prompt == prompt, method
        assert reading.num_tokens == len(prompt) - len(bare), method


def test_writer_writes_as_the_model_does():
    model = make_model()
    model._encoder = make_turn_encoder()
    histories = [
        [Turn("i love tea")],
        [],
        [Turn("i hate cats", "cats ?"), Turn("please plan trips"), Turn("i love rain")],
    ]
    writer = MemoryWriter(model, KeywordDetector())
    states = writer.states(histories)
    for row, history in enumerate(histories):
        state = model.initial_state()
        for turn in history:
            state = model.write([turn], state)
        for name, tensor in state.tensors.items():
            torch.testing.assert_close(states.rows([row])[name], tensor, atol=1e-5, rtol=1e-5)
    assert writer.let_in(histories[2]) == [histories[2][0], histories[2][2]]
    readings = writer.readings(histories, ["what ?", "what ?", "where ?"])
    empty = readings[1]
    assert (empty.prompt, empty.num_tokens, empty.soft_tokens) == (question_prompt(TOKENIZER, "what ?"), 0, None)
    for reading, question in ((readings[0], "what ?"), (readings[2], "where ?")):
        if reading.soft_tokens is not None:
            assert reading.prompt == memory_prompt(TOKENIZER, question, M, 6)


def test_writer_without_detector_judges_nothing():
    with pytest.raises(ValueError) as error:
        MemoryWriter(make_model()).let_in([Turn("i love tea")])
    assert str(error.value) == "A detector is needed to judge turns, got none. Give one to `MemoryWriter`."


def test_oracle_says_what_the_reminder_says(data):
    model = make_model()
    scorer = AnswerScorer(model, TOKENIZER)
    [plan] = make_plans(load_prefeval(data), 1, seed=0)
    case = plan.case(1)
    [fitted] = Oracle(model, scorer).readings([case])
    assert fitted.num_tokens == 6
    question = case.item.question
    teacher = Reading(reminder_prompt(TOKENIZER, [case.item.preference], question), 0)
    bare = Reading(question_prompt(TOKENIZER, question), 0)
    [answer] = greedy_answers(scorer, [teacher], 48)
    [learnt], [untold] = scorer.kl([teacher], [fitted], [answer]), scorer.kl([teacher], [bare], [answer])
    assert sum(learnt) < 0.8 * sum(untold)
    assert Oracle(model, scorer).readings([case])[0].signature == fitted.signature  # out of the cache


def test_harm_is_nothing_behind_a_closed_gate(scorer):
    scorer.model._encoder = make_turn_encoder()
    writer = MemoryWriter(scorer.model)
    pairs = [{"prompt": "where is the sun ?", "reply": "the sun is here"}, {"prompt": "what ?", "reply": "rain"}]
    stated = [[Turn("i love tea")], [Turn("i hate cats")]]
    gate = scorer.model.memory.cell.gate[-1].bias
    with torch.no_grad():
        gate.fill_(-30.0)
    assert harm(scorer, writer, pairs, stated) == {"kl_per_token": 0.0, "open_share": 0.0}
    with torch.no_grad():
        gate.fill_(30.0)
    found = harm(scorer, writer, pairs, stated)
    assert found["open_share"] == 1.0
    readings = writer.readings([[Turn("i love tea"), Turn("i hate cats")]] * 2, ["where is the sun ?", "what ?"])
    assert all(reading.soft_tokens is not None for reading in readings)
    assert found["kl_per_token"] > 1e-3
