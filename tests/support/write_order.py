"""A model of the order in which a lane writes, small enough to try every interleaving of two workers.

Three chunks of one partition touch two sessions, a and b. A row is the chunks folded into it, in order; the
last is what was applied. A command's id is its session and that fold: one decided on a wrong state has an
id that a run without a fault never gives. Either worker may crash, lose the partition or take it over between
any two steps; one that lost it goes on as a zombie, as nobody tells it.

The steps are those of `pipeline.kafka.partition_tasks` and `pipeline.kafka.recovery`. What is more than they do, so
that passing
says more: commands of a zombie arrive however late, and it goes on working on what it had fetched. What is
less: the chunks are of one topic, so a second reading finds them in the order of the first. `interleavings`
searches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, TypeVar

from pipeline.kafka.partition_tasks import MAX_IN_FLIGHT

CHUNKS: Final = ("a", "ab", "b")
"""Which sessions the records of each chunk are of; chunks are counted from 1."""
SESSIONS: Final = ("a", "b")
END: Final = len(CHUNKS) + 1
"""The offset after the last chunk."""
NAMES: Final = ("old", "new")

Value = TypeVar("Value")
Fold = tuple[str, ...]
"""For each session the chunks folded into its row, in order."""
NOTHING: Final[Fold] = ("",) * len(SESSIONS)


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is done in which order; as it stands, what the lanes do while no row arrives after its lease.

    *late_rows*: what was handed to the producer under the lease may reach the broker after the takeover.
    *generations*: of two rows of a session the one of the newer ownership counts, whichever came later.
    *merges*: chunks that wait are worked on together.
    *takeovers*: how often the partition is given to somebody, at most.
    """

    commands_first: bool = True
    rows_before_offsets: bool = True
    fenced: bool = True
    rows_in_order: bool = True
    skips_applied: bool = True
    restores: bool = True
    looks_before_keeping: bool = True
    late_rows: bool = False
    generations: bool = False
    merges: bool = True
    takeovers: int = 2


class Piece(NamedTuple):
    """Work up to a chunk: commands not yet at the broker, rows not yet handed over, how many are flying."""

    chunk: int
    commands: tuple[str, ...]
    rows: tuple[tuple[int, str], ...]
    flying: int


class Row(NamedTuple):
    """A row in the producer's hands: whose it is, the fold, and of which ownership and piece."""

    session: int
    fold: str
    generation: int
    chunk: int


class Worker(NamedTuple):
    """A worker's process: its stage, its lane, what its producer holds, and whether others wrote since."""

    generation: int
    memory: Fold
    next: int
    pieces: tuple[Piece, ...]
    acknowledged: int
    flight: tuple[Row, ...]
    overwritten: bool = False


class State(NamedTuple):
    """The brokers, and both workers; `None` is a worker that is down. *written* is by which ownership."""

    commands: frozenset[str]
    rows: Fold
    written: tuple[int, ...]
    committed: int
    generation: int
    owner: int
    workers: tuple[Worker | None, Worker | None]


Step = tuple[str, State]
START: Final = State(frozenset(), NOTHING, (0,) * len(SESSIONS), 1, 0, -1, (None, None))


@cache
def fold(memory: Fold, chunk: int, *, skips_applied: bool = True) -> tuple[Fold, tuple[str, ...], list[int]]:
    """Return the state with *chunk* in it, the commands that follow, and the sessions whose rows changed."""
    after = list(memory)
    commands, changed = [], []
    for name in CHUNKS[chunk - 1]:
        session = SESSIONS.index(name)
        if skips_applied and after[session] and chunk <= int(after[session][-1]):
            continue
        after[session] += str(chunk)
        commands.append(name + after[session])
        changed.append(session)
    return tuple(after), tuple(commands), changed


