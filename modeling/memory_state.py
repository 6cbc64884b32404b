"""A user's memory as a value: made by an update, passed to a read, saved as safetensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from .whole_file import write_whole

if TYPE_CHECKING:
    from .pref_memory import PrefMemory

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
        if len({state.cell for state in states}) != 1:
            raise ValueError(f"`states` must be one or more of the same cell, got {[state.cell for state in states]}.")
        return MemoryState(states[0].cell, {n: torch.cat([s.tensors[n] for s in states]) for n in states[0].tensors})

    def equal(self, other: MemoryState) -> bool:
        """Bit for bit."""
        return (
            self.cell == other.cell
            and self.tensors.keys() == other.tensors.keys()
            and all(torch.equal(t, other.tensors[n]) for n, t in self.tensors.items())
        )

    def to_bytes(self, fingerprint: str) -> bytes:
        """The state as safetensors bytes, with the fingerprint of the adapter that made it and a checksum."""
        metadata = {"format": _FORMAT, "cell": self.cell, "fingerprint": fingerprint}
        return tensors_to_bytes(self.tensors, metadata)

    def save(self, path: str | Path, memory: PrefMemory) -> None:
        """
        Write the state to a file, whole or not at all, readable by its owner only if it is new.

        Args:
            path (`str`): The file.
            memory ([`PrefMemory`]): The adapter's that made the state: `model.memory`.

        Raises:
            ValueError: as for [`PrefMemory.check_state`].
        """
        memory.check_state(self)
        write_whole(Path(path), self.to_bytes(memory.fingerprint()))

    @staticmethod
    def load(path: str | Path, memory: PrefMemory) -> MemoryState:
        """
        Read a state that [`~MemoryState.save`] wrote.

        Args:
            path (`str`): The file.
            memory ([`PrefMemory`]): The adapter's that is to read it: `model.memory`.

        Raises:
            ValueError: if the file is no memory state, is damaged, was made by another adapter or for another LM, or
                holds what turns can't lead to.
        """
        state = MemoryState._parse(Path(path).read_bytes(), memory.fingerprint(), f"'{path}'")
        try:
            memory.check_state(state)
        except ValueError as error:
            raise ValueError(
                f"'{path}' must hold a state that turns can lead to. {error} Restore it from a copy or write the "
                "user's turns again."
            ) from None
        return state

    @staticmethod
    def from_bytes(data: bytes, fingerprint: str) -> MemoryState:
        """
        The state that [`~MemoryState.to_bytes`] wrote. Give it to [`PrefMemory.check_state`] if it comes from outside.

        Raises:
            ValueError: if the bytes are no memory state, are damaged, or of another adapter or LM.
        """
        return MemoryState._parse(data, fingerprint, "The state")

    @staticmethod
    def _parse(data: bytes, fingerprint: str, source: str) -> MemoryState:
        try:
            tensors, metadata = tensors_from_bytes(data)
        except ValueError as error:
            raise ValueError(
                f"{source} must be a memory state saved by `MemoryState.save`, but is damaged or no safetensors file "
                f"({error}). Restore it from a copy or start with an empty memory."
            ) from None
        if metadata.get("format") != _FORMAT or not tensors or "cell" not in metadata:
            raise ValueError(
                f"{source} must be a memory state of format '{_FORMAT}', got '{metadata.get('format')}'. "
                "Was it saved by `MemoryState.save`?"
            )
        if metadata.get("fingerprint") != fingerprint:
            raise ValueError(
                f"{source} was made by the adapter with fingerprint '{metadata.get('fingerprint')}', but this one has "
                f"'{fingerprint}'. States belong to one adapter and LM: write the user's turns again."
            )
        return MemoryState(metadata["cell"], tensors)


def tensors_to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Tensors as safetensors bytes. To `metadata`, which must have a `format`, a checksum over all of it is added."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata={**metadata, "checksum": _checksum(plain, metadata)})


def tensors_from_bytes(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """
    What [`tensors_to_bytes`] wrote: tensors, and metadata without the checksum.

    Raises:
        ValueError: if the bytes are no safetensors, or have a `format` and are not as they were written.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata: dict[str, str] = header.get("__metadata__") or {}
        checksum = metadata.pop("checksum", None)
        is_damaged = "format" in metadata and checksum != _checksum(tensors, metadata)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if is_damaged:
        raise ValueError("the checksum differs")
    return tensors, metadata


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """CRC-32: it finds damage, it is no seal against forgery."""
    value = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if tensor.is_floating_point():
        return tensor.to(*args, **kwargs)
    kwargs.pop("dtype", None)
    return tensor.to(*[a for a in args if not isinstance(a, torch.dtype)], **kwargs)
