"""An encoded turn as bytes: what the ledger keeps of a turn whose text is not kept."""

from __future__ import annotations

import torch

from pref_lstm.modeling.cell import MAX_SIZE
from pref_lstm.modeling.memory_state import tensors_from_bytes, tensors_to_bytes
from pref_lstm.modeling.outputs import EncodedTurn

_FORMAT = "pref_lstm.encoded_turn.v2"


def turn_to_bytes(turn: EncodedTurn, vectors: str) -> bytes:
    """One turn, `(1, …)`, as safetensors bytes, with [`PrefMemory.vectors_fingerprint`] of what made it."""
    return tensors_to_bytes(dict(turn.items()), {"format": _FORMAT, "vectors": vectors})


def turn_from_bytes(data: bytes, vector_size: int, encoder_hidden_size: int, vectors: str) -> EncodedTurn:
    """
    What [`turn_to_bytes`] wrote, bit for bit. Its numbers are not looked at: see [`check_encoded`].

    Args:
        data (`bytes`): Of one turn.
        vector_size (`int`): Width of the turn's vector.
        encoder_hidden_size (`int`): Width of the encoder that the turn must fit.
        vectors (`str`): The fingerprint that it must come with.

    Raises:
        ValueError: if the bytes are damaged, or no turn of that encoder and these vectors.
    """
    try:
        tensors, metadata = tensors_from_bytes(data)
    except ValueError as error:
        raise ValueError(f"An encoded turn must be safetensors as `UserStore` wrote them, but {error}.") from None
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"An encoded turn must have the format '{_FORMAT}', got another one or none.")
    token_ids = tensors.get("token_ids")
    length = token_ids.shape[1] if token_ids is not None and token_ids.dim() == 2 else 0
    expected = {
        "pooled": ((1, vector_size), torch.float32),
        "token_ids": ((1, length), torch.int64),
        "token_mask": ((1, length), torch.bool),
        "token_features": ((1, length, encoder_hidden_size), torch.float32),
        "token_salience": ((1, length), torch.float32),
    }
    got = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if got != expected or length == 0:
        raise ValueError(
            f"An encoded turn must hold {', '.join(expected)} of an encoder of width {encoder_hidden_size}, but names, "
            "shapes or dtypes differ. Was it made with another encoder?"
        )
    if metadata.get("vectors") != vectors:
        raise ValueError(
            f"An encoded turn must have the vectors of fingerprint '{vectors}', got those of another encoder or of "
            "other key layers, and without its text they can't be made again. Use the adapter that it was stored with."
        )
    return EncodedTurn(**{name: tensors[name] for name in expected})


def check_encoded(turn: EncodedTurn, vocab_size: int) -> None:
    """
    Refuse what a memory can't take in: its gates would turn on nan, and one such turn could empty it.

    Args:
        turn ([`EncodedTurn`]): One turn, `(1, …)`.
        vocab_size (`int`): Rows of the LM's input embedding, which its token ids must stay below.

    Raises:
        ValueError: if its numbers are out of range.
    """
    numbers = (turn.pooled, turn.token_features, turn.token_salience)
    if not all(bool((value.abs() <= MAX_SIZE).all()) for value in numbers) or not bool(turn.pooled.any()):
        raise ValueError(
            f"An encoded turn must hold finite numbers of a size up to {MAX_SIZE:g}, its vector not all 0, got others. "
            "Does the encoder give nan?"
        )
    if bool((turn.token_ids < 0).any()) or bool((turn.token_ids >= vocab_size).any()):
        raise ValueError(
            f"An encoded turn must hold token ids from 0 to {vocab_size - 1}, got others. Was it made for another LM?"
        )
