"""The whole evaluation of one memory, part by part, with a bar that says how far it is."""

from __future__ import annotations

import argparse
from typing import Any

from pref_lstm.hub_cards import describe_hardware
from pref_lstm.modeling.resolve import load_language_model
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .evaluation_bench import EvaluationBench
from .greedy_answers import greedy_answers
from .likelihood import AnswerScorer
from .memory_controls import MemoryControls, Part
from .memory_methods import ADAPTER_METHODS
from .prefeval_judge import judge_answers
from .prefeval_plan import RIGHT, SHUFFLED

_LONG_METHODS = ("text_all", "retrieval_top5")
# Methods whose answers are read too: multiple choice, mentions, and the judge's verdicts.
_ASKED_METHODS = ("none", "text", "reminder", *ADAPTER_METHODS, "memory")
_JUDGED_TOKENS = 128


class MemoryRun:
    """
    One run of `pref-lstm evaluate-memory`.

    Args:
        options (`argparse.Namespace`): Of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), transient=True)
        self._whole, self._part = self._progress.add_task("parts"), self._progress.add_task("loading", total=None)
        self.options, self.bench = options, EvaluationBench(options, self._show)

    def report(self) -> dict[str, Any]:
        """Every figure, under the names of architecture.md."""
        bench, config = self.bench, self.bench.model.memory_config
        self.results: dict[str, Any] = {
            "lm": config.base_model_name_or_path,
            "num_soft_tokens": config.num_soft_tokens,
            "n": len(bench.plans),
            "harm_kl_per_token": None,
            "results": [],
            "polarity": None,
            "contradiction": None,
            "trained": bench.is_trained,
            "answers": "published" if bench.has_published_answers else "the LM's own, on reading the reminder",
            "seed": self.options.seed,
            "bf16": self.options.bf16,
            "hardware": describe_hardware(bench.model.device.type),
            "limits": {name: value for name, value in vars(self.options).items() if name.endswith("_limit")},
        }
        parts: list[Part] = [part for method in bench.methods for part in self._method_parts(method)]
        if "memory" in bench.methods:
            parts += MemoryControls(bench, self.results).parts()
        if self.options.judge and self.options.judge_limit:
            parts.append(("judge", self._judge))
        self._progress.update(self._whole, total=len(parts))
        with self._progress:
            for name, work in parts:
                self._progress.reset(self._part, description=name, total=None)
                work()
                self._progress.advance(self._whole)
        return self.results

    def _show(self, done: int, total: int) -> None:
        self._progress.update(self._part, completed=done, total=total)

    def _method_parts(self, method: str) -> list[Part]:
        """The method's rows of the table, one for each number of stored preferences."""
        first = self.bench.num_preferences[0]
        if method == "oracle":
            # Each is fitted to one preference, for hundreds of passes: no third control, and no further rows.
            how = {"limit": self.options.oracle_limit, "kinds": (RIGHT, SHUFFLED)}
            return [self._row_part(method, 1, **how)] if self.options.oracle_limit else []
        parts = []
        for count in self.bench.num_preferences:
            is_long = method in _LONG_METHODS and count > 1
            if is_long and not self.options.long_limit:
                continue
            asked = method in _ASKED_METHODS and count == first
            parts.append(
                self._row_part(
                    method,
                    count,
                    limit=self.options.long_limit if is_long else None,
                    mcq_limit=self.options.mcq_limit if asked else 0,
                    mention_limit=self.options.mention_limit if asked else 0,
                )
            )
        return parts

    def _row_part(self, method: str, count: int, **how: Any) -> Part:
        def work() -> None:
            row = self.bench.evaluation.row(method, count, self.bench.source(method), **how)
            self.results["results"].append(row)

        return f"{method}, {count} stored", work

    def _judge(self) -> None:
        """The judge is loaded for this part only: it may be much larger than the LM under test."""
        lm, tokenizer = load_language_model(self.options.judge)
        judge = AnswerScorer(lm, tokenizer, self.bench.cache, self.options.batch_tokens, self._show)
        cases = [plan.case(self.bench.num_preferences[0]) for plan in self.bench.plans[: self.options.judge_limit]]
        by_method = {}
        for method in self.bench.methods:
            if method in _ASKED_METHODS:
                source = self.bench.source(method)
                said = greedy_answers(source.scorer, source.read(cases), _JUDGED_TOKENS)
                answers = self.bench.model.tokenizer.batch_decode(said, skip_special_tokens=True)
                by_method[method] = judge_answers(judge, [case.item for case in cases], answers)
        self.results["generation"] = {"judge": self.options.judge, "n": len(cases), "methods": by_method}
