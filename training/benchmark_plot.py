"""Time to first token drawn over the number of stored preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Okabe and Ito's colours: told apart by colour-blind readers too.
_METHODS = (
    ("first_token_ratio", "memory", "#D55E00"),
    ("retrieval_first_token_ratio", "retrieval, nearest one as text", "#0072B2"),
    ("text_first_token_ratio", "all as text", "#000000"),
)


def plot_costs(figures: dict[str, Any], path: Path) -> None:
    """
    Draw the times to first token, with quartiles.

    Args:
        figures (`dict`): As [`run_benchmark`] makes it.
        path (`Path`): PNG file to write.
    """
    figure, axes = plt.subplots(figsize=(7, 4.6))
    for name, label, colour in _METHODS:
        counts = [int(n) for n in figures[name]]
        values, bars = list(figures[name].values()), [figures["quartiles"][name][n] for n in figures[name]]
        errors = [[v - low for v, (low, _) in zip(values, bars, strict=True)],
                  [high - v for v, (_, high) in zip(values, bars, strict=True)]]  # fmt: skip
        axes.errorbar(counts, values, yerr=errors, label=label, color=colour, marker="o", markersize=4, capsize=2)
    for n, left_out in figures["text_left_out"].items():
        if left_out:
            place = (int(n), figures["text_first_token_ratio"][n])
            note = f"{left_out:,} do not fit\ninto the LM's context"
            axes.annotate(note, place, (-8, -4), textcoords="offset points", ha="right", va="top", fontsize="small")
    axes.axhline(1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="preferences stored", ylabel="time to first token (without memory = 1)")
    axes.set_xticks([int(n) for n in figures["first_token_ratio"]])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.suptitle(f"{figures['lm']}, {figures['prompt_tokens']}-token prompt\n{figures['machine']}", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
