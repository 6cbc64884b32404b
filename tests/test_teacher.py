"""What the answers' stage learns from: the teacher's distributions, and which turns are written before a question."""

import pytest
import torch
from datasets import Dataset
from pref_lstm.modeling.turn import Turn
from pref_lstm.training import teacher
from pref_lstm.training.bank import load_bank
from pref_lstm.training.collator import MemoryCollator
from pref_lstm.training.conversations import bank_conversations
from pref_lstm.training.objective import memory_objective
from pref_lstm.training.teacher import TOP_K, add_teacher
from pref_lstm.training.text_forms import question_prompt, reminder_prompt
from refused import refused
from tiny import PLACEHOLDER, make_lm, make_model, make_tokenizer, make_turn_encoder
from tiny_bank import bank_files

TOKENIZER = make_tokenizer()
STRENGTH = 0.5


def row(answer, num_bare_tokens, question="what should i drink ?"):
    return {"statement": "i love tea", "question": question, "answer": answer, "num_bare_tokens": num_bare_tokens}


def taught(rows, **options):
    return add_teacher(Dataset.from_list(rows), make_lm(), TOKENIZER, STRENGTH, 12, **options)


def log_probs(prompt, answer):
    with torch.no_grad():
        logits = make_lm()(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)


def test_the_teacher_is_guided_after_its_num_bare_tokens():
    out = taught([row("tea here", 1), row("some green tea tonight", 0), row("good cats", 1_000)])
    for found, num_bare_tokens in zip(out, (1, 0, 1_000), strict=True):
        answer = found["answer_ids"]
        assert answer[-1] == TOKENIZER.eos_token_id
        bare = log_probs(question_prompt(TOKENIZER, found["question"]), answer)
        read = log_probs(reminder_prompt(TOKENIZER, [found["statement"]], found["question"]), answer)
        expected = ((1 + STRENGTH) * read - STRENGTH * bare).log_softmax(-1)
        expected[:num_bare_tokens] = bare[:num_bare_tokens]
        ids = torch.tensor(found["teacher_ids"]).view(-1, TOP_K)
        values = torch.tensor(found["teacher_logits"]).view(-1, TOP_K)
        torch.testing.assert_close(values, expected.topk(TOP_K).values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(expected.gather(1, ids), values, atol=1e-4, rtol=1e-4)


def test_guidance_changes_after_the_early_tokens():
    words = ["tea", "cats", "jazz", "rain"] * 9
    rows = [row(" ".join(words), 0)]
    found = {late: add_teacher(Dataset.from_list(rows), make_lm(), TOKENIZER, 0.5, 36, late)[0] for late in (None, 0.0)}
    same, changed = (torch.tensor(found[late]["teacher_logits"]).view(36, TOP_K) for late in (None, 0.0))
    assert torch.equal(same[:32], changed[:32])
    read = log_probs(reminder_prompt(TOKENIZER, ["i love tea"], rows[0]["question"]), found[None]["answer_ids"])
    torch.testing.assert_close(changed[32:], read.topk(TOP_K).values[32:], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(same[32:], changed[32:], atol=1e-3)


def test_a_whole_number_guides_as_its_fraction_does():
    rows = Dataset.from_list([row(" ".join(["tea", "cats", "jazz", "rain"] * 9), 0)])
    whole, fraction = (add_teacher(rows, make_lm(), TOKENIZER, strength, 36, 0.5)[0] for strength in (1, 1.0))
    assert whole["teacher_logits"] == fraction["teacher_logits"]


def test_an_empty_answer_is_the_lms_own():
    questions = ["what should i drink ?", "where ?", "plan a trip"]
    out = taught([row("", 2, q) for q in questions] + [row("tea", 1, questions[0])])
    for question, found in zip(questions, out, strict=False):
        prompt = torch.tensor([question_prompt(TOKENIZER, question)])
        answer = (
            make_lm()
            .generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=1
            )[0, prompt.shape[1] :]
            .tolist()
        )
        special = set(TOKENIZER.all_special_ids)
        end = next((i for i, token in enumerate(answer) if token in special), len(answer))
        assert found["answer_ids"] == [*answer[:end], TOKENIZER.eos_token_id][:12]
    assert out[3]["answer_ids"] == [*TOKENIZER("tea")["input_ids"], TOKENIZER.eos_token_id]


def test_an_answer_of_nothing_is_its_end(monkeypatch):
    monkeypatch.setattr(teacher, "greedy_answers", lambda scorer, readings, *_: [[] for _ in readings])
    [found] = taught([row("", 1_000)])
    assert found["answer_ids"] == [TOKENIZER.eos_token_id] and len(found["teacher_ids"]) == TOP_K


def test_in_bfloat16_the_teacher_is_near():
    [exact], [fast] = taught([row("tea here", 1)]), taught([row("tea here", 1)], bf16=True)
    assert exact["teacher_logits"] != fast["teacher_logits"]
    both = [torch.tensor(found["teacher_logits"]) for found in (exact, fast)]
    torch.testing.assert_close(*both, atol=0.1, rtol=0.1)


ANSWER = {
    "answer_ids": TOKENIZER("tea cats")["input_ids"],
    "teacher_ids": [0] * 2 * TOP_K,
    "teacher_logits": [0.0] * 2 * TOP_K,
}


@pytest.fixture
def collator(tmp_path):
    bank = load_bank(bank_files(tmp_path))
    collator = MemoryCollator(
        TOKENIZER, make_turn_encoder(), bank.preferences, TOKENIZER.convert_tokens_to_ids(PLACEHOLDER), 6, (1, 3)
    )
    return bank, collator


def test_what_matters_is_written_once_and_what_does_not_never(collator):
    bank, collator = collator
    topic_of = {form: p.topic for p in bank.preferences for form in p.forms}
    written, read = [], collator.encoder.encode
    collator.encoder.encode = lambda turns: written.extend(turns) or read(turns)
    for index, conversation in enumerate(bank_conversations(bank)):
        written.clear()
        batch = collator([{**conversation, **ANSWER, "index": index}])
        assert batch["turns_mask"].sum() == len(written) and len(written) in (1, 3)
        others = [turn for turn in written if topic_of.get(turn) != conversation["topic"]]
        if conversation["source"] == "mismatched":
            assert batch["relevant"].tolist() == [-1] and others == written
            continue
        [own] = [i for i, turn in enumerate(written) if turn in [Turn(**form) for form in conversation["forms"]]]
        assert batch["relevant"].tolist() == [own]
        if conversation["source"] not in ("opposite", "pair_opposite"):  # an opposite is nobody's form
            assert len(others) == len(written) - 1


def test_turns_of_one_topic_alone_cannot_be_mixed(collator):
    bank, collator = collator
    collator.preferences, row = bank.preferences[:1], {**bank_conversations(bank)[0], **ANSWER, "index": 0}
    collator.num_turns = (1,)
    assert collator([row])["turns_mask"].sum() == 1  # nothing else is needed
    collator.num_turns = (3,)
    with refused(ValueError, "The bank must have preferences of several topics, got 'tea' only."):
        collator([row])


@pytest.mark.parametrize(("source", "opens"), [("first", 1.0), ("mismatched", 0.0)])
def test_the_gate_of_a_vector_cell_learns_what_matters(source, opens, collator):
    bank, collator = collator
    [conversation] = [row for row in bank_conversations(bank) if row["source"] == source][:1]
    batch, model = collator([{**conversation, **ANSWER, "index": 0}]), make_model(cell="pref_lstm")
    state = model.memory.scan(batch["turns"], model.tuner.embed, batch["turns_mask"])
    gate = model.memory.cell.read(state, batch["query"], model.tuner.embed).gate_logits
    expected = torch.nn.functional.binary_cross_entropy_with_logits(gate, torch.full_like(gate, opens))
    torch.testing.assert_close(memory_objective(model.tuner, batch)["gate"], expected)
