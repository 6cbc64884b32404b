"""Adapter and classifier as two repositories that name each other, and a Space that shows them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pref_lstm.hub_cards import CardFacts, add_classifier_results, add_memory_results, run_usage, write_card
from pref_lstm.modeling.defaults import ADAPTER_FOLDER, CLASSIFIER_FOLDER
from pref_lstm.training.memory_plot import plot_recovery

from .hub_space import StagedSpace
from .hub_upload import Staged, check_repo_id, fetch_card, prepare_repository, upload
from .published_files import PICTURE, copy_published, refuse_secrets


@dataclass(frozen=True)
class HubModel:
    """
    One of the two models, and what is said of it.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        repo_id (`str`): Its repository.
        folder (`Path`, *optional*): Where it is saved; by default the one that ships with the package.
        results (`dict`, *optional*): What its evaluation command wrote with `--json`.

    Raises:
        ValueError: if the repository's name is none.
    """

    kind: str
    repo_id: str
    folder: Path | None = None
    results: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_repo_id(self.kind, self.repo_id)

    @property
    def source(self) -> Path:
        """The saved model's folder."""
        shipped = {"adapter": ADAPTER_FOLDER, "classifier": CLASSIFIER_FOLDER}[self.kind]
        return self.folder or Path(str(files("pref_lstm") / shipped))


@dataclass(kw_only=True)
class StagedModel(Staged):
    """A model's files, and the facts of its card."""

    model: HubModel
    facts: CardFacts

    def write_card(self, existing: Path | None = None) -> None:
        """Write the card, by default into the one that lies beside the model."""
        write_card(self.kind, self.folder, self.facts, existing or self.model.source / "README.md")


@contextmanager
def stage_pair(
    adapter: HubModel, classifier: HubModel, license: str | None = None
) -> Iterator[tuple[StagedModel, StagedModel]]:
    """
    Copy both models' files to a scratch folder, run the cards' lines on them and write the cards. The models' own
    folders stay as they are.

    Args:
        adapter, classifier ([`HubModel`]): The two.
        license (`str`, *optional*): Of both, as the Hub writes it (`apache-2.0`).

    Raises:
        FileNotFoundError: if a folder holds no such model.
        ValueError: if a folder holds users' memories, a file a token or a path of this computer, or facts and results
            are of another model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        stages = []
        for model, partner in ((adapter, classifier), (classifier, adapter)):
            folder = Path(scratch) / model.kind
            folder.mkdir()
            facts = CardFacts.load(model.source)
            facts.given.repo_id, facts.given.partner_id = model.repo_id, partner.repo_id
            facts.given.license = license or facts.given.license
            stage = StagedModel(kind=model.kind, repo_id=model.repo_id, folder=folder, model=model, facts=facts)
            stage.left_out = copy_published(model.kind, model.source, folder)
            stages.append(stage)
        staged_adapter, staged_classifier = stages
        # While the lines run, the classifier's folder stands in for its repository, which may not be there yet.
        _link_classifier(staged_adapter.folder, str(staged_classifier.folder), None)
        for stage in stages:
            stage.facts.measured.usage = run_usage(stage.kind, stage.folder, stage.repo_id)
        _link_classifier(staged_adapter.folder, classifier.repo_id, None)
        for stage in stages:
            _add_results(stage)
            stage.write_card()
            refuse_secrets(stage.folder)
        yield staged_adapter, staged_classifier


def push_pair(
    adapter: StagedModel, classifier: StagedModel, private: bool = True, space: StagedSpace | None = None
) -> None:
    """
    Upload a staged pair: the classifier first, because the adapter's configuration names its commit, and after them the
    Space, which names the adapter's. Each is one commit; a call after a failed one goes on where that one stopped. A
    card that a repository has is updated.

    Raises:
        PermissionError, ValueError: as [`prepare_repository`] and [`upload`].
    """
    stages: list[Staged] = [classifier, adapter, *([space] if space else [])]
    for stage in stages:
        prepare_repository(stage, private)
    for stage in stages:
        if stage is adapter:
            _link_classifier(adapter.folder, classifier.repo_id, classifier.commit)
        if stage is space:
            space.show(adapter.commit)
        with tempfile.TemporaryDirectory() as scratch:
            existing = fetch_card(stage, Path(scratch))
            if existing is not None:
                stage.write_card(existing)
        refuse_secrets(stage.folder)
        upload(stage)


def push_to_hub(
    adapter: HubModel, classifier: HubModel, license: str | None = None, private: bool = True
) -> tuple[str, str]:
    """
    Publish an adapter and its classifier, as `pref-lstm publish` does.

    Returns:
        The commits of the adapter and of the classifier.
    """
    with stage_pair(adapter, classifier, license) as (staged_adapter, staged_classifier):
        push_pair(staged_adapter, staged_classifier, private)
        return str(staged_adapter.commit), str(staged_classifier.commit)


def _link_classifier(folder: Path, name: str, revision: str | None) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"classifier_name_or_path": name, "classifier_revision": revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _add_results(stage: StagedModel) -> None:
    report, measured = stage.model.results, stage.facts.measured
    if report is None:
        return
    name = "adapter_config.json" if stage.kind == "adapter" else "config.json"
    config = json.loads((stage.folder / name).read_text(encoding="utf-8"))
    if stage.kind == "classifier":
        add_classifier_results(measured, report, config["threshold"])
        return
    add_memory_results(measured, report, config["base_model_name_or_path"])
    plot_recovery(report, stage.folder / PICTURE)
    measured.picture = PICTURE
