"""The contrastive loss of the keys, against a plain loop over what each vector is told from."""

import pytest
import torch
from pref_lstm.modeling.outputs import EncoderPass
from pref_lstm.training.train_keys import KeyLoss

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
