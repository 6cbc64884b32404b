"""A Space for the app: a page on the Hub where a published pair can be tried."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pref_lstm.hub_cards import SpaceFacts, write_space

from .hub_upload import Staged, check_repo_id
from .published_files import refuse_secrets


@dataclass(kw_only=True)
class StagedSpace(Staged):
    """A Space's files, and what they tell."""

    facts: SpaceFacts

    def write_card(self, existing: Path | None = None) -> None:
        """Write all of its files."""
        write_space(self.folder, self.facts, existing)

    def show(self, adapter_revision: str | None) -> None:
        """Let the page load this commit of the adapter, which names the classifier's."""
        self.facts.adapter_revision = adapter_revision
        self.write_card()


@contextmanager
def stage_space(facts: SpaceFacts) -> Iterator[StagedSpace]:
    """
    Write a Space's files to a scratch folder.

    Args:
        facts ([`SpaceFacts`]): Which Space, and which pair it shows.

    Raises:
        ValueError: if the Space's name is none, or a file would hold a token.
        ImportError: if gradio, whose version a Space has to name, is not installed.
    """
    check_repo_id("space", facts.repo_id)
    with tempfile.TemporaryDirectory() as scratch:
        space = StagedSpace(kind="space", repo_id=facts.repo_id, folder=Path(scratch), facts=facts)
        space.write_card()
        refuse_secrets(space.folder)
        yield space
