"""The model as the user store calls it: turns in, states out, always in batches of one."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn, MemoryReadout
from pref_lstm.modeling.shared_pass import detect_and_encode
from pref_lstm.modeling.turn import Detection, Detector, Turn

from .turn_record import StoredTurn
from .turn_tensors import check_encoded, turn_from_bytes


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
        self.vectors_fingerprint = model.memory.vectors_fingerprint()
        self.device = next(model.memory.parameters()).device
        self._model, self._detector = model, detector
        self._compute = threading.Lock()  # fast tokenizers and spaCy pipelines are not for several threads at once

    def initial_state(self) -> MemoryState:
        return self._model.initial_state()

    def state_to_bytes(self, state: MemoryState) -> bytes:
        """
        Raises:
            ValueError: if the state could not be read back.
        """
        try:
            self._model.memory.check_state(state)
        except ValueError as error:
            raise ValueError(
                f"The user's memory must stay one that can be read. {error} Nothing was changed. Are the adapter's "
                "weights sound?"
            ) from None
        return state.to_bytes(self.fingerprint)

    def state_from_bytes(self, data: bytes, num_writes: int) -> MemoryState:
        """
        One user's state, on the memory's device.

        Raises:
            ValueError: if it is damaged, of another adapter, or none that so many writes can have led to.
        """
        state = MemoryState.from_bytes(data, self.fingerprint)
        self._model.memory.check_state(state)
        if state["writes"].tolist() != [num_writes]:
            raise ValueError(f"The state must be of one user and of the ledger's {num_writes} writes, but is not.")
        return state.to(self.device)

    def detect_and_encode(self, turn: Turn) -> tuple[Detection, EncodedTurn]:
        """What the detector decides, and the turn `(1, …)` on the memory's device."""
        with self._compute:
            [detection], encoded = detect_and_encode(self._model.encoder, self._detector, [turn])
            return detection, self._checked(encoded)

    def encode(self, turn: Turn) -> EncodedTurn:
        """`(1, …)`, on the memory's device."""
        with self._compute:
            return self._checked(self._model.encoder.encode([turn]))

    def encode_stored(self, stored: StoredTurn) -> EncodedTurn:
        """
        A turn of the ledger, encoded again or read from its tensors.

        Raises:
            ValueError: if its tensors are damaged, or of another encoder, other key layers or another LM.
        """
        if stored.turn is not None:
            return self.encode(stored.turn)
        config, data = self._model.memory_config, stored.tensors or b""
        sizes = (config.vector_size, config.encoder_hidden_size)
        return self._checked(turn_from_bytes(data, *sizes, self.vectors_fingerprint))

    def write(self, encoded: EncodedTurn, state: MemoryState) -> tuple[MemoryState, int | None]:
        """The state after the turn, and the number of its write; None where the memory held the same already."""
        with self._compute:
            new = self._model.write_encoded(encoded, state)
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

    def _checked(self, encoded: EncodedTurn) -> EncodedTurn:
        """The turn on the memory's device, if the memory can take it in."""
        check_encoded(encoded, self._model.memory.vocab_size)
        return EncodedTurn(*[value.to(self.device) for value in encoded.to_tuple()])
