"""A Space's files: the page, what it needs installed, and the card that the Hub builds it by."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

from .compute_facts import library_pins
from .update import read_card, update_card

_APP = """\
\"""Try {adapter_id}: each message is answered twice, with the memory and without.\"""

from pref_lstm.app import main

if __name__ == "__main__":
    main({arguments})
"""


@dataclass
class SpaceFacts:
    """
    What a Space shows.

    Args:
        repo_id (`str`): The Space.
        adapter_id, classifier_id (`str`): The pair that it shows.
        package (`str`): How pip is told to install this package there, with the extra `app`.
        license (`str`, *optional*): Of the models, as the Hub writes it.
        adapter_revision (`str`, *optional*): The adapter's commit; the latest if it is not known.
    """

    repo_id: str
    adapter_id: str
    classifier_id: str
    package: str
    license: str | None = None
    adapter_revision: str | None = None


def write_space(folder: Path, facts: SpaceFacts, existing: Path | None = None) -> None:
    """
    Write `app.py`, `requirements.txt` and `README.md`.

    Args:
        folder (`Path`): Where to.
        facts ([`SpaceFacts`]): What the Space shows.
        existing (`Path`, *optional*): A card that the Space has: what its owner wrote stays.

    Raises:
        ImportError: if gradio is not installed.
    """
    try:
        gradio = version("gradio")
    except PackageNotFoundError:
        raise ImportError(
            "A Space must name a version of gradio, and none is installed. "
            "Install the one to run it on with `pip install 'pref-lstm[app]'`."
        ) from None
    arguments = ["--model", facts.adapter_id]
    if facts.adapter_revision:
        arguments += ["--revision", facts.adapter_revision]
    page = _APP.format(adapter_id=facts.adapter_id, arguments=json.dumps(arguments))
    (folder / "app.py").write_text(page, encoding="utf-8")
    requirements = "\n".join([facts.package, *library_pins()]) + "\n"
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    # The first two numbers alone: the Space takes the latest of these.
    python = platform.python_version().rpartition(".")[0]
    card: SpaceCard = SpaceCard.from_template(
        SpaceCardData(
            title=facts.repo_id.partition("/")[2],
            emoji="🧠",
            sdk="gradio",
            sdk_version=gradio,
            python_version=python,
            app_file="app.py",
            models=[facts.adapter_id, facts.classifier_id],
            license=facts.license,
            short_description="A frozen LM with a preference memory and without",
        ),
        template_str=(files("pref_lstm.hub_cards") / "templates" / "space.md").read_text(encoding="utf-8"),
        facts=facts,
    )
    card = update_card(card, read_card(existing) if existing else None)
    card.save(folder / "README.md")
