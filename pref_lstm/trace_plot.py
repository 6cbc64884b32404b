"""A picture of gates and slots over a conversation."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from .trace import TraceStep

MAX_SLOTS = 12
_LABEL_WIDTH = 40
# Okabe and Ito's colours: told apart by colour-blind readers too.
_DETECTOR, _RELEVANCE, _SLOT = "#0072B2", "#D55E00", "#009E73"


def plot_trace(steps: Sequence[TraceStep]) -> Figure:
    """
    Draw a conversation: above, how far the detector and the relevance gate are open for each message; below, one row
    for each write that a slot holds, as strong as the slot, a triangle where it was written, and dots of the size of
    its weight where the memory acted.

    Args:
        steps (`Sequence[TraceStep]`): The messages in order.

    Returns:
        `matplotlib.figure.Figure`, of no window: show it, or save it with `savefig`.
    """
    # A slot that was freed and filled again is two rows: what a row shows is one thing that was said.
    spans: dict[tuple[int, int], list[int]] = {}
    words: dict[tuple[int, int], str] = {}
    for i, step in enumerate(steps):
        for slot in step.slots:
            spans.setdefault((slot.time, slot.index), []).append(i)
            words[slot.time, slot.index] = slot.words
    rows = sorted(spans)[-MAX_SLOTS:]
    figure = Figure(figsize=(9, 2.6 + 0.32 * max(len(rows), 1)), layout="constrained")
    gates, slots = figure.subplots(2, 1, sharex=True, height_ratios=[1.4, 0.4 + 0.32 * max(len(rows), 1)])

    for shift, label, colour, values in (
        (-0.2, "detector: is it a preference?", _DETECTOR, [step.detection.probability for step in steps]),
        (0.2, "relevance: does the memory act?", _RELEVANCE, [step.relevance for step in steps]),
    ):
        places = [i + 1 + shift for i in range(len(steps))]
        gates.bar(places, [max(value, 0.01) for value in values], width=0.36, color=colour, label=label)
    gates.set(ylim=(0, 1.05), ylabel="gate open")

    for y, row in enumerate(rows):
        for i in spans[row]:
            [slot] = [slot for slot in steps[i].slots if slot.index == row[1]]
            slots.barh(y, 1, left=i + 0.5, height=0.7, color=_SLOT, alpha=0.15 + 0.35 * slot.strength, linewidth=0)
            if steps[i].written == slot.index:
                slots.plot(i + 1, y, marker="v", color=_SLOT, markersize=9, markeredgecolor="white")
            elif steps[i].relevance > 0.5 and steps[i].weights[slot.index] >= 0.01:
                slots.plot(i + 1, y, marker="o", color=_RELEVANCE, markersize=11 * steps[i].weights[slot.index] ** 0.5)
    labels = [f"{textwrap.shorten(words[row], _LABEL_WIDTH, placeholder=' …')}  [{row[1]}]" for row in rows]
    slots.set_yticks(range(len(rows)), labels, fontsize="small")
    slots.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0.5, max(len(steps), 6) + 0.5), xlabel="message of the conversation")
    slots.xaxis.set_major_locator(MultipleLocator(max(1, len(steps) // 12)))
    if left_out := len(spans) - len(rows):
        slots.set_title(f"{left_out} older ones are not drawn", fontsize="small", loc="left")
    marks = [
        Line2D([], [], linestyle="", marker="v", color=_SLOT, markersize=8, label="written"),
        Line2D([], [], linestyle="", marker="o", color=_RELEVANCE, markersize=8, label="relevant, by weight"),
    ]
    handles = [*gates.get_legend_handles_labels()[0], *marks]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize="small",
                  columnspacing=1.0, handletextpad=0.4)  # fmt: skip
    for axes in (gates, slots):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
