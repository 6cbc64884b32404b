"""Many users' memories in one SQLite file: what each said, what the memory made of it, and a way to take it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from pref_lstm.modeling.memory_state import MemoryState
from pref_lstm.modeling.modeling_pref_lstm import PrefLSTMForCausalLM
from pref_lstm.modeling.outputs import EncodedTurn
from pref_lstm.modeling.turn import Detection, Detector, Turn

from . import store_rows as rows
from .memory_writer import MemoryWriter
from .store_database import StoreDatabase
from .turn_record import Influence, StoredTurn, TurnRecord, check_text, check_turn, from_json, now, to_json
from .turn_tensors import turn_to_bytes

MAX_NAME_LENGTH = 256
_BY_HAND = Detection(1.0, True, "updated by the user")

Turns = Sequence[StoredTurn]  # inside the class `list` is a method


class UserStore:
    """
    Users' preference memories in one file. It survives `kill -9`, and it forgets exactly.

    For each user the file holds a ledger of the turns that were let in, and apart from it the current memory state that
    follows from them. The state is always what writing the ledger's turns one by one into an empty memory gives, bit
    for bit on the same machine and number of threads; so a forgotten turn leaves a state that never saw it. Turns that
    the detector turns down leave nothing in the file.

    A deleted turn's bytes are overwritten and the write-ahead log is emptied before [`~UserStore.forget`] returns. What
    lies outside the file is out of reach: backups, snapshots, blocks that the file system or the drive has moved.

    All methods may be called from any thread, and several processes may have the same file open; after a fork the child
    opens it anew. Model calls of one process take turns. In asyncio code, keep the event loop free:

    ```python
    record = await asyncio.to_thread(store.observe, "ada", Turn("I can't stand olives."))
    ```

    A user's name is any text of 1 to 256 characters, compared exactly. Users who never said anything have an empty
    memory. No error message contains a name or a word that a user said.

    Args:
        path (`str`): The file; its folder must exist.
        model ([`PrefLSTMForCausalLM`]): Its adapter makes the states. Its weights must not change while it is here.
        detector ([`Detector`]): Decides which turns are let in.
        keep_text (`bool`, defaults to `True`): Whether the ledger keeps what was said. If not, it keeps of turns taken
            in from now on the encoded tensors, which replay needs. They hold the LM's token ids of the user's message:
            whoever has the file and the tokenizer can read it back, so this hides little.

    Raises:
        ValueError: if the file is damaged, no user store, or of a newer version.
        OSError: if the file can't be read or written; `TimeoutError` if another process locks it for 30 seconds.
    """

    def __init__(
        self, path: str | Path, model: PrefLSTMForCausalLM, detector: Detector, keep_text: bool = True
    ) -> None:
        self.keep_text = keep_text
        self._writer = MemoryWriter(model, detector)
        self._database = StoreDatabase(Path(path))

    def close(self) -> None:
        """Close the file, for all threads."""
        self._database.close()

    def __enter__(self) -> UserStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def users(self) -> list[str]:
        """The names of all users that the file knows, sorted."""
        with self._database.read() as connection:
            return sorted(name for (name,) in connection.execute("SELECT name FROM users"))

    def observe(self, user: str, turn: Turn) -> TurnRecord:
        """
        Pass one turn through the detector, and into the user's memory if it reveals a preference.

        When this returns, the turn is on the disk: memory, ledger and record change together or not at all.

        Args:
            user (`str`): The user's name.
            turn ([`Turn`]): What the user said. The agent's line is context and is never written by itself.

        Returns:
            [`TurnRecord`], its `id` None if the turn was turned down. Nothing is kept of such a turn.

        Raises:
            ValueError: if the user's memory was made by another adapter, see [`~UserStore.rebuild`].
        """
        _check_name(user)
        check_turn(turn)
        detection, encoded = self._writer.detect_and_encode(turn)
        time = now()
        if not detection.is_preference:
            return TurnRecord(None, datetime.fromisoformat(time), turn, detection, written=False)
        with self._database.write() as connection:
            user_id = rows.find_user(connection, user)
            if user_id is None:
                user_id = rows.add_user(connection, user)
            state, number = self._writer.write(encoded, self._state(*rows.read_view(connection, user_id)))
            stored = self._stored(rows.take_turn_id(connection, user_id), time, turn, encoded, detection)
            writes = {} if number is None else {stored.id: number}
            rows.insert_turn(connection, user_id, stored)
            rows.save_state(connection, user_id, self._writer.state_to_bytes(state))
            rows.save_writes(connection, user_id, writes)
        return _records([stored], state, writes)[0]

    def state(self, user: str) -> MemoryState:
        """The user's memory, one row, on the model's device; an empty one if there is no such user."""
        _check_name(user)
        with self._database.read() as connection:
            view = rows.read_view(connection, rows.find_user(connection, user))
        return self._state(*view)

    def list(self, user: str) -> Sequence[TurnRecord]:
        """The turns that the memory holds now, oldest first: those in a slot, or all written ones without slots."""
        records, state = self._view(user)
        return [r for r in records if r.written and (r.slot is not None or "times" not in state.tensors)]

    def history(self, user: str) -> Sequence[TurnRecord]:
        """All turns of the ledger, oldest first: also those that repeated, or were reversed or crowded out since."""
        return self._view(user)[0]

    def why(self, user: str, query_text: str) -> Sequence[Influence]:
        """
        Which stored turns act on a message, the heaviest first.

        The words of the first one are what the LM gets to read; the weights say how relevant each is to the message.

        Args:
            user (`str`): The user's name.
            query_text (`str`): The message, as it would be answered.

        Returns:
            A list of [`Influence`], empty where the memory doesn't act: it is empty, or its relevance gate closed.

        Raises:
            ValueError: if the memory's cell has no slots, and so no way to tell turns apart.
        """
        query = Turn(query_text)
        check_turn(query)
        records, state = self._view(user)
        readout = self._writer.read(state, query.user)
        if readout.slot_weights is None:
            raise ValueError(
                f"`why` needs a memory with slots, got one of cell '{state.cell}', which blends all turns into one "
                "vector. Use an adapter of cell 'slots'."
            )
        if not bool(readout.is_open.any()):
            return []
        weights = readout.slot_weights[0].tolist()
        found = [Influence(r, weights[r.slot]) for r in records if r.slot is not None and weights[r.slot] > 0]
        return sorted(found, key=lambda influence: -influence.weight)

    def update(self, user: str, id: int, turn: Turn) -> None:
        """
        Put another turn in the place of a stored one, as if it had been said then. The old one is forgotten exactly.

        The detector is not asked: the user's own correction counts.

        Raises:
            LookupError: if the user has no such turn.
        """
        check_turn(turn)
        encoded = self._writer.encode(turn)

        def replace(turns: Turns) -> Turns:
            _check_id(turns, id)
            return [self._stored(id, old.time, turn, encoded, _BY_HAND) if old.id == id else old for old in turns]

        self._rewrite(user, replace)

    def forget(self, user: str, id: int) -> None:
        """
        Forget one turn: the memory becomes what it were without it, and no byte of the turn stays in the file.

        It takes the time of writing the user's other turns again. Earlier or later turns that said the same keep what
        they said: see [`~UserStore.history`]. Ids are not given out again.

        Raises:
            LookupError: if the user has no such turn.
            TimeoutError: if another connection keeps the file busy; the message says what state it is in.
        """

        def drop(turns: Turns) -> Turns:
            _check_id(turns, id)
            return [turn for turn in turns if turn.id != id]

        self._rewrite(user, drop)

    def forget_all(self, user: str) -> None:
        """Forget everything about a user, the name included. A user who isn't there is forgotten already."""
        _check_name(user)
        with self._database.write() as connection:
            user_id = rows.find_user(connection, user)
            if user_id is not None:
                rows.delete_user(connection, user_id)
        self._database.clear_log()

    def expire(self, user: str, older_than: timedelta) -> None:
        """Forget the turns that were taken in longer ago than `older_than`, exactly, as [`~UserStore.forget`] does."""
        if not isinstance(older_than, timedelta):
            raise TypeError(
                f"`older_than` must be a `datetime.timedelta`, got {type(older_than).__name__}. "
                "Pass `timedelta(days=30)`, say."
            )
        limit = datetime.now(timezone.utc) - older_than
        self._rewrite(user, lambda turns: [t for t in turns if datetime.fromisoformat(t.time) >= limit])

    def rebuild(self, user: str) -> None:
        """
        Write the user's turns again, into an empty memory of the adapter at hand: after training it further, say.

        Raises:
            ValueError: if some turn is kept as tensors of another encoder, other key layers or another LM: without
                its text it can't be encoded again.
        """
        self._rewrite(user, lambda turns: turns, always=True)

    def export(self, user: str) -> dict[str, Any]:
        """The user's ledger as JSON-able values. The memory state is left out: it follows from the turns."""
        _check_name(user)
        with self._database.read() as connection:
            turns = rows.read_turns(connection, rows.find_user(connection, user))
        return to_json(self._writer.fingerprint, turns)

    def import_(self, user: str, data: Any) -> None:
        """
        Take in what [`~UserStore.export`] made, with its ids and times. All of it, or nothing.

        Turns with text may come from any adapter: they are written anew. Where this store keeps no text, neither does
        it keep theirs.

        Args:
            user (`str`): A user without any turns.
            data: The export, straight from `json.load`; it is checked whole before anything is written.

        Raises:
            ValueError: if `data` is no such export, or the user has turns already. The store stays as it was.
        """
        _check_name(user)
        imported = [self._adopted(turn) for turn in from_json(data, self._writer.fingerprint)]

        def fill(turns: Turns) -> Turns:
            if turns:
                raise ValueError(
                    f"`import_` needs a user without turns, got one with {len(turns)}. Call `forget_all` first, or "
                    "import under another name."
                )
            return imported

        self._rewrite(user, fill)

    def _rewrite(self, user: str, change: Callable[[Turns], Turns], always: bool = False) -> None:
        """Change a user's ledger and make the state follow from it again; `always` even if the ledger stays."""
        _check_name(user)
        with self._database.read() as connection:
            before: Turns = rows.read_turns(connection, rows.find_user(connection, user))
        after = change(before)
        if after == before and not always:
            return
        state, writes = self._writer.replay(after)
        with self._database.write() as connection:
            user_id = rows.find_user(connection, user)
            if (current := rows.read_turns(connection, user_id)) != before:
                # Somebody wrote in the meantime. Now nobody can.
                before, after = current, change(current)
                state, writes = self._writer.replay(after)
            if user_id is None:
                if not after:
                    return
                user_id = rows.add_user(connection, user)
            for stored in set(before) - set(after):
                rows.delete_turn(connection, user_id, stored.id)
            for stored in set(after) - set(before):
                rows.insert_turn(connection, user_id, stored)
            rows.reserve_turn_ids(connection, user_id, max((stored.id for stored in after), default=0))
            rows.save_state(connection, user_id, self._writer.state_to_bytes(state))
            rows.delete_writes(connection, user_id)
            rows.save_writes(connection, user_id, writes)
        self._database.clear_log()

    def _stored(self, id: int, time: str, turn: Turn, encoded: EncodedTurn, detection: Detection) -> StoredTurn:
        if self.keep_text:
            return StoredTurn(id, time, turn, None, detection.probability, detection.reason)
        tensors = turn_to_bytes(encoded, self._writer.vectors_fingerprint)
        return StoredTurn(id, time, None, tensors, detection.probability, "")

    def _adopted(self, stored: StoredTurn) -> StoredTurn:
        """An imported turn, as this store keeps turns."""
        if stored.turn is None or self.keep_text:
            return stored
        detection = Detection(stored.probability, True, stored.reason)
        return self._stored(stored.id, stored.time, stored.turn, self._writer.encode(stored.turn), detection)

    def _state(self, data: bytes | None, writes: dict[int, int]) -> MemoryState:
        if data is None and not writes:
            return self._writer.initial_state()
        try:
            return self._writer.state_from_bytes(data or b"", len(writes))
        except ValueError as error:
            raise ValueError(
                f"The user's memory in '{self._database.path}' must be one that this adapter made. {error} "
                "`rebuild(user)` does that, and the option `--rebuild` of `pref-lstm chat` and `app`."
            ) from None

    def _view(self, user: str) -> tuple[Sequence[TurnRecord], MemoryState]:
        _check_name(user)
        with self._database.read() as connection:
            user_id = rows.find_user(connection, user)
            turns, (data, writes) = rows.read_turns(connection, user_id), rows.read_view(connection, user_id)
        state = self._state(data, writes)
        return _records(turns, state, writes), state


