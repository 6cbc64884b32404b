"""What was computed already, on disk: a killed run goes on where it was, and a second memory pays for its own part."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pref_lstm.modeling.peft_method import PREFIX
from transformers import PreTrainedModel


class ScoreCache:
    """
    A dictionary in a JSONL file to which every result is appended at once.

    Args:
        path (`Path`, *optional*): The file; None keeps results in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    key, value = json.loads(line)
                except ValueError:  # the line during which an earlier run was killed
                    continue
                self._values[key] = value
            # A cut line must not swallow the first new one.
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def put(self, values: dict[str, Any]) -> None:
        """Add results and write them down."""
        self._values.update(values)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(pair) + "\n" for pair in values.items())


def cache_key(*parts: object) -> str:
    """A short hash of the parts' text."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:24]


def lm_fingerprint(lm: PreTrainedModel) -> str:
    """Names an LM by its id, type and a sample of its weights: two checkpoints in one folder are two LMs."""
    digest = hashlib.sha256(f"{lm.name_or_path}|{lm.dtype}".encode())
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if PREFIX in name:  # the memory's
                continue
            flat = parameter.detach().flatten()
            digest.update(flat[:: max(1, flat.numel() // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
