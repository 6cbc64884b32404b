"""What the user store's tests share: a model with an encoder that costs nothing, and a look at the raw files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.turn import Turn
from tiny import ENCODER_WIDTH, KeywordDetector, make_model

from pref_lstm.user_store import UserStore

LENGTH = 6
TEXTS = [
    "I love green tea zqx1.",
    "I hate trains zqx2",
    "please, never cats: I prefer dogs zqx3",
    "I love music and jazz zqx4",
    "I hate long answers zqx5",
]


class HashEncoder:
    """Random vectors and ids that depend on every character of the turn, the agent's line included."""

    def encode(self, turns: Sequence[Turn]) -> EncodedTurn:
        assert len(turns) == 1
        g = _generator(f"{turns[0].agent}\n{turns[0].user}")
        return EncodedTurn(
            torch.randn(1, ENCODER_WIDTH, generator=g),
            torch.randint(8, 60, (1, LENGTH), generator=g),
            torch.ones(1, LENGTH, dtype=torch.bool),
            torch.randn(1, LENGTH, ENCODER_WIDTH, generator=g),
            3 * torch.rand(1, LENGTH, generator=g),
        )

    def encode_query(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.cat([torch.randn(1, ENCODER_WIDTH, generator=_generator(text)) for text in texts])


def _generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


def make_store_model(cell: str = "slots", seed: int = 0, **overrides: object) -> PrefLSTMForCausalLM:
    model = make_model(cell=cell, seed=seed, **overrides)
    model._encoder = HashEncoder()
    return model


def open_store(path: Path, model: PrefLSTMForCausalLM, keep_text: bool = True) -> UserStore:
    return UserStore(path, model, KeywordDetector(), keep_text)


def raw_bytes(path: Path) -> bytes:
    """Of the database, its write-ahead log and its index: whatever lies beside it under its name."""
    files = sorted(path.parent.glob(f"{path.name}*"))
    assert path in files
    return b"\0".join(file.read_bytes() for file in files)


def observe_all(store, user, texts):
    return [store.observe(user, Turn(text, agent="What else?")) for text in texts]


def error_of(call, kind=ValueError):
    with pytest.raises(kind) as info:
        call()
    return str(info.value)
