"""One row of the method table: right against shuffled, beside what the same LM gets from text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .greedy_answers import greedy_answers
from .likelihood import AnswerScorer, Reading
from .memory_methods import TextReader
from .memory_metrics import LikelihoodGap, Recovery
from .mention import mentions
from .multiple_choice import choice_accuracy
from .prefeval_plan import OTHER_TOPIC, RIGHT, SHUFFLED, Case, Plan

EARLY, LATE = slice(0, 32), slice(32, 96)
MAX_ANSWER_TOKENS = 96
MENTION_TOKENS = 40
_FORMS = ("text", "reminder")


@dataclass(frozen=True)
class Source:
    """
    A way to tell the LM about its user.

    Args:
        scorer ([`AnswerScorer`]): The LM; soft tokens of an adapter need the model that carries it.
        read (`Callable`): What is read for each case.
    """

    scorer: AnswerScorer
    read: Callable[[Sequence[Case]], list[Reading]]


@dataclass(frozen=True)
class _Scores:
    """Mean NLL of each question's answer, early and late tokens; None where an answer is too short for late ones."""

    early: list[float]
    late: list[float | None]


class MemoryEvaluation:
    """
    Makes rows of the method table.

    Args:
        scorer ([`AnswerScorer`]): The LM that reads the text that is the ceiling.
        reader ([`TextReader`]): Makes that text.
        plans (`Sequence[Plan]`): The questions.
        answers (`Sequence[list[int]]`): The answers whose likelihood is measured, at most 96 tokens of each.
        seed (`int`): Of the bootstrap.
    """

    def __init__(
        self,
        scorer: AnswerScorer,
        reader: TextReader,
        plans: Sequence[Plan],
        answers: Sequence[list[int]],
        seed: int,
    ) -> None:
        self.scorer, self.reader, self.plans, self.seed = scorer, reader, plans, seed
        self.answers = [answer[:MAX_ANSWER_TOKENS] for answer in answers]
        self._recovery, self._gap = Recovery(keep_in_memory=True), LikelihoodGap(keep_in_memory=True)

    def text_source(self, method: str) -> Source:
        """One of the methods of text."""
        return Source(self.scorer, lambda cases: self.reader.readings(method, cases))

    def row(
        self,
        method: str,
        num_preferences: int,
        source: Source,
        num_turns: int = 0,
        limit: int | None = None,
        mcq_limit: int = 0,
        mention_limit: int = 0,
        kinds: Sequence[str] = (RIGHT, SHUFFLED, OTHER_TOPIC),
    ) -> dict[str, Any]:
        """
        Measure one method.

        Args:
            method (`str`): Its name in the table.
            num_preferences (`int`): Stored for each question.
            source ([`Source`]): The method.
            num_turns (`int`, defaults to 0): Unrelated turns between, for the table; `source` writes them.
            limit (`int`, *optional*): Only the first questions.
            mcq_limit, mention_limit (`int`, defaults to 0): How many questions are asked as multiple choice, and
                answered greedily; 0 leaves the measure out.
            kinds: Without `OTHER_TOPIC` that control is left out.

        Returns:
            The row's fields as architecture.md names them; None where something was not measured.
        """
        plans = self.plans[:limit]
        readings = {kind: source.read([plan.case(num_preferences, kind) for plan in plans]) for kind in kinds}
        scores = {kind: self._scores(source.scorer, read) for kind, read in readings.items()}
        gap = self._gap.compute(right=scores[RIGHT].early, shuffled=scores[SHUFFLED].early, seed=self.seed)
        late = self._late_gap(scores)
        row: dict[str, Any] = {
            "method": method,
            "num_preferences": num_preferences,
            "num_turns": num_turns,
            "tokens_read": sum(reading.num_tokens for reading in readings[RIGHT]) / len(plans),
            "nll": gap["nll"],
            "nll_shuffled": gap["nll_shuffled"],
            **self._recover(scores, SHUFFLED, self._stronger_form(SHUFFLED)),
            "recovery_prefix": self._recover(scores, SHUFFLED, "text")["recovery"],
            "recovery_other_topic": None,
            **late,
        }
        if OTHER_TOPIC in kinds:
            form = self._stronger_form(OTHER_TOPIC)
            row["recovery_other_topic"] = self._recover(scores, OTHER_TOPIC, form)["recovery"]
        for name, kind in (("", RIGHT), ("_shuffled", SHUFFLED)):
            row[f"mcq{name}"] = self._mcq(source.scorer, readings[kind], mcq_limit) if mcq_limit else None
        for name, kind in (("", RIGHT), ("_shuffled", SHUFFLED)):
            said = self._mentions(source.scorer, readings[kind], mention_limit) if mention_limit else None
            row[f"mention_rate{name}"] = said
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}

    def irrelevant_mentions(self, source: Source, num_preferences: int, limit: int) -> list[bool]:
        """
        Whether each greedy answer names one of `num_preferences` stored preferences, all of other topics.

        Words happen to coincide: compare with the same share for `none`.
        """
        cases = [plan.irrelevant(num_preferences) for plan in self.plans[:limit]]
        answers = self._greedy(source.scorer, source.read(cases))
        return [
            any(mentions(answer, item.preference, case.item.question) for item in case.stored)
            for answer, case in zip(answers, cases, strict=True)
        ]

    @cached_property
    def _ceilings(self) -> dict[str, dict[str, _Scores]]:
        """The one relevant preference as text, in both forms."""
        return {
            form: {
                kind: self._scores(self.scorer, self.reader.readings(form, [p.case(1, kind) for p in self.plans]))
                for kind in (RIGHT, SHUFFLED, OTHER_TOPIC)
            }
            for form in _FORMS
        }

    def _stronger_form(self, kind: str) -> str:
        def gap(form: str) -> float:
            ceiling = self._ceilings[form]
            return sum(ceiling[kind].early) - sum(ceiling[RIGHT].early)

        return max(_FORMS, key=gap)

    def _recover(self, scores: dict[str, _Scores], kind: str, form: str) -> dict[str, float]:
        count = len(scores[RIGHT].early)
        ceiling = self._ceilings[form]
        result: dict[str, float] = self._recovery.compute(
            right=scores[RIGHT].early,
            shuffled=scores[kind].early,
            text_right=ceiling[RIGHT].early[:count],
            text_shuffled=ceiling[kind].early[:count],
            seed=self.seed,
        )
        return result

    def _late_gap(self, scores: dict[str, _Scores]) -> dict[str, float | None]:
        pairs = [
            (right, shuffled)
            for right, shuffled in zip(scores[RIGHT].late, scores[SHUFFLED].late, strict=True)
            if right is not None and shuffled is not None
        ]
        if not pairs:
            return {"nll_late": None, "late_gap": None, "late_gap_low": None, "late_gap_high": None}
        right, shuffled = zip(*pairs, strict=True)
        gap = self._gap.compute(right=list(right), shuffled=list(shuffled), seed=self.seed)
        return {
            "nll_late": gap["nll"],
            "late_gap": gap["gap"],
            "late_gap_low": gap["gap_low"],
            "late_gap_high": gap["gap_high"],
        }

    def _scores(self, scorer: AnswerScorer, readings: Sequence[Reading]) -> _Scores:
        tokens = scorer.nll(readings, self.answers[: len(readings)])
        early = [row[EARLY] for row in tokens]
        late = [row[LATE] for row in tokens]
        return _Scores([sum(row) / len(row) for row in early], [sum(row) / len(row) if row else None for row in late])

    def _mcq(self, scorer: AnswerScorer, readings: Sequence[Reading], limit: int) -> float:
        return choice_accuracy(scorer, readings[:limit], [plan.item for plan in self.plans[: len(readings)]][:limit])

    def _mentions(self, scorer: AnswerScorer, readings: Sequence[Reading], limit: int) -> float:
        """Share of answers that name the question's own preference, whatever was read."""
        answers = self._greedy(scorer, readings[:limit])
        named = [
            mentions(answer, plan.item.preference, plan.item.question)
            for answer, plan in zip(answers, self.plans, strict=False)
        ]
        return sum(named) / len(named)

    def _greedy(self, scorer: AnswerScorer, readings: Sequence[Reading]) -> list[str]:
        rows = greedy_answers(scorer, readings, MENTION_TOKENS)
        return [scorer.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
