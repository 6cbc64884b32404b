"""The facts that a saved model's own files tell."""

from __future__ import annotations

import hashlib
import json
import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .facts import ComputedFacts

WEIGHTS = {"adapter": "adapter_model.safetensors", "classifier": "model.safetensors"}
CONFIGS = {"adapter": "adapter_config.json", "classifier": "config.json"}

_LIBRARIES = {
    "Pref-LSTM": "pref-lstm",
    "PEFT": "peft",
    "Transformers": "transformers",
    "Sentence Transformers": "sentence-transformers",
    "PyTorch": "torch",
    "Hugging Face Hub": "huggingface_hub",
}
_DETAILS = {
    "adapter": {
        "cell": "memory cell",
        "num_soft_tokens": "soft tokens that the LM reads",
        "num_slots": "most turns that one memory keeps",
        "encoder_name_or_path": "turn encoder",
    },
    "classifier": {
        "pooling": "pooling",
        "num_tuned_layers": "layers of its own",
        "threshold": "probability from which on a turn counts as a preference",
        "max_length": "most tokens of a message that are read",
    },
}


def check_files(kind: str, folder: str | Path) -> None:
    """
    Raises:
        FileNotFoundError: if the configuration or the weights of a saved model are not there.
    """
    for name in (CONFIGS[kind], WEIGHTS[kind]):
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(
                f"Expected a saved {kind} with `{name}`, found none in '{folder}'. "
                "Pass the folder that `save_pretrained` wrote."
            )


def compute_facts(kind: str, folder: str | Path) -> ComputedFacts:
    """
    What the files of a saved model say.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        folder (`str` or `Path`): Where `save_pretrained` wrote it.

    Raises:
        FileNotFoundError: as [`check_files`].
    """
    check_files(kind, folder)
    folder = Path(folder)
    config: dict[str, Any] = json.loads((folder / CONFIGS[kind]).read_text(encoding="utf-8"))
    weights = folder / WEIGHTS[kind]
    with safe_open(str(weights), framework="pt") as tensors:
        parameters = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    details = {label: config[name] for name, label in _DETAILS[kind].items() if config.get(name) is not None}
    if kind == "adapter":
        if config.get("cell") != "slots":
            details.pop(_DETAILS[kind]["num_slots"], None)
        if _hub_id(config.get("encoder_name_or_path")) is None:
            details.pop(_DETAILS[kind]["encoder_name_or_path"], None)
    base = "base_model_name_or_path" if kind == "adapter" else "encoder_name_or_path"
    return ComputedFacts(
        base_model=_hub_id(config.get(base)),
        base_revision=config.get("revision") if kind == "adapter" else None,
        encoder=_hub_id(config.get("encoder_name_or_path")),
        num_parameters=parameters,
        num_bytes=weights.stat().st_size,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        details=details,
        versions=library_versions(),
    )


def _hub_id(name: str | None) -> str | None:
    """A folder of this computer is nobody else's business: then the model is unknown."""
    return None if name is None or Path(name).exists() or Path(name).is_absolute() else name


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that matter to a model, by the name that people know."""
    found = {}
    for label, distribution in _LIBRARIES.items():
        try:
            found[label] = version(distribution)
        except PackageNotFoundError:  # a bare checkout has no version of its own
            continue
    return found


def library_pins() -> list[str]:
    """The same libraries and versions as pip's requirements; this package is not among them."""
    names = sorted(set(_LIBRARIES.values()) - {"pref-lstm"})
    # Without the build's name: `2.13.0+cpu` is on no index of its own.
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