@cache
def finish(protocol: Protocol, rows: Fold, offset: int) -> tuple[Fold, frozenset[str]]:
    """Return where a worker ends, and what it commands, that recovers from this and is not with_noise."""
    memory, commands = rows if protocol.restores else NOTHING, frozenset[str]()
    for chunk in range(offset, END):
        memory, more, _ = fold(memory, chunk, skips_applied=protocol.skips_applied)
        commands |= set(more)
    return memory, commands


FAULTLESS, COMMANDS = finish(Protocol(), NOTHING, 1)


def broken(protocol: Protocol, state: State) -> str | None:
    """Say which promise is broken, should a worker recover from this state now; `None` if none is."""
    memory, more = finish(protocol, state.rows, state.committed)
    if memory != FAULTLESS:
        return f"who recovers now ends with {received(memory)}, not {received(FAULTLESS)}"
    if strange := (state.commands | more) - COMMANDS:
        return f"a run without a fault never commands {', '.join(sorted(strange))}"
    if lost := COMMANDS - (state.commands | more):
        return f"command {', '.join(sorted(lost))} is lost"
    owner = state.workers[state.owner] if state.owner >= 0 else None
    if owner is not None and owner.acknowledged == END and owner.memory != FAULTLESS:
        return f"the owner has done all and holds {received(owner.memory)}, not {received(FAULTLESS)}"
    return None


def received(rows: Fold) -> str:
    """Say what rows hold."""
    return " ".join(f"{name}={row or '–'}" for name, row in zip(SESSIONS, rows, strict=True))


def steps(protocol: Protocol, state: State) -> Iterator[Step]:
    """Yield everything that can happen next, and what comes of it."""
    for number, worker in enumerate(state.workers):
        if number != state.owner and number <= state.generation < protocol.takeovers:
            yield _take_over(protocol, state, number)
        if worker is not None:
            yield f"{NAMES[number]} crashes", _with(state, number, None)
            yield from _work(protocol, state, number, worker)
            for at, piece in enumerate(worker.pieces):
                yield from _command(protocol, state, number, worker, at, piece)
                yield from _hand_over(protocol, state, number, worker, at, piece)
            yield from _land(protocol, state, number, worker)
            yield from _commit(protocol, state, number, worker)


def _with(state: State, number: int, worker: Worker | None) -> State:
    if worker is not None and number != state.owner and worker.acknowledged:
        worker = worker._replace(acknowledged=0)  # it cannot commit any more: what it would is all the same
    old, new = state.workers
    workers = (worker, new) if number == 0 else (old, worker)
    owner = -1 if worker is None and number == state.owner else state.owner
    return state._replace(workers=workers, owner=owner)


def _take_over(protocol: Protocol, state: State, number: int) -> Step:
    generation, before = state.generation + 1, state.workers[number]
    other = state.workers[1 - number]
    kept = before is not None and _may_keep(protocol, before)
    memory = before.memory if before is not None and kept else state.rows if protocol.restores else NOTHING
    flight = before.flight if before is not None and protocol.late_rows else ()
    worker = Worker(generation, memory, state.committed, (), state.committed, flight)
    what = f"keeps {received(memory)}" if kept else f"reads {received(memory)}"
    given = state._replace(generation=generation, owner=number)
    if other is not None:
        given = _with(given, 1 - number, other._replace(flight=other.flight if protocol.late_rows else ()))
    return f"{NAMES[number]} takes over, {what}, goes on at chunk {state.committed}", _with(given, number, worker)


def _may_keep(protocol: Protocol, worker: Worker) -> bool:
    settled = not (worker.pieces or worker.flight)
    return settled and not (worker.overwritten and protocol.looks_before_keeping)


def _work(protocol: Protocol, state: State, number: int, worker: Worker) -> Iterator[Step]:
    """Take one chunk, or all that wait: what is worked on together is written together, a row once."""
    if len(worker.pieces) >= MAX_IN_FLIGHT:
        return
    memory, touched = worker.memory, set[int]()
    commands: tuple[str, ...] = ()
    for chunk in range(worker.next, END if protocol.merges else min(END, worker.next + 1)):
        memory, more, changed = fold(memory, chunk, skips_applied=protocol.skips_applied)
        commands, touched = (*commands, *more), touched | set(changed)
        rows = tuple((session, memory[session]) for session in sorted(touched))
        pieces = (*worker.pieces, Piece(chunk, commands, rows, 0))
        after = worker._replace(memory=memory, next=chunk + 1, pieces=pieces)
        which = f"chunk {chunk}" if chunk == worker.next else f"chunks {worker.next} to {chunk}"
        yield f"{NAMES[number]} works on {which}", _settled(protocol, state, number, after)


