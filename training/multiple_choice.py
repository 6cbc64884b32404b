"""PrefEval's multiple choice, by which option the LM finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence

from pref_lstm.modeling.text_tokenizer import tokenize_text

from .likelihood import AnswerScorer, Reading
from .prefeval import PrefEvalItem


def choice_accuracy(scorer: AnswerScorer, readings: Sequence[Reading], items: Sequence[PrefEvalItem]) -> float:
    """
    Share of questions whose first option, the one that follows the preference, has the highest likelihood per token.

    Picking the longest option scores 41.8 % on PrefEval: compare with the shuffled memory, not with one in four.

    Args:
        scorer ([`AnswerScorer`]): The LM.
        readings (`Sequence[Reading]`): What is read for each question.
        items (`Sequence[PrefEvalItem]`): The questions; those without options are left out.
    """
    tokenizer = scorer.tokenizer
    rows = [
        (reading, tokenize_text(tokenizer, option.strip())["input_ids"])
        for reading, item in zip(readings, items, strict=True)
        for option in item.options
    ]
    nll = iter(scorer.nll([reading for reading, _ in rows], [option for _, option in rows]))
    right = []
    for item in items:
        means = [sum(values) / len(values) for _, values in zip(item.options, nll, strict=False)]
        if means:
            right.append(means.index(min(means)) == 0)
    return sum(right) / len(right) if right else float("nan")
