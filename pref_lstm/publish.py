"""
`pref-lstm publish`: adapter and classifier with their cards to the Hub.

    pref-lstm publish me/pref-lstm-smollm2 --license apache-2.0 --results memory.json --dry-run

Two repositories that name each other, and with `--space` a third that shows them on a page. One commit each, private
unless `--public` is passed. The token is the one of `hf auth login` or `HF_TOKEN`. After a failed upload, run the same
command again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
from rich.console import Console
from rich.table import Table

from pref_lstm import __version__
from pref_lstm.hub_cards import SpaceFacts

from .hub_pair import HubModel, push_pair, stage_pair
from .hub_space import stage_space
from .hub_upload import Staged


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repo", metavar="OWNER/NAME", help="the adapter's repository")
    parser.add_argument("--classifier-repo", metavar="OWNER/NAME", help="default: the adapter's with -classifier")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of an adapter (default: the shipped one)")
    parser.add_argument("--classifier", type=Path, metavar="DIR", help="folder of a classifier (default: the shipped)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="what evaluate-memory --json wrote, for the card")
    parser.add_argument("--classifier-results", type=Path, metavar="FILE", help="what evaluate-classifier --json wrote")
    parser.add_argument("--space", metavar="OWNER/NAME", help="also publish a Space with `pref-lstm app` of the two")
    parser.add_argument(
        "--space-package",
        metavar="LINE",
        default=f"pref-lstm[app]=={__version__}",
        help="what pip installs there, such as 'pref-lstm[app] @ git+https://…' (default: %(default)s)",
    )
    parser.add_argument("--license", metavar="ID", help="of both models, as the Hub writes it: apache-2.0")
    parser.add_argument("--public", action="store_true", help="let everybody read the repositories")
    parser.add_argument("--dry-run", action="store_true", help="show the files and cards; nothing is sent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was shown to this file")
    return parser


def run(options: argparse.Namespace) -> int:
    """Show what would be published, or publish it."""
    console = Console()
    disable_progress_bars()
    name = options.classifier_repo or f"{options.repo}-classifier"
    adapter = HubModel("adapter", options.repo, options.model, _read(options.results))
    classifier = HubModel("classifier", name, options.classifier, _read(options.classifier_results))
    shown: dict[str, Any] = {"dry_run": options.dry_run, "private": not options.public, "repositories": []}
    with ExitStack() as stack:
        pair = stack.enter_context(stage_pair(adapter, classifier, options.license))
        space = None
        if options.space:
            license = pair[0].facts.given.license
            facts = SpaceFacts(options.space, options.repo, name, options.space_package, license)
            space = stack.enter_context(stage_space(facts))
        if not options.dry_run:
            with console.status("uploading"):
                push_pair(*pair, private=not options.public, space=space)
        for stage in (*pair, space) if space else pair:
            _show(console, stage, options.dry_run)
            shown["repositories"].append(
                {
                    "repo": stage.repo_id,
                    "kind": stage.kind,
                    "files": stage.files,
                    "left_out": stage.left_out,
                    "commit": stage.commit,
                }
            )
    if options.space and not options.public:
        console.print("A Space reads private models only with a token: store one as the secret HF_TOKEN of the Space.")
    if options.dry_run:
        console.print("Nothing was sent.")
    if options.json:
        options.json.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    return 0


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected results in '{path}', found no such file. The evaluation writes it: `--json`."
        )
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"'{path}' must be JSON, but line {error.lineno} is not: {error.msg}.") from None
    return report


def _show(console: Console, stage: Staged, is_dry_run: bool) -> None:
    table = Table("file", "bytes", title=f"{stage.kind}: {stage.repo_id}")
    for name, size in stage.files.items():
        table.add_row(name, f"{size:,}")
    console.print(table)
    if stage.left_out:
        console.print(f"left out: {', '.join(stage.left_out)}", markup=False)
    if stage.commit:
        console.print(f"commit {stage.commit}")
    if is_dry_run:
        for name in ("README.md", "app.py", "requirements.txt"):
            if name in stage.files:
                text = (stage.folder / name).read_text(encoding="utf-8")
                console.print(text, markup=False, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command."""
    return run(make_parser().parse_args(argv))
