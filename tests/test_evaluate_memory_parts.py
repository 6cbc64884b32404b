"""`pref-lstm evaluate-memory` part by part: scoring, text methods, writing, the oracle, harm."""

import pytest
import torch
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.greedy_answers import greedy_answers
from pref_lstm.training.harm import harm
from pref_lstm.training.history_writer import HistoryWriter
from pref_lstm.training.likelihood import AnswerScorer, Reading
from pref_lstm.training.memory_methods import TextReader
from pref_lstm.training.oracle import Oracle
from pref_lstm.training.prefeval import load_prefeval
from pref_lstm.training.prefeval_plan import make_plans
from pref_lstm.training.score_cache import ScoreCache, lm_fingerprint
from pref_lstm.training.text_forms import memory_prompt, prefix_prompt, question_prompt, reminder_prompt
from prefeval_folder import write_prefeval
from tiny import FAMILIES, PLACEHOLDER, KeywordDetector, make_lm, make_model, make_tokenizer, make_turn_encoder

TOKENIZER = make_tokenizer()
M = TOKENIZER.convert_tokens_to_ids(PLACEHOLDER)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_prefeval(tmp_path_factory.mktemp("data") / "prefeval")


@pytest.fixture
def scorer():
    return AnswerScorer(make_model(), TOKENIZER, batch_tokens=60)


def ids(text):
    return TOKENIZER(text)["input_ids"]


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


def test_scores_in_bfloat16_are_near_and_kept_apart():
    cache = ScoreCache()
    exact, fast = (AnswerScorer(make_model(), TOKENIZER, cache, bf16=bf16) for bf16 in (False, True))
    reading, answer = Reading(question_prompt(TOKENIZER, "what should i drink ?"), 0), ids("green tea is good")
    [expected], [score] = exact.nll([reading], [answer]), fast.nll([reading], [answer])
    assert score != expected
    torch.testing.assert_close(torch.tensor(score), torch.tensor(expected), atol=0.05, rtol=0.05)


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
    writer = HistoryWriter(model, KeywordDetector())
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
        HistoryWriter(make_model()).let_in([Turn("i love tea")])
    assert str(error.value) == "A detector is needed to judge turns, got none. Give one to `HistoryWriter`."


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
    writer = HistoryWriter(scorer.model)
    pairs = [{"prompt": "where is the sun ?", "reply": "the sun is here"}, {"prompt": "what ?", "reply": "rain"}]
    stated = [[Turn("i love tea")], [Turn("i hate cats")]]
    gate = scorer.model.memory.cell.gate[-1].bias
    with torch.no_grad():
        gate.fill_(-30.0)
    assert harm(scorer, writer, pairs, stated) == {
        "kl_per_token": 0.0, "kl_per_token_low": 0.0, "kl_per_token_high": 0.0, "open_share": 0.0,
    }  # fmt: skip
    with torch.no_grad():
        gate.fill_(30.0)
    found = harm(scorer, writer, pairs, stated)
    assert found["open_share"] == 1.0
    readings = writer.readings([[Turn("i love tea"), Turn("i hate cats")]] * 2, ["where is the sun ?", "what ?"])
    assert all(reading.soft_tokens is not None for reading in readings)
    assert found["kl_per_token"] > 1e-3
    assert found["kl_per_token_low"] < found["kl_per_token"] < found["kl_per_token_high"]
