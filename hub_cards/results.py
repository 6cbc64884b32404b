"""Figures out of the reports that `evaluate-memory` and `evaluate-classifier` write."""

from __future__ import annotations

from typing import Any

from .facts import MeasuredFacts, Result

_METHODS = {
    "memory": "memory",
    "reminder": "the one relevant preference as a reminder (ceiling)",
    "retrieval_top1": "retrieval, best one as text",
    "text_truncated": "all as text, cut to as many tokens",
}
_SINGLE = {
    "polarity": ("polarity", "hand-written pairs of opposites"),
    "contradiction": ("contradiction", "hand-written pairs, the later one counts"),
    "harm_kl_per_token": ("harm, KL per token", "held-out OASST1 prompts, ten preferences stored"),
}
_CLASSIFIER = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "auprc": "AUPRC"}


def add_memory_results(measured: MeasuredFacts, report: dict[str, Any], base_model: str | None) -> None:
    """
    Take the figures of `evaluate-memory --json` in.

    Raises:
        ValueError: if the report is another kind of file, of an untrained memory, or of another LM.
    """
    _expect(report, "evaluate-memory", "lm", "results", "n")
    if report["lm"] != base_model:
        raise ValueError(
            f"The results must be of the adapter's LM '{base_model}', got those of '{report['lm']}'. "
            "Evaluate this adapter and pass what that run wrote."
        )
    if report.get("trained") is False:
        raise ValueError("The results must be of the adapter, got those of an untrained memory. Evaluate the adapter.")
    fewest = min((row["num_turns"] for row in report["results"]), default=0)
    measured.results = [
        Result(
            "recovery", row["recovery"], _METHODS[row["method"]], f"{row['num_preferences']} stored",
            row["recovery_low"], row["recovery_high"], report["n"], row["method"] == "memory",
        )
        for method in _METHODS
        for row in report["results"]
        if row["method"] == method and row["num_turns"] == fewest and row["recovery"] is not None
    ]  # fmt: skip
    measured.results += [
        Result(measure, report[name], "memory", setting, report.get(f"{name}_low"), report.get(f"{name}_high"))
        for name, (measure, setting) in _SINGLE.items()
        if report.get(name) is not None
    ]
    measured.seed, measured.hardware = report.get("seed"), report.get("hardware")


def add_classifier_results(measured: MeasuredFacts, report: dict[str, Any], threshold: float | None) -> None:
    """
    Take the figures of `evaluate-classifier --json` in.

    Raises:
        ValueError: if the report is another kind of file, or of a classifier with another threshold.
    """
    _expect(report, "evaluate-classifier", "accuracy", "threshold", "n")
    if report["threshold"] != threshold:
        raise ValueError(
            f"The results must be of the classifier's threshold {threshold}, got those of {report['threshold']}. "
            "Evaluate this classifier and pass what that run wrote."
        )
    measured.results = [
        Result(label, report[name], "classifier", n=report["n"], is_model=True)
        for name, label in _CLASSIFIER.items()
        if report.get(name) is not None
    ]
    measured.hardware = report.get("hardware")


def _expect(report: Any, command: str, *names: str) -> None:
    missing = [name for name in names if not isinstance(report, dict) or name not in report]
    if missing:
        raise ValueError(
            f"The results must be the JSON that `pref-lstm {command} --json` wrote, with {list(names)}, "
            f"but {missing} are missing. Pass that file."
        )
