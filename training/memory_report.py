"""The evaluation's figures as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print what [`MemoryRun.report`] found, in tables of at most 80 columns."""
    console = console or Console()
    console.print(
        f"[bold]{report['lm']}[/], {report['n']} questions, answers: {report['answers']}, "
        f"{report['num_soft_tokens']} soft tokens" + ("" if report["trained"] else ", memory [bold]UNTRAINED[/]")
    )
    forms = {f"{form}, {how}": rows for form, by in report.get("forms", {}).items() for how, rows in by.items()}
    tables = {
        "right against shuffled memory": report["results"],
        "statements through the detector": report.get("statements_through_detector", []),
        "turns between, detector forced open": report.get("turns_detector_open", []),
        **{title.replace("_", " "): rows for title, rows in forms.items()},
    }
    for title, rows in tables.items():
        if rows:
            console.print(_recoveries(title, rows))
            console.print(_likelihoods(title, rows))
    if asked := [row for row in report["results"] if row["mcq"] is not None or row["mention_rate"] is not None]:
        console.print(_answers(asked))
    single, flat = _table("everything else", "measure", "value", "95 %"), dict(_flat(report))
    for name, value in flat.items():
        if not name.endswith(("_low", "_high")):
            ends = [_number(flat[end], 4) for end in (f"{name}_low", f"{name}_high") if end in flat]
            single.add_row(name, _number(value, 4), " ".join(ends))
    console.print(single)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def _recoveries(title: str, rows: list[dict[str, Any]]) -> Table:
    table = _table(title, "method", "stored", "turns", "tokens", "recovery", "95 %", "prefix", "other")
    for r in rows:
        table.add_row(
            *_name(r), _number(r["tokens_read"], 1), _number(r["recovery"]),
            f"{_number(r['recovery_low'])} {_number(r['recovery_high'])}", _number(r["recovery_prefix"]),
            _number(r["recovery_other_topic"]),
        )  # fmt: skip
    return table


def _likelihoods(title: str, rows: list[dict[str, Any]]) -> Table:
    table = _table(f"{title}: NLL", "method", "stored", "turns", "1-32", "shuffled", "33-96", "late gap", "95 %")
    for r in rows:
        table.add_row(
            *_name(r), _number(r["nll"], 3), _number(r["nll_shuffled"], 3), _number(r["nll_late"], 3),
            _number(r["late_gap"], 3), f"{_number(r['late_gap_low'], 3)} {_number(r['late_gap_high'], 3)}",
        )  # fmt: skip
    return table


def _answers(rows: list[dict[str, Any]]) -> Table:
    table = _table("answers", "method", "stored", "turns", "MCQ", "shuffled", "mentions", "shuffled")
    for r in rows:
        values = (r[name] for name in ("mcq", "mcq_shuffled", "mention_rate", "mention_rate_shuffled"))
        table.add_row(*_name(r), *map(_number, values))
    return table


def _name(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["method"], str(row["num_preferences"]), str(row["num_turns"])


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
