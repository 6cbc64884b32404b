"""Recovery drawn over the number of stored preferences, over turns between, and over tokens read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Okabe and Ito's colours: told apart by colour-blind readers too.
_COLOURS = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#CC79A7",
    "#0072B2",
    "#999999",
    "#F0E442",
    "#8B5A2B",
    "#5D3FD3",
)
_MEMORY = "#D55E00"


def plot_recovery(report: dict[str, Any], path: Path) -> None:
    """
    Draw the method table.

    Args:
        report (`dict`): As [`MemoryRun.report`] makes it.
        path (`Path`): PNG file to write.
    """
    rows = [row for row in report["results"] if row["recovery"] is not None]
    counts = sorted({row["num_preferences"] for row in rows}) or [1]
    least, middle = counts[0], counts[len(counts) // 2]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    others = iter(_COLOURS * 2)
    colours = {method: _MEMORY if method == "memory" else next(others) for method in methods}
    figure, (stored, turns, tokens) = plt.subplots(1, 3, figsize=(15, 5.2), sharey=True)
    for method in methods:
        mine = [row for row in rows if row["method"] == method and row["num_turns"] == 0]
        style = {"color": colours[method], "marker": "o", "markersize": 4}
        style |= {"linewidth": 2.6, "zorder": 3} if method == "memory" else {"linewidth": 1.2}
        _line(stored, mine, "num_preferences", label=method, **style)
        _line(tokens, [row for row in mine if row["num_preferences"] == middle], "tokens_read", **style)
        between = [row for row in rows if row["method"] == method and row["num_preferences"] == least]
        if len(between) > 1:
            _line(turns, between, "num_turns", label=f"{method}, through the detector", **style)
    forced = [row for row in report.get("turns_detector_open", ()) if row["recovery"] is not None]
    if forced:
        _line(
            turns, forced, "num_turns", label="memory, detector forced open", color=_MEMORY, linestyle="--", marker="o"
        )
    stored.set(xscale="log", xlabel="preferences stored", ylabel="recovery (1 = reading the preference)")
    turns.set(xscale="symlog", xlabel=f"unrelated turns between ({least} stored)")
    tokens.set(xscale="symlog", xlabel=f"tokens read beyond the question ({middle} stored)")
    for axes in (stored, turns, tokens):
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.axhline(1, color="#cccccc", linewidth=0.8, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axes.minorticks_off()
    for axes in (turns, tokens):  # a symmetric scale has room for negative counts
        axes.set_xlim(-0.4, 1.4 * max(axes.get_xlim()[1], 1))
    stored.set_xticks(counts)
    turns.set_xticks(sorted({row["num_turns"] for row in rows}))
    handles, labels = stored.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), 8), frameon=False)
    if turns.get_legend_handles_labels()[0]:
        turns.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{report['lm']}: {report['n']} questions, {report['num_soft_tokens']} soft tokens; bars are 95 % intervals"
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _line(axes: Any, rows: list[dict[str, Any]], by: str, **style: Any) -> None:
    rows = sorted(rows, key=lambda row: row[by])
    values = [row["recovery"] for row in rows]
    low = [max(0.0, row["recovery"] - (row["recovery_low"] or row["recovery"])) for row in rows]
    high = [max(0.0, (row["recovery_high"] or row["recovery"]) - row["recovery"]) for row in rows]
    axes.errorbar([row[by] for row in rows], values, yerr=[low, high], capsize=2, elinewidth=0.8, **style)
