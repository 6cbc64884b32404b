"""An existing card is brought up to date: what its owner wrote stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import ModelCard, ModelCardData, RepoCard

from .render import OWN_DATASETS

_BEGIN = "<!-- Begin of what pref-lstm keeps up to date: edits inside are lost, the rest stays. -->"
_END = "<!-- End of what pref-lstm keeps up to date. -->"
_Card = TypeVar("_Card", bound=RepoCard)
# How a Space looks is its owner's matter.
_LOOKS = ("title", "emoji", "short_description")
_NEW_SPACE = "https://huggingface.co/docs/hub/spaces-config-reference"
_OURS = ("base_model", "base_model_relation", "eval_results", "model_name")


def update_card(card: _Card, existing: ModelCard | None) -> _Card:
    """
    Put a rendered card into one that is there already.

    Args:
        card ([`~huggingface_hub.RepoCard`]): As [`render_card`] or [`write_space`] made it.
        existing ([`~huggingface_hub.ModelCard`], *optional*): What its owner may have edited.

    Returns:
        [`~huggingface_hub.RepoCard`]: The owner's text around the rendered one, the metadata that only the owner gave,
        the tags of both, and results on other data sets.
    """
    before, after = _surroundings(existing)
    block = f"{_BEGIN}\n\n{card.text.strip()}\n\n{_END}"
    text = "\n\n".join(part for part in (before, block, after) if part) + "\n"
    stated, before_update = _metadata(card), {} if existing is None else _metadata(existing)
    # PEFT takes the base model from the LM's name, which may be a folder of this computer: the facts know better.
    kept = {name: value for name, value in before_update.items() if name not in _OURS}
    tags = [tag for tag in kept.get("tags") or [] if not tag.startswith("base_model:")]
    data: dict[str, Any] = {**kept, **stated, **{name: kept[name] for name in _LOOKS if name in kept}}
    if tags := list(dict.fromkeys([*stated.get("tags", []), *tags])):
        data["tags"] = tags
    foreign = [r for r in before_update.get("eval_results") or [] if r.dataset_type not in OWN_DATASETS]
    if foreign:
        data["model_name"] = stated.get("model_name") or before_update["model_name"]
        data["eval_results"] = [*stated.get("eval_results", []), *foreign]
    return type(card)(f"---\n{type(card.data)(**data).to_yaml()}\n---\n\n{text}")


def read_card(path: Path) -> ModelCard | None:
    """
    The card in a file, or `None` if there is none.

    Raises:
        ValueError: if its metadata is no YAML mapping.
    """
    if not path.is_file():
        return None
    try:
        card: ModelCard = ModelCard.load(path)
    except Exception as error:  # yaml's errors have no common class that huggingface_hub exports
        raise ValueError(
            f"'{path.name}' must begin with a YAML mapping between two lines of `---`, but its metadata can't be read "
            f"({type(error).__name__}). Mend or delete it."
        ) from None
    return card


def _metadata(card: RepoCard) -> dict[str, Any]:
    """What the card's metadata state, the unstated left out."""
    return {name: value for name, value in card.data.__dict__.items() if value not in (None, [], {})}


def _surroundings(existing: ModelCard | None) -> tuple[str, str]:
    if existing is None or _is_untouched_template(existing.text):
        return "", ""
    before, begin, rest = existing.text.partition(_BEGIN)
    _, end, after = rest.rpartition(_END)
    if not begin or not end:
        return existing.text.strip(), ""
    return before.strip(), after.strip()


def _is_untouched_template(text: str) -> bool:
    """PEFT leaves huggingface_hub's empty form, with a line about its version below; the Hub, a line in a new Space."""
    if _NEW_SPACE in text and len(text.strip().splitlines()) == 1:
        return True
    empty = ModelCard.from_template(ModelCardData()).text.strip()
    form, _, _ = text.strip().partition("\n### Framework versions")
    return not text.strip() or form.strip() == empty.partition("\n### Framework versions")[0].strip()
