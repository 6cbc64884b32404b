"""The whole evaluation of one memory: loads what the options name, measures part by part, shows how far it is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.resolve import load_language_model
from pref_lstm.modeling.turn import Turn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .greedy_answers import greedy_answers
from .harm import harm
from .likelihood import AnswerScorer, Reading
from .memory_evaluation import MAX_ANSWER_TOKENS, MemoryEvaluation, Source
from .memory_methods import ADAPTER_METHODS, TEXT_METHODS, MemoryReader, TextReader
from .memory_pairs import contradiction, load_pairs, polarity
from .memory_writer import MemoryWriter
from .oasst import load_oasst_pairs
from .oracle import Oracle
from .prefeval import load_inter_turns, load_prefeval
from .prefeval_judge import judge_answers
from .prefeval_plan import RIGHT, SHUFFLED, make_plans
from .score_cache import ScoreCache
from .teacher import answer_ids
from .text_forms import prefix_prompt, question_prompt, reminder_prompt

_LONG_METHODS = ("text_all", "retrieval_top5")
_ASKED_METHODS = ("none", "text", "reminder", *ADAPTER_METHODS, "memory")
_NUM_IRRELEVANT = 10
_JUDGED_TOKENS = 128
DEFAULT_CACHE = Path(constants.HF_HOME) / "pref_lstm" / "evaluate-memory.jsonl"


class MemoryRun:
    """
    One run of `pref-lstm evaluate-memory`.

    Args:
        options (`argparse.Namespace`): Of the command.

    Raises:
        ValueError: if a count is out of range, or a method lacks its adapter.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.methods = _methods(options)
        self.num_preferences = sorted(set(options.num_preferences))
        self.num_turns = sorted({0, *options.num_turns})
        for name, values, least in (
            ("num-preferences", self.num_preferences, 1),
            ("num-turns", options.num_turns, 0),
            ("limit", [1 if options.limit is None else options.limit], 1),
        ):
            if min(values) < least:
                raise ValueError(f"`--{name}` must be at least {least}, got {min(values)}.")
        items = load_prefeval(options.data)
        self.plans = make_plans(items, options.limit, options.seed)
        self.statements = {
            form: {(item.topic, item.question): item.turns for item in load_prefeval(options.data, form)}
            for form in dict.fromkeys(["explicit", *options.form])
        }
        self.unrelated = load_inter_turns(options.data) if self.num_turns[-1] else []

        # Imported late: training does not depend on the package above it.
        from pref_lstm.defaults import load_default_detector, load_default_model

        self.model, self.is_trained = load_default_model(options.model)
        self.detector = load_default_detector()
        self.cache = ScoreCache(options.cache or DEFAULT_CACHE)
        self.scorer = AnswerScorer(self.model, self.model.tokenizer, self.cache, options.batch_tokens, self._show)
        self.writer = MemoryWriter(self.model, self.detector)
        self.reader = TextReader(
            self.model.tokenizer, self.model.encoder.encoder, self.model.memory_config.num_soft_tokens
        )
        self._progress: Progress | None = None

    def report(self) -> dict[str, Any]:
        """Every figure, under the names of architecture.md."""
        config = self.model.memory_config
        parts: list[tuple[str, Callable[[], None]]] = []
        self.results: dict[str, Any] = {
            "lm": config.base_model_name_or_path,
            "num_soft_tokens": config.num_soft_tokens,
            "n": len(self.plans),
            "harm_kl_per_token": None,
            "results": [],
            "polarity": None,
            "contradiction": None,
            "trained": self.is_trained,
            "seed": self.options.seed,
            "limits": {name: value for name, value in vars(self.options).items() if name.endswith("_limit")},
        }
        parts.append(("answers", self._set_evaluation))
        for method in self.methods:
            parts += self._method_parts(method)
        if "memory" in self.methods:
            parts += self._memory_parts()
        if self.options.judge:
            parts.append(("judge", self._judge))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), transient=True) as self._progress:
            whole = self._progress.add_task("parts", total=len(parts))
            self._part = self._progress.add_task("")
            for name, work in parts:
                self._progress.reset(self._part, description=name, total=None)
                work()
                self._progress.advance(whole)
        return self.results

    def _show(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress.update(self._part, completed=done, total=total)

    def _set_evaluation(self) -> None:
        """Published answers where there are any, else what the LM says itself on reading the reminder."""
        tokenizer = self.model.tokenizer
        published = all(plan.item.answer for plan in self.plans)
        if published:
            answers = [answer_ids(tokenizer, plan.item.answer, MAX_ANSWER_TOKENS) for plan in self.plans]
        else:
            readings = self.reader.readings("reminder", [plan.case(1) for plan in self.plans])
            answers = [row or [tokenizer.eos_token_id] for row in greedy_answers(self.scorer, readings, 96)]
        self.results["answers"] = "published" if published else "the LM's own, on reading the reminder"
        self.evaluation = MemoryEvaluation(self.scorer, self.reader, self.plans, answers, self.options.seed)

    def _method_parts(self, method: str) -> list[tuple[str, Callable[[], None]]]:
        if method == "oracle":
            return [("oracle", self._oracle)]

        def measure(num_preferences: int) -> None:
            asked = method in _ASKED_METHODS and num_preferences == self.num_preferences[0]
            row = self.evaluation.row(
                method,
                num_preferences,
                self._source(method),
                limit=self.options.long_limit if method in _LONG_METHODS and num_preferences > 1 else None,
                mcq_limit=self.options.mcq_limit if asked else 0,
                mention_limit=self.options.mention_limit if asked else 0,
            )
            self.results["results"].append(row)

        return [(f"{method}, {n} stored", lambda n=n: measure(n)) for n in self.num_preferences]  # type: ignore[misc]

    def _source(self, method: str) -> Source:
        if method in TEXT_METHODS:
            return self.evaluation.text_source(method)
        if method == "memory":
            return Source(self.scorer, MemoryReader(self.writer, self.statements["explicit"]).readings)
        model = PrefLSTMForCausalLM.from_pretrained(getattr(self.options, f"{method}_model"))
        scorer = AnswerScorer(model, model.tokenizer, self.cache, self.options.batch_tokens, self._show)
        if scorer.lm_key != self.scorer.lm_key:
            raise ValueError(
                f"The adapter of `--{method.replace('_', '-')}-model` must be for the LM "
                f"'{self.model.memory_config.base_model_name_or_path}', got one for "
                f"'{model.memory_config.base_model_name_or_path}'. All methods are compared on one LM."
            )
        return Source(scorer, MemoryReader(MemoryWriter(model), self.statements["explicit"]).readings)

    def _oracle(self) -> None:
        source = Source(self.scorer, Oracle(self.model, self.scorer).readings)
        row = self.evaluation.row("oracle", 1, source, limit=self.options.oracle_limit, kinds=(RIGHT, SHUFFLED))
        self.results["results"].append(row)

    def _judge(self) -> None:
        """The judge is loaded for this part only: it may be much larger than the LM under test."""
        lm, tokenizer = load_language_model(self.options.judge)
        judge = AnswerScorer(lm, tokenizer, self.cache, self.options.batch_tokens, self._show)
        cases = [plan.case(self.num_preferences[0]) for plan in self.plans[: self.options.judge_limit]]
        by_method = {}
        for method in self.methods:
            if method in _ASKED_METHODS:
                source = self._source(method)
                said = greedy_answers(source.scorer, source.read(cases), _JUDGED_TOKENS)
                answers = self.model.tokenizer.batch_decode(said, skip_special_tokens=True)
                by_method[method] = judge_answers(judge, [case.item for case in cases], answers)
        self.results["generation"] = {"judge": self.options.judge, "n": len(cases), "methods": by_method}

    def _memory_parts(self) -> list[tuple[str, Callable[[], None]]]:
        first = self.num_preferences[0]
        explicit = MemoryReader(self.writer, self.statements["explicit"], self.unrelated)
        parts: list[tuple[str, Callable[[], None]]] = []

        def add(label: str, place: list[Any], n: int, reader: MemoryReader, turns: int = 0, **how: Any) -> None:
            limit = how.pop("limit", None)

            def work() -> None:
                source = Source(self.scorer, lambda cases: reader.readings(cases, turns, **how))
                place.append(self.evaluation.row("memory", n, source, num_turns=turns, limit=limit))

            parts.append((label, work))

        for turns in self.num_turns[1:]:
            add(f"memory, {turns} turns between", self.results["results"], first, explicit, turns)
        through = self.results["statements_through_detector"] = []
        for n in self.num_preferences:
            add(f"memory, {n} stored through the detector", through, n, explicit, judge_statements=True)
        forced = self.results["turns_detector_open"] = []
        for turns in self.num_turns if self.num_turns[1:] else ():
            add(f"memory, {turns} turns, detector open", forced, first, explicit, turns, judge_turns=False,
                limit=self.options.open_limit)  # fmt: skip
        self.results["forms"] = {}
        for form in self.options.form:
            if form != "explicit":
                rows = self.results["forms"][form] = {"detector_open": [], "through_detector": []}
                reader = MemoryReader(self.writer, self.statements[form])
                add(f"memory, {form}", rows["detector_open"], first, reader)
                add(f"memory, {form} through the detector", rows["through_detector"], first, reader,
                    judge_statements=True)  # fmt: skip
        parts.append(("detector", self._detector_facts))
        parts.append(("polarity and contradiction", self._pairs))
        if self.options.mention_limit:
            parts.append(("irrelevant memory", self._irrelevant))
        if self.options.oasst is not None:
            parts.append(("harm", self._harm))
        return parts

    def _detector_facts(self) -> None:
        stated = [turn for turns in self.statements["explicit"].values() for turn in turns]
        self.results["detector"] = {
            "name": type(self.detector).__name__,
            "statements_let_in": len(self.writer.let_in(stated)) / len(stated),
            "turns_let_in": len(self.writer.let_in(self.unrelated)) / len(self.unrelated) if self.unrelated else None,
        }

    def _pairs(self) -> None:
        pairs = load_pairs(Path(str(files("pref_lstm.training") / "eval_polarity.jsonl")))[: self.options.limit]
        tokenizer = self.model.tokenizer

        def memory(texts: Sequence[Sequence[str]], questions: Sequence[str]) -> list[Reading]:
            return self.writer.readings([[Turn(text) for text in row] for row in texts], questions)

        def text(form: Callable[..., list[int]]) -> Callable[..., list[Reading]]:
            def read(texts: Sequence[Sequence[str]], questions: Sequence[str]) -> list[Reading]:
                prompts = [form(tokenizer, row, q) for row, q in zip(texts, questions, strict=True)]
                bare = [len(question_prompt(tokenizer, q)) for q in questions]
                return [Reading(prompt, len(prompt) - n) for prompt, n in zip(prompts, bare, strict=True)]

            return read

        for suffix, read in (("", memory), ("_text", text(prefix_prompt)), ("_reminder", text(reminder_prompt))):
            self.results[f"polarity{suffix}"] = polarity(self.scorer, read, pairs)
            self.results[f"contradiction{suffix}"] = contradiction(self.scorer, read, pairs)

    def _irrelevant(self) -> None:
        self.results["mention_rate_irrelevant"] = {
            method: self.evaluation.irrelevant_mention_rate(
                self._source(method), _NUM_IRRELEVANT, self.options.mention_limit
            )
            for method in ("none", "memory")
        }

    def _harm(self) -> None:
        stated = list(self.statements["explicit"].values())
        pairs = load_oasst_pairs(self.options.oasst, "test")[: self.options.limit]
        found = harm(self.scorer, self.writer, pairs, stated, seed=self.options.seed)
        self.results["harm_kl_per_token"] = found["kl_per_token"]
        self.results["harm_open_share"] = found["open_share"]


def _methods(options: argparse.Namespace) -> list[str]:
    given = [method for method in ADAPTER_METHODS if getattr(options, f"{method}_model")]
    methods = list(dict.fromkeys(options.methods or [*TEXT_METHODS, *given, "memory"]))
    for method in methods:
        if method in ADAPTER_METHODS and method not in given:
            raise ValueError(
                f"The method '{method}' needs an adapter, got none. Name it with "
                f"`--{method.replace('_', '-')}-model`, or leave the method out."
            )
    return methods
