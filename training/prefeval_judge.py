"""PrefEval's generation task: another LM judges whole answers by four checks (arXiv 2502.09597, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pref_lstm.modeling.prompt import build_prompt

from .likelihood import AnswerScorer, Reading
from .prefeval import PrefEvalItem

# Each check is a question that the judge answers with yes or no.
CHECKS = {
    "violate": (
        "A user has this preference:\n{preference}\n\nThe user asked:\n{question}\n\n"
        "An assistant answered:\n{answer}\n\n"
        "Does any recommendation in the answer go against the user's preference?"
    ),
    "acknowledge": (
        "A user asked:\n{question}\n\nAn assistant answered:\n{answer}\n\n"
        "Does the answer say in any words that it takes a preference of the user into account?"
    ),
    "hallucinate": (
        "A user has this preference:\n{preference}\n\nAn assistant wrote to this user:\n{answer}\n\n"
        "Does the assistant state the user's preference wrongly, as something that differs from it?"
    ),
    "helpful": (
        "A user asked:\n{question}\n\nAn assistant answered:\n{answer}\n\n"
        "Does the answer give the user something of substance, rather than nothing, a refusal or only a question back?"
    ),
}
_ONE_WORD = " Answer with one word, yes or no."


def judge_answers(judge: AnswerScorer, items: Sequence[PrefEvalItem], answers: Sequence[str]) -> dict[str, float]:
    """
    Judge one answer per question.

    The judge says yes where it finds "Yes" likelier than "No" after the check, so any chat model gives a verdict.

    PrefEval tells four kinds of error: an unhelpful answer; and of the helpful ones that violate the preference, those
    that do not acknowledge one (`unaware`), those that acknowledge a wrong one (`hallucinated`), and those that
    acknowledge the right one (`inconsistent`). An answer without any of them is correct.

    Args:
        judge ([`AnswerScorer`]): Of the LM that judges.
        items (`Sequence[PrefEvalItem]`): The questions.
        answers (`Sequence[str]`): What the LM under test said.

    Returns:
        Shares of all answers: `correct`, the four checks and the four errors.
    """
    verdicts = {check: _says_yes(judge, text, items, answers) for check, text in CHECKS.items()}
    rows = [_errors(**dict(zip(verdicts, row, strict=True))) for row in zip(*verdicts.values(), strict=True)]
    shares: dict[str, float] = {"correct": sum(not any(row.values()) for row in rows) / len(rows)}
    shares |= {check: sum(says) / len(says) for check, says in verdicts.items()}
    return shares | {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _errors(violate: bool, acknowledge: bool, hallucinate: bool, helpful: bool) -> dict[str, bool]:
    violates = helpful and violate
    return {
        "unhelpful": not helpful,
        "unaware": violates and not acknowledge,
        "hallucinated": violates and acknowledge and hallucinate,
        "inconsistent": violates and acknowledge and not hallucinate,
    }


def _says_yes(judge: AnswerScorer, check: str, items: Sequence[PrefEvalItem], answers: Sequence[str]) -> list[bool]:
    tokenizer = judge.tokenizer
    readings = []
    for item, answer in zip(items, answers, strict=True):
        content = check.format(preference=item.preference, question=item.question, answer=answer or "(nothing)")
        readings.append(Reading(build_prompt(tokenizer, [{"role": "user", "content": content + _ONE_WORD}]), 0))
    likelihood: dict[str, list[Any]] = {}
    for word in ("Yes", "No"):
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        likelihood[word] = [sum(row) / len(row) for row in judge.nll(readings, [ids] * len(readings))]
    return [yes < no for yes, no in zip(likelihood["Yes"], likelihood["No"], strict=True)]
