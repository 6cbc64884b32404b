"""The evaluation's figures against numbers worked out by hand."""

import math

import pytest
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.likelihood import Reading
from pref_lstm.training.memory_evaluation import MemoryEvaluation, Source
from pref_lstm.training.memory_methods import TextReader
from pref_lstm.training.memory_metrics import LikelihoodGap, Recovery, with_interval
from pref_lstm.training.memory_pairs import contradiction, polarity
from pref_lstm.training.mention import mentions, stems
from pref_lstm.training.multiple_choice import choice_accuracy
from pref_lstm.training.prefeval import PrefEvalItem
from pref_lstm.training.prefeval_judge import judge_answers
from pref_lstm.training.prefeval_plan import make_plans
from pref_lstm.training.teacher import answer_ids
from pref_lstm.training.text_forms import prefix_prompt, question_prompt
from prefeval_folder import TOPICS
from scipy.stats import binom
from tiny import make_encoder, make_tokenizer

ITEMS = [
    PrefEvalItem(topic, preference, question, (Turn(preference),), answer)
    for topic, rows in TOPICS.items()
    for preference, question, answer in rows
]


class CopyingScorer:
    """An LM for which an answer's token costs 1 where the prompt holds it and 3 where not."""

    tokenizer = make_tokenizer()

    def nll(self, readings, answers):
        return [[1.0 if t in r.prompt else 3.0 for t in a] for r, a in zip(readings, answers, strict=True)]


def test_recovery_by_hand():
    metric = Recovery(keep_in_memory=True)
    values = {"right": [1.0, 2.0], "shuffled": [2.0, 2.5], "text_right": [1.0, 1.0], "text_shuffled": [2.0, 3.0]}
    # (0.5 * (1 + 0.5)) / (0.5 * (1 + 2)), and a resample of one question twice gives 1 or 0.25.
    assert metric.compute(**values, seed=0) == {"recovery": 0.5, "recovery_low": 0.25, "recovery_high": 1.0}
    again = metric.compute(**values, seed=0)
    assert again == {"recovery": 0.5, "recovery_low": 0.25, "recovery_high": 1.0}


def test_recovery_is_nan_where_text_gains_nothing():
    result = Recovery(keep_in_memory=True).compute(
        right=[1.0], shuffled=[2.0], text_right=[2.0], text_shuffled=[2.0], seed=0
    )
    assert all(math.isnan(value) for value in result.values())


def test_gap_by_hand():
    result = LikelihoodGap(keep_in_memory=True).compute(right=[1.0, 2.0], shuffled=[1.5, 4.0], seed=0)
    assert result == {"nll": 1.5, "nll_shuffled": 2.75, "gap": 1.25, "gap_low": 0.5, "gap_high": 2.0}


@pytest.fixture
def evaluation():
    scorer = CopyingScorer()
    plans = make_plans(ITEMS, None, seed=0)
    reader = TextReader(scorer.tokenizer, make_encoder(), 6)
    answers = [answer_ids(scorer.tokenizer, plan.item.answer, 96) for plan in plans]
    return MemoryEvaluation(scorer, reader, plans, answers, seed=0)


@pytest.mark.parametrize("num_preferences", [1, 3])
def test_recovery_is_1_for_a_memory_that_is_the_text(evaluation, num_preferences):
    source = Source(evaluation.scorer, lambda cases: evaluation.reader.readings("reminder", cases))
    row = evaluation.row("memory", num_preferences, source)
    for name in ("recovery", "recovery_low", "recovery_high", "recovery_prefix", "recovery_other_topic"):
        assert row[name] == pytest.approx(1.0), name
    assert row["nll"] < row["nll_shuffled"]


def test_recovery_is_0_for_a_memory_that_ignores_its_content(evaluation):
    def style(cases):
        return [Reading([5, *question_prompt(evaluation.scorer.tokenizer, c.item.question)], 1) for c in cases]

    row = evaluation.row("memory", 2, Source(evaluation.scorer, style))
    assert row["recovery"] == row["recovery_prefix"] == row["recovery_other_topic"] == 0.0
    assert row["nll"] == row["nll_shuffled"]
    assert row["tokens_read"] == 1.0


