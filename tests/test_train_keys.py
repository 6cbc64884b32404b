"""The contrastive loss of the keys, against a plain loop over what each vector is told from."""

import random
from dataclasses import replace

import pytest
import torch
from pref_lstm.modeling.outputs import EncoderPass
from pref_lstm.training.bank import Bank, load_bank
from pref_lstm.training.retrieval_sampler import RetrievalSampler
from pref_lstm.training.train_keys import KeyLoss, key_topics
from refused import refused
from tiny import make_turn_encoder

SCALE, RESTATED = 20.0, 0.2


class FirstToken(torch.nn.Module):
    """A key encoder that takes the vectors as they come."""

    def forward(self, passed):
        return torch.nn.functional.normalize(passed.hidden_states[-1][:, 0], dim=-1)


def as_pass(vectors):
    ones = torch.ones(len(vectors), 1, dtype=torch.long)
    return EncoderPass((vectors[:, None],), ones, ones, 0)


def missed(right, wrong):
    """Cross-entropy of one that is right among others."""
    logits = SCALE * torch.stack([right, *wrong])
    return logits.logsumexp(0) - logits[0]


@pytest.mark.parametrize("num_unrelated", [0, 2])
def test_what_a_question_is_told_from(num_unrelated):
    torch.manual_seed(0)
    n, topics = 4, [0, 1, 0, 2]
    turns, again, asked = torch.randn(n, 8), torch.randn(n + 1, 8), torch.randn(n + num_unrelated, 8)
    same = torch.tensor([[i != j and topics[i] == topics[j] for j in range(n)] for i in range(n)])
    found = KeyLoss(FirstToken())(as_pass(turns), as_pass(again), as_pass(asked), same)["loss"]

    t, a, q = [torch.nn.functional.normalize(v, dim=-1) for v in (turns, again, asked)]
    losses = []
    for i in range(n):
        others = [j for j in range(n) if topics[j] != topics[i]]
        messages = [*others, *range(n, len(q))]
        question = missed(q[i] @ t[i], [q[i] @ t[j] for j in others] + [q[i] @ q[j] for j in messages])
        turn = missed(t[i] @ q[i], [t[i] @ q[j] for j in messages])
        restated = missed(t[i] @ a[i], [t[i] @ a[j] for j in range(len(a)) if j != i])
        losses.append(question + turn + RESTATED * restated)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def of_topics(*topics):
    [preference] = load_bank().preferences[:1]
    return Bank(tuple(replace(preference, topic=topic) for topic in topics), ())


@pytest.mark.parametrize("topics", [("food", "travel", "music"), ("food", "books", "music"), ("food", "books", "film")])
def test_a_bank_of_few_topics_is_split_too(topics):
    """By their names alone the gate would have none of the first's topics, and one of the second's."""
    bank = of_topics(*topics, *topics)
    assert len(key_topics(bank)) == 1
    sampler = RetrievalSampler(make_turn_encoder(), bank, ["count one"], num_rows=4, num_pairs=2)
    assert (sampler(random.Random(0))["retrieval_filled"].sum(dim=1) > 0).all()


def test_a_bank_of_two_topics_is_refused():
    with refused(ValueError, "A bank must have preferences of at least 3 topics, got 2. Write some of others."):
        key_topics(of_topics("food", "books"))


def test_a_topic_s_side_does_not_depend_on_the_others():
    bank = load_bank()
    part = Bank(bank.preferences[::3], ())
    assert key_topics(part) == key_topics(bank) & {p.topic for p in part.preferences}
    assert 0.8 < len(key_topics(bank)) / len({p.topic for p in bank.preferences}) < 0.9
