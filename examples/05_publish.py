"""
Publish an adapter and its classifier: two private repositories on the Hub that name each other, each with a card.

    python examples/05_publish.py me/pref-lstm-mine --adapter runs/mine/adapter --results runs/evaluation/figures.json
    python examples/05_publish.py me/pref-lstm-mine --adapter runs/mine/adapter --push

It prints the files that would be sent, and the adapter's card, whose lines were run. Only with `--push` anything is
sent; then it loads the pair from the Hub again. Users' memories and tokens are refused. `--tiny` has its own Hub.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", nargs="?", metavar="OWNER/NAME", help="the adapter's repository")
    parser.add_argument("--adapter", type=Path, help="folder of the adapter (default: the shipped one)")
    parser.add_argument("--classifier", type=Path, help="folder of the classifier (default: the shipped one)")
    parser.add_argument("--results", type=Path, help="what evaluate-memory --json wrote, for the card")
    parser.add_argument("--push", action="store_true", help="send it")
    parser.add_argument("--tiny", action="store_true", help="random weights and a Hub of their own, on this machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.tiny:
            from tiny_hub_here import start_hub

            options.repo, folder = start_hub(Path(scratch))
            options.adapter, options.classifier, options.push = folder / "adapter", folder / "classifier", True
        elif options.repo is None:
            parser.error("OWNER/NAME is needed")
        publish(options)


def publish(options: argparse.Namespace) -> None:
    # Imported here: the address of the Hub is read when Hugging Face is imported.
    from pref_lstm import HubModel, PrefLSTMForCausalLM, push_to_hub
    from pref_lstm.hub_pair import stage_pair

    # 1. The two models, and what was measured: the card tells it with intervals, seed and number of questions.
    results = json.loads(options.results.read_text()) if options.results else None
    adapter = HubModel("adapter", options.repo, options.adapter, results)
    classifier = HubModel("classifier", f"{options.repo}-classifier", options.classifier)

    # 2. What would be sent. Facts that are not known are left out of a card, never guessed.
    with stage_pair(adapter, classifier, license="apache-2.0") as stages:
        for stage in stages:
            print(stage.model.repo_id, stage.files)
        print((stages[0].folder / "README.md").read_text(encoding="utf-8"))

    # 3. One commit each. After a failed upload, the same call goes on.
    if options.push:
        commit, _ = push_to_hub(adapter, classifier, license="apache-2.0")
        model = PrefLSTMForCausalLM.from_pretrained(options.repo, revision=commit)
        print(
            f"loaded {options.repo} at {commit[:8]}, with the detector of {model.memory_config.classifier_name_or_path}"
        )


if __name__ == "__main__":
    main()
