"""The contrastive loss of the keys against a plain loop over what each vector is told from, and its batches."""

import pytest
import torch
from pref_lstm.modeling.outputs import EncoderPass
from pref_lstm.modeling.turn import Turn
from pref_lstm.training.relevance_rows import RelevanceRow
from pref_lstm.training.train_keys import KeyCollator, KeyLoss

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
    """Two turns of one topic, and one that comes with a message for which it does not matter (the fifth)."""
    torch.manual_seed(0)
    n, topics, near_of = 4, [0, 1, 0, 2], 1
    turns, again, asked = torch.randn(n, 8), torch.randn(n + 1, 8), torch.randn(n + 1 + num_unrelated, 8)
    compared = torch.tensor([[i == j or topics[i] != topics[j] for j in range(n)] for i in range(n)])
    near = torch.tensor([[i == near_of] for i in range(n)])
    compared = torch.cat([compared, near, torch.ones(n, num_unrelated, dtype=torch.bool)], dim=1)
    found = KeyLoss(FirstToken())(as_pass(turns), as_pass(again), as_pass(asked), compared)["loss"]

    t, a, q = [torch.nn.functional.normalize(v, dim=-1) for v in (turns, again, asked)]
    losses = []
    for i in range(n):
        others = [j for j in range(n) if topics[j] != topics[i]]
        messages = [*others, *([n] if i == near_of else []), *range(n + 1, len(q))]
        question = missed(q[i] @ t[i], [q[i] @ t[j] for j in others] + [q[i] @ q[j] for j in messages])
        turn = missed(t[i] @ q[i], [t[i] @ q[j] for j in messages])
        restated = missed(t[i] @ a[i], [t[i] @ a[j] for j in range(len(a)) if j != i])
        losses.append(question + turn + RESTATED * restated)
    torch.testing.assert_close(found, torch.stack(losses).mean())


class Texts:
    """An encoder that hands out what it is asked to read."""

    def hidden_states(self, turns, for_vectors):
        return [turn.user for turn in turns]


def test_a_near_message_is_told_from_its_own_turn_only():
    rows = [
        RelevanceRow("tea", (Turn("tea"),), (Turn("no tea"),), "green tea", ("drink?",), ()),
        RelevanceRow("cats", (Turn("cats"), Turn("Tom")), (), None, ("pet?",), ("film cats?",)),
        RelevanceRow("tea", (Turn("pots"), Turn("cups")), (), None, ("shop?",), ("tax on pots?",)),
    ]
    batch = KeyCollator(Texts(), rows, {}, ["count"])([{"index": 7, "row": i} for i in range(3)])
    assert batch["asked"] == ["drink?", "pet?", "shop?", "film cats?", "tax on pots?", "count"]
    assert batch["restated"][0] == "no tea" and batch["restated"][3:] == ["green tea"]
    for stated, restated, forms in zip(batch["stated"][1:], batch["restated"][1:3], rows[1:], strict=True):
        assert {stated, restated} == {form.user for form in forms.forms}
    assert batch["compared"].tolist() == [
        [True, True, False, False, False, True],
        [True, True, True, True, False, True],
        [False, True, True, False, True, True],
    ]
