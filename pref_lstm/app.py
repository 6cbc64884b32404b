"""
`pref-lstm app`: chat with and without memory side by side, look into the memory, and forget.

    pip install 'pref-lstm[app]'
    pref-lstm app                                      # users of this visit, forgotten when its page closes
    pref-lstm app --store ~/.local/share/pref_lstm     # the users of `pref-lstm chat`, kept

It prints the page's address.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pref_lstm.modeling import load_default_model

from .app_session import App
from .user_store import UserStore


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="pref-lstm app", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or hub id of an adapter (default: the shipped one)")
    parser.add_argument("--revision", help="of the adapter's repository")
    parser.add_argument("--store", type=Path, metavar="DIR", help="keep memories in this folder")
    parser.add_argument(
        "--rebuild", action="store_true", help="write what is stored anew first: for another adapter, or after damage"
    )
    parser.add_argument("--max-new-tokens", type=int, default=80, help="length of an answer (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load everything and serve the page until it is stopped."""
    options = make_parser().parse_args(argv)
    from .app_page import serve  # gradio is an extra

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.store or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        model, _ = load_default_model(options.model, revision=options.revision)
        with UserStore(folder / "memories.sqlite", model, model.detector) as store:
            for user in store.users() if options.rebuild else ():
                store.rebuild(user)
            serve(App(model, model.detector, store, options.store is not None, options.max_new_tokens))


if __name__ == "__main__":
    main()
