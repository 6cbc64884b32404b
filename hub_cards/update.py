"""An existing card is brought up to date: what its owner wrote stays."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

_BEGIN = "<!-- Begin of what pref-lstm keeps up to date: edits inside are lost, the rest stays. -->"
_END = "<!-- End of what pref-lstm keeps up to date. -->"


def update_card(card: ModelCard, existing: ModelCard | None) -> ModelCard:
    """
    Put a rendered card into one that is there already.

    Args:
        card ([`~huggingface_hub.ModelCard`]): As [`render_card`] made it.
        existing ([`~huggingface_hub.ModelCard`], *optional*): What its owner may have edited.

    Returns:
        [`~huggingface_hub.ModelCard`]: The owner's text around the rendered one, the metadata that only the owner gave,
        the tags of both, and results on other data sets.
    """
    before, after = _surroundings(existing)
    block = f"{_BEGIN}\n\n{card.text.strip()}\n\n{_END}"
    text = "\n\n".join(part for part in (before, block, after) if part) + "\n"
    data = ModelCardData(**{**(existing.data.__dict__ if existing is not None else {}), **_stated(card)})
    if existing is not None:
        data.tags = list(dict.fromkeys([*(card.data.tags or []), *_kept_tags(existing)]))
        own = {result.unique_identifier for result in card.data.eval_results or []}
        foreign = [r for r in existing.data.eval_results or [] if own and r.unique_identifier not in own]
        if foreign:
            data.eval_results = [*card.data.eval_results, *foreign]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def read_card(path: Path) -> ModelCard | None:
    """
    The card in a file, or `None` if there is none.

    Raises:
        ValueError: if its metadata is no YAML mapping.
    """
    if not path.is_file():
        return None
    try:
        return ModelCard.load(path)
    except Exception as error:  # yaml's errors have no common class that huggingface_hub exports
        raise ValueError(
            f"'{path.name}' must begin with a YAML mapping between two lines of `---`, but its metadata can't be read "
            f"({type(error).__name__}). Mend or delete it."
        ) from None


def _stated(card: ModelCard) -> dict[str, object]:
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
    """PEFT's `save_pretrained` leaves huggingface_hub's empty form, with a line about its version below."""
    empty = ModelCard.from_template(ModelCardData()).text.strip()
    form, _, _ = text.strip().partition("\n### Framework versions")
    return not text.strip() or form.strip() == empty.partition("\n### Framework versions")[0].strip()


def _kept_tags(existing: ModelCard) -> list[str]:
    # PEFT writes this tag from the LM's name, which may be a folder of this computer.
    return [tag for tag in existing.data.tags or [] if not tag.startswith("base_model:")]
