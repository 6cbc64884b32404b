"""Writes a model's card into its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .compute_facts import compute_facts
from .facts import CardFacts
from .render import render_card
from .update import read_card, update_card


def write_card(kind: str, folder: str | Path, facts: CardFacts, existing: Path | None = None) -> None:
    """
    Write or update `README.md` from what is known. PEFT rewrites a card's metadata when it saves, so this comes after.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        folder (`str` or `Path`): The saved model. Its files are read for the computed facts.
        facts ([`CardFacts`]): What is known; `computed` is filled in. Versions that a training run noted stay.
        existing (`Path`, *optional*): The card to update, by default the folder's own.

    Raises:
        FileNotFoundError: if the folder has no such model.
        ValueError: if the facts are of other weights, or the existing card can't be read.
    """
    folder = Path(folder)
    before, computed = facts.computed, compute_facts(kind, folder)
    if before.weights_sha256 not in (None, computed.weights_sha256):
        raise ValueError(
            f"The facts must be of the weights in '{folder.name}', but were noted for others (SHA-256 "
            f"{str(before.weights_sha256)[:12]}…, these have {str(computed.weights_sha256)[:12]}…). "
            "Delete `card_facts.json`, or write it again by training."
        )
    facts.computed = replace(computed, versions=before.versions or computed.versions)
    card = update_card(render_card(kind, facts), read_card(existing or folder / "README.md"))
    card.save(folder / "README.md")