def _records(turns: Iterable[StoredTurn], state: MemoryState, writes: dict[int, int]) -> list[TurnRecord]:
    slots: dict[int | None, tuple[int, float]] = {}
    if "times" in state.tensors:
        held = zip(state["times"][0].tolist(), state["strengths"][0].tolist(), strict=True)
        slots = {time: (slot, strength) for slot, (time, strength) in enumerate(held) if strength > 0}
    records = []
    for turn in turns:
        slot, strength = slots.get(writes.get(turn.id), (None, None))
        detection = Detection(turn.probability, True, turn.reason)
        time = datetime.fromisoformat(turn.time)
        records.append(TurnRecord(turn.id, time, turn.turn, detection, turn.id in writes, slot, strength))
    return records


def _check_name(user: str) -> None:
    if not isinstance(user, str):
        raise TypeError(f"`user` must be a string, got {type(user).__name__}. Pass the user's name.")
    if not 1 <= len(user) <= MAX_NAME_LENGTH:
        raise ValueError(f"`user` must have 1 to {MAX_NAME_LENGTH} characters, got {len(user)}.")
    check_text(user, "`user`")


def _check_id(turns: Sequence[StoredTurn], id: int) -> None:
    if id not in [turn.id for turn in turns]:
        raise LookupError(
            f"`id` must be the number of one of the user's {len(turns)} turns, got another one. "
            "`history(user)` lists them."
        )
