"""The benchmark's figures as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_costs(figures: dict[str, Any], console: Console | None = None) -> None:
    """Print what [`run_benchmark`] measured, in tables of at most 80 columns."""
    console = console or Console()
    console.print(f"[bold]{figures['lm']}[/], {figures['num_soft_tokens']} soft tokens; {figures['machine']}")
    ratios = Table(title="time to first token, times the same LM's without memory", box=SIMPLE_HEAD)
    for name in ("stored", "memory", "all as text", "tokens of text", "left out", "retrieval"):
        ratios.add_column(name, justify="right")
    for n in figures["first_token_ratio"]:
        ratios.add_row(
            f"{int(n):,}",
            _ratio(figures, "first_token_ratio", n),
            _ratio(figures, "text_first_token_ratio", n),
            f"{figures['text_tokens'][n]:,}",
            f"{figures['text_left_out'][n]:,}",
            _ratio(figures, "retrieval_first_token_ratio", n),
        )
    console.print(ratios)
    console.print("In brackets: quartiles over rounds. Left out: preferences for which the LM's context has no room.")
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in figures["write_parts_ms"].items())
    rest = Table("everything else", "value", box=SIMPLE_HEAD)
    for name, value in (
        ("write one turn, ms", f"{figures['write_ms']:.1f} ({parts})"),
        (f"first token without memory, {figures['prompt_tokens']} tokens, ms", f"{figures['first_token_ms']:.1f}"),
        ("time to first token, most stored : fewest", _ratio(figures, "first_token_growth")),
        ("training speed, PEFT prompt tuning = 1", _ratio(figures, "training_speed_ratio")),
        ("batch of mixed users, times one by one", _ratio(figures, "mixed_batch_speedup")),
        ("state of one user, bytes", f"{figures['state_bytes']:,}"),
    ):
        rest.add_row(name, value)
    console.print(rest)


def _ratio(figures: dict[str, Any], name: str, n: str | None = None) -> str:
    value, (low, high) = (
        (figures[name], figures["quartiles"][name]) if n is None else (figures[name][n], figures["quartiles"][name][n])
    )
    return f"{value:.2f} ({low:.2f}-{high:.2f})"
