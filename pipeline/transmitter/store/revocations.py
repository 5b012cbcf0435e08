"""Revocation commands and their state: a token that a receiver took is delivered, not confirmed (`CommandState`).

A command is open until a receiver takes its token (`queue` records that), and confirmed only by an enforcer's
acknowledgement. While there is none, the worker sends the command again with the same id: here that is one
command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Row, delete, insert, select, update

from pipeline.transmitter.protocol import CommandState
from pipeline.transmitter.store.tables import commands

Recorded = Literal["opened", "resent", "seen"]
AckOutcome = Literal["confirmed", "failed", "seen", "foreign"]
"""What an acknowledgement changed; *foreign*: it names another tenant or session than the command, and is ignored."""

_COLUMNS: Final = tuple(column.name for column in commands.columns)
_CHUNK_SIZE: Final = 500
_PENDING: Final = ("open", "delivered")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as stored; times in ms. *sends* is 0 while only an acknowledgement of it has been read.

    *deadline* is when the acknowledgement is due. *outcome* and *enforcer* are those of the last
    acknowledgement.
    """

    revocation_id: str
    tenant: str
    session_id: str
    principal_id: str | None
    decision_id: str
    decided_at: int
    deadline: int
    sends: int
    state: CommandState
    delivered_at: int | None = None
    confirmed_at: int | None = None
    outcome: str | None = None
    enforcer: str | None = None


@dataclass(frozen=True, slots=True)
class AckResult:
    """What an acknowledgement changed; *seconds* from the decision to it, if it is the one that confirms."""

    what: AckOutcome
    seconds: float | None = None


def record(conn: Connection, revocations: Sequence[Mapping[str, Any]]) -> list[Recorded]:
    """Record commands, records of session-revocations in their order; the same one again changes nothing.

    A later deadline distinguishes a command that was sent again from one that was read again.
    """
    return _apply(conn, revocations, _apply_command)


def confirm(conn: Connection, acks: Sequence[Mapping[str, Any]]) -> list[AckResult]:
    """Record acknowledgements, records of revocation-acks in their order; the same one again changes nothing.

    One that is read before its command is stored for it, because topics are not read in a common order.
    """
    return _apply(conn, acks, _apply_ack)


def overdue(conn: Connection, now_ms: int) -> int:
    """Mark open and delivered commands past their deadline as overdue; return how many are new."""
    late = commands.c.state.in_(_PENDING) & (commands.c.deadline < now_ms)
    return conn.execute(update(commands).where(late).values(state="overdue")).rowcount


def list_commands(conn: Connection, state: CommandState | None = None, limit: int = 1000) -> list[Command]:
    """The commands in *state*, or all of them, the newest first."""
    newest = select(commands).order_by(commands.c.decided_at.desc(), commands.c.revocation_id).limit(limit)
    wanted = newest if state is None else newest.where(commands.c.state == state)
    return [_command(row) for row in conn.execute(wanted)]


def purge(conn: Connection, before_ms: int, limit: int = 10_000) -> int:
    """Delete at most *limit* commands decided before *before_ms*, in any state; return how many."""
    table = commands.c
    old = select(table.revocation_id).where(table.decided_at < before_ms).order_by(table.decided_at)
    return conn.execute(delete(commands).where(table.revocation_id.in_(old.limit(limit)))).rowcount


def _apply(
    conn: Connection,
    revocations: Sequence[Mapping[str, Any]],
    apply: Callable[[Mapping[str, Any], Command | None], tuple[T, Command]],
) -> list[T]:
    """Apply *apply* to each record and the command before it; write the changed commands."""
    before = _lock_commands(conn, (record["revocation_id"] for record in revocations))
    after = dict(before)
    results: list[T] = []
    for fields in revocations:
        result, after[fields["revocation_id"]] = apply(fields, after.get(fields["revocation_id"]))
        results.append(result)
    _write(conn, before, after)
    return results


def _apply_command(fields: Mapping[str, Any], before: Command | None) -> tuple[Recorded, Command]:
    if before is None or not before.sends:
        new = Command(
            revocation_id=fields["revocation_id"],
            tenant=fields["tenant"],
            session_id=fields["session_id"],
            principal_id=fields["principal_id"],
            decision_id=fields["decision_id"],
            decided_at=fields["decided_at"],
            deadline=fields["deadline"],
            sends=1,
            state="open",
        )
        if before is None or (before.tenant, before.session_id) != (new.tenant, new.session_id):
            return "opened", new
        known = replace(
            new,
            state=before.state,
            confirmed_at=before.confirmed_at,
            outcome=before.outcome,
            enforcer=before.enforcer,
        )
        return "opened", known
    if fields["deadline"] <= before.deadline:
        return "seen", before
    state: CommandState = "open" if before.delivered_at is None else "delivered"
    if before.state == "confirmed":
        state = "confirmed"
    return "resent", replace(before, deadline=fields["deadline"], sends=before.sends + 1, state=state)


def _apply_ack(ack: Mapping[str, Any], before: Command | None) -> tuple[AckResult, Command]:
    """An unknown session is as dead as a revoked one; a confirmed command stays confirmed, whatever comes later."""
    if before is None:
        at = ack["occurred_at"]
        before = Command(
            revocation_id=ack["revocation_id"],
            tenant=ack["tenant"],
            session_id=ack["session_id"],
            principal_id=None,
            decision_id="",
            decided_at=at,
            deadline=at,
            sends=0,
            state="open",
        )
    if (ack["tenant"], ack["session_id"]) != (before.tenant, before.session_id):
        return AckResult("foreign"), before
    if before.state == "confirmed":
        return AckResult("seen"), before
    fields_of_ack = {"outcome": ack["outcome"], "enforcer": ack["enforcer"]}
    if ack["outcome"] == "failed":
        return AckResult("failed"), replace(before, state="failed", **fields_of_ack)
    at = ack["occurred_at"]
    seconds = max(0.0, (at - before.decided_at) / 1000) if before.sends else None
    return AckResult("confirmed", seconds), replace(before, state="confirmed", confirmed_at=at, **fields_of_ack)


def _lock_commands(conn: Connection, ids: Iterable[str]) -> dict[str, Command]:
    unique_ids = list(dict.fromkeys(ids))
    rows = [
        row
        for start in range(0, len(unique_ids), _CHUNK_SIZE)
        for row in conn.execute(
            select(commands)
            .where(commands.c.revocation_id.in_(unique_ids[start : start + _CHUNK_SIZE]))
            .with_for_update()  # a delivery may be recorded at the same time
        )
    ]
    return {row.revocation_id: _command(row) for row in rows}


def _write(conn: Connection, before: Mapping[str, Command], after: Mapping[str, Command]) -> None:
    """Write new and changed commands; only one transmitter writes commands at a time."""
    new = [_row(command) for key, command in after.items() if key not in before]
    if new:
        conn.execute(insert(commands), new)
    for key, command in after.items():
        if key in before and command != before[key]:
            conn.execute(update(commands).where(commands.c.revocation_id == key).values(_row(command)))


def _row(command: Command) -> dict[str, Any]:
    return {name: getattr(command, name) for name in _COLUMNS}


def _command(row: Row[Any]) -> Command:
    return Command(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a row by its columns