def _command(protocol: Protocol, state: State, number: int, worker: Worker, at: int, piece: Piece) -> Iterator[Step]:
    for command in piece.commands:
        left = tuple(other for other in piece.commands if other != command)
        after = _at(worker, at, piece._replace(commands=left))
        received_about = state._replace(commands=state.commands | {command})
        yield f"{NAMES[number]} commands {command}", _settled(protocol, received_about, number, after)


def _hand_over(protocol: Protocol, state: State, number: int, worker: Worker, at: int, piece: Piece) -> Iterator[Step]:
    may = not protocol.fenced or number == state.owner
    its_turn = not protocol.rows_in_order or at == 0
    if piece.rows and may and its_turn and not (protocol.commands_first and piece.commands):
        (session, row), *left = piece.rows
        after = _at(worker, at, piece._replace(rows=tuple(left), flying=piece.flying + 1))
        flying = (*worker.flight, Row(session, row, worker.generation, piece.chunk))
        what = f"{NAMES[number]} hands over row {SESSIONS[session]}={row}"
        yield what, _with(state, number, after._replace(flight=flying))


def _land(protocol: Protocol, state: State, number: int, worker: Worker) -> Iterator[Step]:
    if not worker.flight:
        return
    row, *left = worker.flight
    after = worker._replace(flight=tuple(left))
    for at, piece in enumerate(worker.pieces):
        if (worker.generation, piece.chunk) == (row.generation, row.chunk):
            after = _at(after, at, piece._replace(flying=piece.flying - 1))
    what = f"row {SESSIONS[row.session]}={row.fold} of {NAMES[number]} reaches the changelog"
    yield what, _settled(protocol, _append(protocol, state, 1 - number, row), number, after)


def _append(protocol: Protocol, state: State, other: int, row: Row) -> State:
    neighbour = state.workers[other]
    if neighbour is not None:
        state = _with(state, other, neighbour._replace(overwritten=True))
    if not protocol.generations:
        return state._replace(rows=_put(state.rows, row.session, row.fold))
    if row.generation < state.written[row.session]:
        return state
    written = _put(state.written, row.session, row.generation)
    return state._replace(rows=_put(state.rows, row.session, row.fold), written=written)


def _put(values: tuple[Value, ...], at: int, value: Value) -> tuple[Value, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _commit(protocol: Protocol, state: State, number: int, worker: Worker) -> Iterator[Step]:
    # The coordinator takes offsets of the newest generation only.
    if number == state.owner and worker.acknowledged > state.committed:
        after = state._replace(committed=worker.acknowledged)
        yield f"{NAMES[number]} commits up to chunk {worker.acknowledged - 1}", after


def _at(worker: Worker, at: int, piece: Piece) -> Worker:
    return worker._replace(pieces=_put(worker.pieces, at, piece))


def _settled(protocol: Protocol, state: State, number: int, worker: Worker) -> State:
    """Acknowledge what is done, first chunks first; a wrong protocol does so before the rows are written."""
    acknowledged, pieces = worker.acknowledged, worker.pieces
    for piece in worker.pieces:
        rows_done = not (piece.rows or piece.flying)
        if piece.commands or (protocol.rows_before_offsets and not rows_done):
            break
        acknowledged = max(acknowledged, piece.chunk + 1)
    while pieces and not (pieces[0].commands or pieces[0].rows or pieces[0].flying):
        pieces = pieces[1:]
    return _with(state, number, worker._replace(acknowledged=acknowledged, pieces=pieces))
