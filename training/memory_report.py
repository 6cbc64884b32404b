"""The evaluation's figures as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print what [`MemoryRun.report`] found."""
    console = console or Console()
    console.print(
        f"[bold]{report['lm']}[/], {report['n']} questions, {report['num_soft_tokens']} soft tokens"
        + ("" if report["trained"] else ", memory [bold]UNTRAINED[/]")
    )
    console.print(_rows("right against shuffled memory", report["results"]))
    for title, rows in (
        ("statements through the detector", report.get("statements_through_detector")),
        ("turns between, detector forced open", report.get("turns_detector_open")),
        *((f"{form}: {how}", rows) for form, by in report.get("forms", {}).items() for how, rows in by.items()),
    ):
        if rows:
            console.print(_rows(title.replace("_", " "), rows))
    single = Table("measure", "value", title="everything else")
    for name, value in _flat(report):
        single.add_row(name, _number(value, 4))
    console.print(single)


def _rows(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "method", "stored", "turns", "tokens", "recovery", "prefix", "other topic", "late gap", "NLL", "late NLL",
        "MCQ (shuffled)", "mentions (shuffled)", title=title,
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r["method"], str(r["num_preferences"]), str(r["num_turns"]), _number(r["tokens_read"], 1),
            f"{_number(r['recovery'])} [{_number(r['recovery_low'])}, {_number(r['recovery_high'])}]",
            _number(r["recovery_prefix"]), _number(r["recovery_other_topic"]),
            f"{_number(r['late_gap'], 3)} [{_number(r['late_gap_low'], 3)}, {_number(r['late_gap_high'], 3)}]",
            _number(r["nll"], 3), _number(r["nll_late"], 3),
            f"{_number(r['mcq'])} ({_number(r['mcq_shuffled'])})",
            f"{_number(r['mention_rate'])} ({_number(r['mention_rate_shuffled'])})",
        )  # fmt: skip
    return table


def _flat(report: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Single numbers, also those one level down."""
    out: list[tuple[str, Any]] = []
    for name, value in report.items():
        if isinstance(value, dict) and not prefix:
            out += _flat(value, f"{name}: ")
        elif isinstance(value, float) or (value is None and not prefix):
            out.append((prefix + name, value))
    return out


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
