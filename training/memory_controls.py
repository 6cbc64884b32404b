"""What is asked of the memory alone: turns between, the detector, implicit statements, opposites, and harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pref_lstm.modeling.turn import Turn

from .evaluation_bench import EvaluationBench
from .harm import harm
from .likelihood import Reading
from .memory_evaluation import Source
from .memory_methods import MemoryReader
from .memory_metrics import with_interval
from .memory_pairs import Read, contradiction, load_pairs, polarity
from .text_forms import prefix_prompt, question_prompt, reminder_prompt

Part = tuple[str, Callable[[], None]]
_NUM_IRRELEVANT = 10


class MemoryControls:
    """
    Parts of an evaluation; each writes its figures into `results` when it is called.

    Args:
        bench ([`EvaluationBench`]): What is measured.
        results (`dict`): Where the figures go, the rows of turns between into `results["results"]`.
    """

    def __init__(self, bench: EvaluationBench, results: dict[str, Any]) -> None:
        self.bench, self.options, self.results = bench, bench.options, results

    def parts(self) -> list[Part]:
        """Each part with its name."""
        bench, results = self.bench, self.results
        explicit, first, turns = bench.memory_reader("explicit"), bench.num_preferences[0], bench.num_turns
        through = results["statements_through_detector"] = []
        forced = results["turns_detector_open"] = []
        parts = [
            *[self._row(results["results"], first, explicit, n) for n in turns[1:]],
            *[self._row(through, n, explicit, judge_statements=True) for n in bench.num_preferences],
        ]
        if turns[1:] and self.options.open_limit:
            parts += [self._row(forced, first, explicit, n, self.options.open_limit, judge_turns=False) for n in turns]
        results["forms"] = {}
        for form in bench.statements:
            if form != "explicit":
                rows: dict[str, list[Any]] = {"detector_open": [], "through_detector": []}
                results["forms"][form] = rows
                reader = bench.memory_reader(form)
                parts.append(self._row(rows["detector_open"], first, reader))
                parts.append(self._row(rows["through_detector"], first, reader, judge_statements=True))
        parts += [("detector", self._detector), ("polarity and contradiction", self._pairs)]
        if self.options.mention_limit:
            parts.append(("irrelevant memory", self._irrelevant))
        if self.bench.prompts:
            parts.append(("harm", self._harm))
        return parts

    def _row(
        self, rows: list[Any], count: int, reader: MemoryReader, turns: int = 0, limit: int | None = None, **how: bool
    ) -> Part:
        def work() -> None:
            source = Source(self.bench.scorer, lambda cases: reader.readings(cases, turns, **how))
            rows.append(self.bench.evaluation.row("memory", count, source, num_turns=turns, limit=limit))

        return f"memory, {count} stored, {turns} turns between", work

    def _detector(self) -> None:
        """How much of what was stated, and of what was not, the detector lets in."""
        writer, unrelated = self.bench.writer, self.bench.unrelated
        stated = [turn for turns in self.bench.statements["explicit"].values() for turn in turns]
        self.results["detector"] = {
            "name": type(self.bench.detector).__name__,
            "statements_let_in": len(writer.let_in(stated)) / len(stated),
            "turns_let_in": len(writer.let_in(unrelated)) / len(unrelated) if unrelated else None,
        }

    def _pairs(self) -> None:
        pairs = load_pairs(Path(str(files("pref_lstm.training") / "eval_polarity.jsonl")))[: self.options.limit]

        def memory(texts: Sequence[Sequence[str]], questions: Sequence[str]) -> list[Reading]:
            return self.bench.writer.readings([[Turn(text) for text in row] for row in texts], questions)

        reads = {"": memory, "_text": self._text(prefix_prompt), "_reminder": self._text(reminder_prompt)}
        for suffix, read in reads.items():
            for name, measure in (("polarity", polarity), ("contradiction", contradiction)):
                shares = measure(self.bench.scorer, read, pairs)
                self.results |= with_interval(f"{name}{suffix}", shares, self.options.seed)
        # Behind a closed gate both directions read alike, and a tie is a failure of polarity.
        stated = memory([[pair["preference"]] for pair in pairs], [pair["question"] for pair in pairs])
        self.results["polarity_open_share"] = sum(r.soft_tokens is not None for r in stated) / len(stated)

    def _text(self, form: Callable[..., list[int]]) -> Read:
        """The same texts in a prompt, for comparison."""
        tokenizer = self.bench.model.tokenizer

        def read(texts: Sequence[Sequence[str]], questions: Sequence[str]) -> list[Reading]:
            prompts = [form(tokenizer, row, q) for row, q in zip(texts, questions, strict=True)]
            bare = [len(question_prompt(tokenizer, q)) for q in questions]
            return [Reading(prompt, len(prompt) - n) for prompt, n in zip(prompts, bare, strict=True)]

        return read

    def _irrelevant(self) -> None:
        rates = self.results["mention_rate_irrelevant"] = {}
        for method in ("none", "memory"):
            source, limit = self.bench.source(method), self.options.mention_limit
            named = self.bench.evaluation.irrelevant_mentions(source, _NUM_IRRELEVANT, limit)
            rates |= with_interval(method, named, self.options.seed)

    def _harm(self) -> None:
        stated = list(self.bench.statements["explicit"].values())
        found = harm(self.bench.scorer, self.bench.writer, self.bench.prompts, stated, seed=self.options.seed)
        self.results |= {f"harm_{name}": value for name, value in found.items()}
        self.results["harm_n"] = len(self.bench.prompts)
