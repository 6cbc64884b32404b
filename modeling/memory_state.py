"""A user's memory as a value: made by an update, passed to a read, saved as safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

_FORMAT = "pref_lstm.memory_state.v1"


@dataclass(frozen=True)
class MemoryState:
    """
    What the memory holds for each user of a batch. It is never changed in place.

    Args:
        cell (`str`): The cell that made it.
        tensors (`dict[str, torch.Tensor]`): Each `(batch, …)`; the cell's docstring names them.
    """

    cell: str
    tensors: dict[str, torch.Tensor]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    @property
    def batch_size(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    @property
    def num_bytes(self) -> int:
        """Bytes of one user's state."""
        return sum(t.element_size() * t[0].numel() for t in self.tensors.values())

    def to(self, *args: Any, **kwargs: Any) -> MemoryState:
        """As `torch.Tensor.to`, for every tensor; a dtype only touches the floating-point ones."""
        return MemoryState(self.cell, {n: _to(t, *args, **kwargs) for n, t in self.tensors.items()})

    def detach(self) -> MemoryState:
        return MemoryState(self.cell, {n: t.detach() for n, t in self.tensors.items()})

    def rows(self, index: Sequence[int] | torch.Tensor) -> MemoryState:
        """The users at `index`, as a new batch."""
        picked = torch.as_tensor(index)
        return MemoryState(self.cell, {n: t[picked.to(t.device)] for n, t in self.tensors.items()})

    @staticmethod
    def cat(states: Sequence[MemoryState]) -> MemoryState:
        """One batch out of several users' states."""
        return MemoryState(states[0].cell, {n: torch.cat([s.tensors[n] for s in states]) for n in states[0].tensors})

    def equal(self, other: MemoryState) -> bool:
        """Bit for bit."""
        return (
            self.cell == other.cell
            and self.tensors.keys() == other.tensors.keys()
            and all(torch.equal(t, other.tensors[n]) for n, t in self.tensors.items())
        )

    def to_bytes(self, fingerprint: str) -> bytes:
        """The state as safetensors bytes, with the fingerprint of the adapter that made it."""
        metadata = {"format": _FORMAT, "cell": self.cell, "fingerprint": fingerprint}
        return save({n: t.detach().cpu().contiguous() for n, t in self.tensors.items()}, metadata=metadata)

    def save(self, path: str | Path, fingerprint: str) -> None:
        """Write [`~MemoryState.to_bytes`] to a file, whole or not at all."""
        path = Path(path)
        scratch = path.with_name(f".{path.name}.tmp")
        scratch.write_bytes(self.to_bytes(fingerprint))
        scratch.replace(path)

    @staticmethod
    def load(path: str | Path, fingerprint: str) -> MemoryState:
        """
        Read a state that [`~MemoryState.save`] wrote.

        Raises:
            ValueError: if the file is no memory state, is damaged, or was made by another adapter or for another LM.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                # Cloned: tensors of `safe_open` may be views of the mapped file, which a later save replaces.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"'{path}' must be a memory state saved by `MemoryState.save`, but is damaged or no safetensors file "
                f"({error}). Restore it from a copy or start with an empty memory."
            ) from None
        if metadata.get("format") != _FORMAT or not tensors:
            raise ValueError(
                f"'{path}' must be a memory state of format '{_FORMAT}', got '{metadata.get('format')}'. "
                "Was it saved by `MemoryState.save`?"
            )
        if metadata.get("fingerprint") != fingerprint:
            raise ValueError(
                f"'{path}' was made by the adapter with fingerprint '{metadata.get('fingerprint')}', but this one has "
                f"'{fingerprint}'. States belong to one adapter and LM: write the user's turns again."
            )
        return MemoryState(metadata["cell"], tensors)


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if tensor.is_floating_point():
        return tensor.to(*args, **kwargs)
    kwargs.pop("dtype", None)
    return tensor.to(*[a for a in args if not isinstance(a, torch.dtype)], **kwargs)
