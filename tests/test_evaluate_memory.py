"""`pref-lstm evaluate-memory` from end to end on tiny models, and its parts: loading, drawing, scoring, resuming."""

import json
import re
from pathlib import Path

import pytest
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.likelihood import AnswerScorer
from pref_lstm.training.prefeval import load_inter_turns, load_prefeval
from pref_lstm.training.prefeval_plan import make_plans
from pref_lstm.training.score_cache import ScoreCache
from prefeval_folder import TOPICS, UNRELATED, write_adapter, write_oasst, write_prefeval
from tiny import PLACEHOLDER, KeywordDetector, make_model, make_tokenizer

from pref_lstm.cli import main

ROW = [
    "method", "num_preferences", "num_turns", "tokens_read", "nll", "nll_shuffled", "recovery", "recovery_low",
    "recovery_high", "recovery_prefix", "recovery_other_topic", "nll_late", "late_gap", "late_gap_low",
    "late_gap_high", "mcq", "mcq_shuffled", "mention_rate", "mention_rate_shuffled",
]  # fmt: skip
INTERVALS = [
    "harm_kl_per_token", "polarity", "polarity_text", "polarity_reminder", "contradiction", "contradiction_text",
    "contradiction_reminder",
]  # fmt: skip
REPORT = [
    "lm", "num_soft_tokens", "n", "harm_kl_per_token", "results", "polarity", "contradiction", "trained", "seed",
    "limits", "statements_through_detector", "turns_detector_open", "forms", "answers", "detector", "polarity_text",
    "contradiction_text", "polarity_reminder", "contradiction_reminder", "polarity_open_share",
    "mention_rate_irrelevant", "harm_n", "harm_open_share", "generation", "hardware", "bf16",
    *[f"{name}_{end}" for name in INTERVALS for end in ("low", "high")],
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
    monkeypatch.setattr("pref_lstm.modeling.defaults.load_default_detector", KeywordDetector)


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
        patch.setattr("pref_lstm.modeling.defaults.load_default_detector", KeywordDetector)
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


def test_without_published_answers_the_lm_writes_them(adapter, tmp_path, capsys):
    data = write_prefeval(tmp_path / "bare", answers=False)
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--methods", "reminder", "--limit", "2"]
    argv += ["--num-turns", "0", "--num-preferences", "1", "--mcq-limit", "0", "--mention-limit", "0"]
    assert main([*argv, "--cache", str(tmp_path / "c.jsonl"), "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["answers"] == "the LM's own, on reading the reminder"
    assert f"2 questions, answers: {report['answers']}," in " ".join(capsys.readouterr().out.split())
    [row] = report["results"]
    assert row["mcq"] is row["mention_rate"] is None


def test_a_limit_of_0_leaves_a_part_out(data, adapter, tmp_path):
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--limit", "2", "--num-turns", "2"]
    argv += ["--methods", "text", "retrieval_top5", "memory", "oracle", "--num-preferences", "1", "3"]
    argv += [f"--{name}-limit=0" for name in ("long", "mcq", "mention", "open", "oracle", "judge")]
    argv += ["--judge", str(adapter.parent / "lm")]
    assert main([*argv, "--cache", str(tmp_path / "c.jsonl"), "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    counts = {(row["method"], row["num_preferences"], row["num_turns"]) for row in report["results"]}
    assert counts == {("text", 1, 0), ("text", 3, 0), ("retrieval_top5", 1, 0), *[("memory", n, 0) for n in (1, 3)],
                      ("memory", 1, 2)}  # fmt: skip
    assert report["turns_detector_open"] == [] and "generation" not in report


@pytest.mark.parametrize("text", ["", json.dumps({"message_id": "a", "parent_id": None, "message_tree_id": "a",
                                                  "role": "prompter", "text": "no reply"})])  # fmt: skip
def test_messages_without_a_reply_are_refused_at_the_start(text, data, adapter, tmp_path, capsys):
    file = tmp_path / "oasst.jsonl"
    file.write_text(text)
    argv = ["evaluate-memory", "--model", str(adapter), "--data", str(data), "--num-preferences", "1"]
    assert main([*argv, "--oasst", str(file)]) == 2
    assert capsys.readouterr().err.endswith(
        f"'{file}' must hold first prompts of held-out OASST1 trees with their replies, got none. Pass whole trees, or "
        "leave `--oasst` out: harm is not measured then.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-preferences", "0"], "`--num-preferences` must be at least 1, got 0."),
        (["--num-turns", "-1"], "`--num-turns` must be at least 0, got -1."),
        (["--limit", "0"], "`--limit` must be at least 1, got 0."),
        (["--open-limit", "-1"], "`--open-limit` must be at least 0, got -1."),
        (["--plot", "nowhere/a.png"], "'nowhere/a.png' must be in a folder that exists. Make 'nowhere' first."),
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
