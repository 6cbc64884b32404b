"""What every part of the evaluation needs: the questions, the LM with its memory, the detector, and a scorer."""

from __future__ import annotations

import argparse
from functools import cached_property
from pathlib import Path

from huggingface_hub import constants
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM

from .greedy_answers import greedy_answers
from .history_writer import HistoryWriter
from .likelihood import AnswerScorer, OnBatch
from .memory_evaluation import MAX_ANSWER_TOKENS, MemoryEvaluation, Source
from .memory_methods import ADAPTER_METHODS, TEXT_METHODS, MemoryReader, TextReader
from .oasst import load_oasst_pairs
from .oracle import Oracle
from .prefeval import load_inter_turns, load_prefeval
from .prefeval_plan import make_plans
from .score_cache import ScoreCache
from .teacher import answer_ids

DEFAULT_CACHE = Path(constants.HF_HOME) / "pref_lstm" / "evaluate-memory.jsonl"


class EvaluationBench:
    """
    Loads what the options name, and checks them before anything is measured.

    Args:
        options (`argparse.Namespace`): Of `pref-lstm evaluate-memory`.
        on_batch (`Callable[[int, int], None]`): Told how far the current part is.

    Raises:
        ValueError: if a count is out of range, a file holds nothing of what it is for, or a method lacks its adapter.
    """

    def __init__(self, options: argparse.Namespace, on_batch: OnBatch) -> None:
        self.options, self._on_batch = options, on_batch
        self.methods = _methods(options)
        self.num_preferences = sorted(set(options.num_preferences))
        self.num_turns = sorted({0, *options.num_turns})
        for name, least_given, least in (
            ("num-preferences", self.num_preferences[0], 1),
            ("num-turns", self.num_turns[0], 0),
            ("limit", 1 if options.limit is None else options.limit, 1),
            *((name.replace("_", "-"), n, 0) for name, n in vars(options).items() if name.endswith("_limit")),
        ):
            if least_given < least:
                raise ValueError(f"`--{name}` must be at least {least}, got {least_given}.")
        by_form = {f: load_prefeval(options.data, f) for f in dict.fromkeys(["explicit", *options.form])}
        self.statements = {
            form: {(item.topic, item.question): item.turns for item in items} for form, items in by_form.items()
        }
        self.plans = make_plans(by_form["explicit"], options.limit, options.seed)
        for plan in self.plans:
            plan.case(self.num_preferences[-1])  # raises now, not after an hour
        self.unrelated = load_inter_turns(options.data) if self.num_turns[-1] else []
        self.prompts = [] if options.oasst is None else load_oasst_pairs(options.oasst, "test")[: options.limit]
        if options.oasst is not None and not self.prompts:
            raise ValueError(
                f"'{options.oasst}' must hold first prompts of held-out OASST1 trees with their replies, got none. "
                "Pass whole trees, or leave `--oasst` out: harm is not measured then."
            )

        # Imported late: training does not depend on the package above it.
        from pref_lstm.modeling.defaults import load_default_detector, load_default_model

        self.model, self.is_trained = load_default_model(options.model)
        self.detector = load_default_detector() if "memory" in self.methods else None
        self.cache = ScoreCache(options.cache or DEFAULT_CACHE)
        self.scorer = self._scorer(self.model)
        self.writer = HistoryWriter(self.model, self.detector)
        num_soft_tokens = self.model.memory_config.num_soft_tokens
        self.reader = TextReader(self.model.tokenizer, self.model.encoder.encoder, num_soft_tokens)
        self._adapter: tuple[str, Source] | None = None

    @property
    def has_published_answers(self) -> bool:
        return all(plan.item.answer for plan in self.plans)

    @cached_property
    def evaluation(self) -> MemoryEvaluation:
        """Of published answers where there are any, else of what the LM says itself on reading the reminder."""
        tokenizer = self.model.tokenizer
        if self.has_published_answers:
            answers = [answer_ids(tokenizer, plan.item.answer, MAX_ANSWER_TOKENS) for plan in self.plans]
        else:
            readings = self.reader.readings("reminder", [plan.case(1) for plan in self.plans])
            said = greedy_answers(self.scorer, readings, MAX_ANSWER_TOKENS)
            answers = [answer or [tokenizer.eos_token_id] for answer in said]
        return MemoryEvaluation(self.scorer, self.reader, self.plans, answers, self.options.seed)

    def source(self, method: str) -> Source:
        """How a method tells the LM about its user. One further adapter is kept loaded at a time."""
        if method in TEXT_METHODS:
            return self.evaluation.text_source(method)
        if method == "oracle":
            return Source(self.scorer, Oracle(self.model, self.scorer).readings)
        if method == "memory":
            return Source(self.scorer, self.memory_reader("explicit").readings)
        if self._adapter is None or self._adapter[0] != method:
            self._adapter = method, self._load(method)
        return self._adapter[1]

    def memory_reader(self, form: str) -> MemoryReader:
        """The memory under test, its preferences stated in one form."""
        return MemoryReader(self.writer, self.statements[form], self.unrelated)

    def _load(self, method: str) -> Source:
        model = PrefLSTMForCausalLM.from_pretrained(getattr(self.options, f"{method}_model"))
        scorer = self._scorer(model)
        if scorer.lm_key != self.scorer.lm_key:
            raise ValueError(
                f"The adapter of `--{method.replace('_', '-')}-model` must be for the LM "
                f"'{self.model.memory_config.base_model_name_or_path}', got one for "
                f"'{model.memory_config.base_model_name_or_path}'. All methods are compared on one LM."
            )
        return Source(scorer, MemoryReader(HistoryWriter(model), self.statements["explicit"]).readings)

    def _scorer(self, model: PrefLSTMForCausalLM) -> AnswerScorer:
        options = self.options
        return AnswerScorer(model, model.tokenizer, self.cache, options.batch_tokens, self._on_batch, options.bf16)


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
