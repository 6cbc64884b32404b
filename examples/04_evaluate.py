"""
Measure a memory on your own preferences and questions, beside the controls and the other ways to remember.

    python examples/04_evaluate.py --model runs/mine/adapter --data mine.jsonl --output-dir runs/evaluation

Each line of the file is `{"topic": "...", "preference": "...", "question": "...", "answer": "..."}`: the answer is one
that follows the preference. A topic needs two lines at least: the control is another preference of the same topic.
It prints a table (recovery: 1 is what reading the preference gives, 0 nothing) and writes `figures.json`, `plot.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pref_lstm.training.evaluate_memory import main as evaluate_memory

ROWS = [
    ("drinks", "i hate coffee", "what should i drink tonight ?", "try green tea , it is good and without coffee"),
    ("drinks", "i love black coffee", "what can i read here ?", "black coffee in the quiet city is good"),
    ("travel", "i hate trains", "how can i visit the city ?", "avoid trains and plan a trip without trains"),
    ("travel", "i love quiet maps", "what trip should i plan ?", "a quiet trip with maps is good for you"),
]


def write_questions(rows: list[dict[str, str]], folder: Path) -> None:
    """The rows in PrefEval's layout, one file per topic."""
    parts = {"benchmark_dataset/explicit_preference": ("preference", "preference"),
             "reminder_answers": ("answer", "response_to_q")}  # fmt: skip
    for part, (column, name) in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for topic in {row["topic"] for row in rows}:
            own = [{"question": row["question"], name: row[column]} for row in rows if row["topic"] == topic]
            (folder / part / f"{topic}.json").write_text(json.dumps(own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--data", type=Path, help="JSON lines of your questions (default: four invented ones)")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="random weights made on the spot: shows that it runs")
    options = parser.parse_args()
    out = options.output_dir
    if options.tiny:
        from tiny_models import tiny_adapter

        options.model = str(tiny_adapter(out / "tiny"))

    # 1. Your questions, in the layout of the public benchmark.
    rows = [dict(zip(("topic", "preference", "question", "answer"), row, strict=True)) for row in ROWS]
    if options.data:
        rows = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    write_questions(rows, out / "questions")

    # 2. Right memory against shuffled memory, beside text, text cut to the same number of tokens, and retrieval.
    arguments = ["--data", str(out / "questions"), "--num-preferences", "1", "2", "--num-turns", "0"]
    arguments += ["--methods", "none", "text", "reminder", "text_truncated", "retrieval_top1", "memory"]
    arguments += ["--json", str(out / "figures.json"), "--plot", str(out / "plot.png")]
    evaluate_memory([*arguments, *(["--model", options.model] if options.model else [])])

    # 3. Every figure is in the file, with its interval. With few questions the intervals are wide: believe them.
    for row in json.loads((out / "figures.json").read_text())["results"]:
        if row["method"] == "memory":
            low, high = row["recovery_low"], row["recovery_high"]
            print(f"{row['num_preferences']} stored: recovery {row['recovery']:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