def test_a_row_by_hand(evaluation):
    def nll(kind, span):
        out = []
        for plan, answer in zip(evaluation.plans, evaluation.answers, strict=True):
            stated = plan.case(1, kind).stored[0].preference
            prompt = prefix_prompt(evaluation.scorer.tokenizer, [stated], plan.item.question)
            if part := answer[span]:
                out.append(sum(1.0 if t in prompt else 3.0 for t in part) / len(part))
        return sum(out) / len(out)

    evaluation.answers = [(answer * 6)[:96] for answer in evaluation.answers[:5]] + evaluation.answers[5:]
    row = evaluation.row("text", 1, evaluation.text_source("text"))
    assert row["nll"] == pytest.approx(nll("right", slice(32)))
    assert row["nll_shuffled"] == pytest.approx(nll("shuffled", slice(32)))
    assert row["nll_late"] == pytest.approx(nll("right", slice(32, 96)))
    assert row["late_gap"] == pytest.approx(nll("shuffled", slice(32, 96)) - nll("right", slice(32, 96)))
    assert row["recovery_prefix"] == 1.0


def test_choice_by_hand():
    tokenizer = CopyingScorer.tokenizer
    readings = [Reading(tokenizer("green tea")["input_ids"], 2)] * 3
    options = [("green tea", "black tea", "cats"), ("dogs", "green"), ()]
    items = [PrefEvalItem("t", "p", "q", (), "", option) for option in options]
    assert choice_accuracy(CopyingScorer(), readings, items) == 0.5


PAIRS = [
    {"preference": "i love tea", "opposite": "i love coffee", "question": "what should i drink ?",
     "answer": "tea tea", "opposite_answer": "coffee coffee"},
]  # fmt: skip


def test_polarity_and_contradiction_by_hand():
    scorer = CopyingScorer()

    def reads(count):
        def read(texts, questions):
            rows = [" ".join(row[len(row) - count :]) for row in texts]
            return [Reading(scorer.tokenizer(row)["input_ids"], 0) for row in rows]

        return read

    assert polarity(scorer, reads(1), PAIRS) == [1.0]
    assert polarity(scorer, reads(0), PAIRS) == [0.0]  # a tie is a failure
    assert contradiction(scorer, reads(1), PAIRS) == [1.0]  # the later one alone
    assert contradiction(scorer, reads(2), PAIRS) == [0.0]  # both, side by side
    # Of the second pair one answer follows neither statement.
    pairs = [*PAIRS, {**PAIRS[0], "opposite_answer": "rain rain"}]
    assert polarity(scorer, reads(1), pairs) == [1.0, 0.5]


def test_a_figure_with_its_interval():
    assert with_interval("share", [1.0, 1.0], 0) == {"share": 1.0, "share_low": 1.0, "share_high": 1.0}
    found = with_interval("share", [True, False, True, False] * 25, 0)
    assert found["share"] == 0.5
    # A share of 100 rows: the bootstrap's percentiles are those of the binomial distribution.
    assert found["share_low"] == pytest.approx(binom.ppf(0.025, 100, 0.5) / 100, abs=0.011)
    assert found["share_high"] == pytest.approx(binom.ppf(0.975, 100, 0.5) / 100, abs=0.011)
    # By size: 3 nats on 1 token and 1 on 3 are 4 on 4, and a resample has 3, 1 or a third per token.
    found = with_interval("kl", [3.0, 1.0], 0, sizes=[1, 3])
    assert found == {"kl": 1.0, "kl_low": pytest.approx(1 / 3), "kl_high": 3.0}


def test_mentions():
    assert stems("I always avoid crowded museums") == {"crowd", "museum"}
    assert mentions("As museums tire you, walk", "I avoid museums", "What should I see in Rome?")
    assert not mentions("A museum is near", "I avoid museums", "Which museum is near?")
    assert not mentions("I like to avoid that", "I avoid museums", "What should I see in Rome?")


@pytest.mark.parametrize(
    ("yes", "errors"),
    [
        (("helpful",), {"correct": 1.0}),
        (("acknowledge",), {"unhelpful": 1.0}),
        (("violate", "helpful"), {"unaware": 1.0}),
        (("violate", "acknowledge", "helpful"), {"inconsistent": 1.0}),
        (("violate", "acknowledge", "hallucinate", "helpful"), {"hallucinated": 1.0}),
        (("acknowledge", "hallucinate", "helpful"), {"correct": 1.0}),
        (("violate", "acknowledge", "hallucinate"), {"unhelpful": 1.0}),
    ],
)
def test_judgement(yes, errors, monkeypatch):
    monkeypatch.setattr(
        "pref_lstm.training.prefeval_judge._says_yes",
        lambda judge, text, items, answers: [any(text == checks[name] for name in yes)],
    )
    from pref_lstm.training.prefeval_judge import CHECKS as checks

    shares = judge_answers(CopyingScorer(), ITEMS[:1], ["tea"])
    assert {
        name: shares[name]
        for name in ("correct", "unhelpful", "unaware", "hallucinated", "inconsistent")
        if shares[name]
    } == errors
    assert {name for name in checks if shares[name]} == set(yes)
