"""What became of each command to end a session: a token taken is delivered, not done (`CommandState`).

A command is open until a receiver takes its token (`queue` notes that), and confirmed only by the word of an
enforcer. The worker sends it again under its id while nobody says anything: here that is one command.
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
"""What an enforcer's word came to; *foreign*: of another tenant or session than the command, not believed."""

_COLUMNS: Final = tuple(column.name for column in commands.columns)
_CHUNK: Final = 500
_PENDING: Final = ("open", "delivered")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it stands; times in ms. *sends* is 0 while only an answer to it has been heard.

    *deadline*: by then an enforcer's word is due. *outcome* and *enforcer* are what the last word said.
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
    """What an enforcer's word came to; *seconds* from the decision to it, where it confirms as the first."""

    what: AckOutcome
    seconds: float | None = None


def record(conn: Connection, revocations: Sequence[Mapping[str, Any]]) -> list[Recorded]:
    """Note commands, records of session-revocations in their order; the same one again changes nothing.

    A later deadline is what tells a command that was sent again from one that was read again.
    """
    return _noted(conn, revocations, _recorded)


def confirm(conn: Connection, acks: Sequence[Mapping[str, Any]]) -> list[AckResult]:
    """Note enforcers' words, records of revocation-acks in their order; the same one again changes nothing.

    A word about a command that was not read yet is kept for it: topics are not read in one order.
    """
    return _noted(conn, acks, _answered)


def overdue(conn: Connection, now_ms: int) -> int:
    """Call overdue what is open or delivered past its deadline; return how many were not called so before."""
    late = commands.c.state.in_(_PENDING) & (commands.c.deadline < now_ms)
    return conn.execute(update(commands).where(late).values(state="overdue")).rowcount


def listed(conn: Connection, state: CommandState | None = None, most: int = 1000) -> list[Command]:
    """The commands in *state*, of `None` all of them, the newest first."""
    newest = select(commands).order_by(commands.c.decided_at.desc(), commands.c.revocation_id).limit(most)
    wanted = newest if state is None else newest.where(commands.c.state == state)
    return [_command(row) for row in conn.execute(wanted)]


def purge(conn: Connection, before_ms: int, most: int = 10_000) -> int:
    """Forget at most *most* commands decided before *before_ms*, whatever became of them; return how many."""
    table = commands.c
    old = select(table.revocation_id).where(table.decided_at < before_ms).order_by(table.decided_at)
    return conn.execute(delete(commands).where(table.revocation_id.in_(old.limit(most)))).rowcount


def _noted(
    conn: Connection,
    revocations: Sequence[Mapping[str, Any]],
    note: Callable[[Mapping[str, Any], Command | None], tuple[T, Command]],
) -> list[T]:
    """Let *note* say of each what it comes to, and how its command stands then; keep the commands."""
    before = _found(conn, (this_fields["revocation_id"] for this_fields in revocations))
    now = dict(before)
    found: list[T] = []
    for fields in revocations:
        came_to, now[fields["revocation_id"]] = note(fields, now.get(fields["revocation_id"]))
        found.append(came_to)
    _keep(conn, before, now)
    return found


def _recorded(fields: Mapping[str, Any], before: Command | None) -> tuple[Recorded, Command]:
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
        at, outcome, enforcer = before.confirmed_at, before.outcome, before.enforcer
        answered = replace(new, state=before.state, confirmed_at=at, outcome=outcome, enforcer=enforcer)
        return "opened", answered
    if fields["deadline"] <= before.deadline:
        return "seen", before
    state: CommandState = "open" if before.delivered_at is None else "delivered"
    if before.state == "confirmed":
        state = "confirmed"
    return "resent", replace(before, deadline=fields["deadline"], sends=before.sends + 1, state=state)


def _answered(ack: Mapping[str, Any], before: Command | None) -> tuple[AckResult, Command]:
    """A session that is not found is as dead as one revoked; one confirmed stays so, whatever comes later."""
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
    word = {"outcome": ack["outcome"], "enforcer": ack["enforcer"]}
    if ack["outcome"] == "failed":
        return AckResult("failed"), replace(before, state="failed", **word)
    at = ack["occurred_at"]
    seconds = max(0.0, (at - before.decided_at) / 1000) if before.sends else None
    return AckResult("confirmed", seconds), replace(before, state="confirmed", confirmed_at=at, **word)


def _found(conn: Connection, ids: Iterable[str]) -> dict[str, Command]:
    asked = list(dict.fromkeys(ids))
    rows = [
        row
        for start in range(0, len(asked), _CHUNK)
        for row in conn.execute(
            select(commands)
            .where(commands.c.revocation_id.in_(asked[start : start + _CHUNK]))
            .with_for_update()  # a delivery may be noted at the same time
        )
    ]
    return {row.revocation_id: _command(row) for row in rows}


def _keep(conn: Connection, before: Mapping[str, Command], now: Mapping[str, Command]) -> None:
    """Write what is new or differs; only one transmitter writes commands at a time."""
    new = [_row(this_command) for key, this_command in now.items() if key not in before]
    if new:
        conn.execute(insert(commands), new)
    for key, command in now.items():
        if key in before and command != before[key]:
            conn.execute(update(commands).where(commands.c.revocation_id == key).values(_row(command)))


def _row(command: Command) -> dict[str, Any]:
    return {name: getattr(command, name) for name in _COLUMNS}


def _command(row: Row[Any]) -> Command:
    return Command(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a row by its columns
