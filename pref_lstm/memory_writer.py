"""The model as the user store calls it: turns in, states out, always in batches of one."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import torch

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn, MemoryReadout
from pref_lstm.modeling.shared_pass import detect_and_encode
from pref_lstm.modeling.turn import Detection, Detector, Turn

from .turn_record import StoredTurn
from .turn_tensors import turn_from_bytes


class MemoryWriter:
    """
    Detects, encodes, writes and reads for one user at a time. Safe to call from several threads.

    A row may differ in its last bits between batches of different shapes, so first writes and replays go one way: one
    turn, one state.

    Args:
        model ([`PrefLSTMForCausalLM`]): Its weights must not change afterwards.
        detector ([`Detector`]): Decides which turns are let in.
    """

    def __init__(self, model: PrefLSTMForCausalLM, detector: Detector) -> None:
        self.fingerprint = model.memory.fingerprint()
        self.device = next(model.memory.parameters()).device
        self._model, self._detector = model, detector
        self._compute = threading.Lock()  # fast tokenizers and spaCy pipelines are not for several threads at once

    def initial_state(self) -> MemoryState:
        return self._model.initial_state()

    def detect_and_encode(self, turn: Turn) -> tuple[Detection, EncodedTurn]:
        """What the detector decides, and the turn `(1, …)` on the memory's device."""
        with self._compute:
            [detection], encoded = detect_and_encode(self._model.encoder, self._detector, [turn])
            return detection, self._on_device(encoded)

    def encode(self, turn: Turn) -> EncodedTurn:
        """`(1, …)`, on the memory's device."""
        with self._compute:
            return self._on_device(self._model.encoder.encode([turn]))

    def encode_stored(self, stored: StoredTurn) -> EncodedTurn:
        """
        A turn of the ledger, encoded again or read from its tensors.

        Raises:
            ValueError: if its tensors are damaged or of another encoder or LM.
        """
        if stored.turn is not None:
            return self.encode(stored.turn)
        vocab_size = self._model.get_input_embeddings().get_parameter("weight").shape[0]
        config = self._model.memory_config
        widths = config.vector_size, config.encoder_hidden_size
        return self._on_device(turn_from_bytes(stored.tensors or b"", *widths, vocab_size))

    @torch.no_grad()
    def write(self, encoded: EncodedTurn, state: MemoryState) -> tuple[MemoryState, int | None]:
        """The state after the turn, and the number of its write; None where the memory held the same already."""
        new = self._model.memory.update(encoded, state, self._model.tuner.embed)
        number = int(new["writes"][0])
        return new, number if number > int(state["writes"][0]) else None

    def replay(self, turns: Iterable[StoredTurn]) -> tuple[MemoryState, dict[int, int]]:
        """The state that the turns leave in an empty memory, and the number of each one's write by the turn's id."""
        state, writes = self.initial_state(), {}
        for turn in turns:
            state, number = self.write(self.encode_stored(turn), state)
            if number is not None:
                writes[turn.id] = number
        return state, writes

    def read(self, state: MemoryState, text: str) -> MemoryReadout:
        """Read the memory for one message."""
        with self._compute:
            return self._model.read(state, [text])

    def _on_device(self, encoded: EncodedTurn) -> EncodedTurn:
        return EncodedTurn(*[value.to(self.device) for value in encoded.to_tuple()])
