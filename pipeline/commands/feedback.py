"""`session-risk feedback`: an analyst's verdict on a decision or session, sent to `session-feedback`."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any, get_args

import click
from pydantic import ValidationError
from pydantic_core import from_json

from pipeline.console import as_json, current_user, print_json, working
from pipeline.kafka.client import open_writer, values_containing
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.decision_log import UnknownDecisionError
from pipeline.processing.processor import Message
from pipeline.settings.loading import load
from pipeline.times import moment_ms
from schemas.control import SessionFeedback
from schemas.decode import encode
from schemas.topics import SESSION_FEEDBACK, SESSION_RISK

VERDICTS = get_args(SessionFeedback.model_fields["verdict"].annotation)


@click.command("feedback", short_help="Give a verdict on a decision or a session.")
@click.argument("decision_or_session")
@click.argument("verdict", type=click.Choice(VERDICTS))
@click.option("--note", help="The reason, in a sentence; the suppression shows it.")
@click.option("--expires", help="End of a false_positive (8h, 2d, 2026-03-02T08:00); else the policy's maximum.")
@click.option("--by", help="Name of the analyst; else the user of this shell.")
@click.option("--tenant", help="Tenant of the session; needed if nothing was decided on it.")
@as_json
def command(
    *,
    decision_or_session: str,
    verdict: str,
    note: str | None,
    expires: str | None,
    by: str | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Give a VERDICT on a decision, or on the newest decision of a session.

    false_positive suppresses its detections for this principal until --expires, within the policy's limits;
    benign_true_positive: correct but harmless, is reported again next time; true_positive and unsure: labels only;
    confirmed_compromised revokes the session and its children at once; it also approves a decision whose action is
    hold_for_approval. Exit code 1 if there is no such decision.
    """
    now_ms = int(time() * 1000)
    until = _until(expires, verdict, now_ms)
    connection = Connection.of(load())
    decision = asyncio.run(_find(connection, decision_or_session, tenant))
    session_feedback = _record(
        tenant=decision["tenant"],
        decision_id=decision.get("decision_id"),
        session_id=decision["session_id"],
        verdict=verdict,
        reported_by=current_user() if by is None else by,
        occurred_at=now_ms,
        note=note,
        detections=_causes(decision) if verdict == "false_positive" else None,
        expires_at=until,
    )
    asyncio.run(_send(connection, session_feedback))
    if as_json:
        print_json(from_json(encode(session_feedback)))
    else:
        about = (
            f"decision {session_feedback.decision_id}" if session_feedback.decision_id else "no decision in particular"
        )
        click.echo(f"{verdict} on session {session_feedback.session_id}, {about}, by {session_feedback.reported_by}")


def _until(expires: str | None, verdict: str, now_ms: int) -> int | None:
    if expires is None:
        return None
    if verdict != "false_positive":
        raise click.UsageError(f"only a false_positive expires, not a {verdict}: leave out --expires")
    try:
        until = moment_ms(expires, now_ms, ahead=True)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    if until <= now_ms:
        raise click.BadParameter(f"{expires} is in the past", param_hint="--expires")
    return until


async def _find(connection: Connection, name: str, tenant: str | None) -> dict[str, Any]:
    """The decision *name*, else the newest one on the session *name*, of *tenant* if that is given."""
    with working(f"reading {SESSION_RISK}"):
        values = [from_json(value) for value in await values_containing(connection, SESSION_RISK, name)]
    for field in ("decision_id", "session_id"):
        found = [decision for decision in values if decision[field] == name and tenant in (None, decision["tenant"])]
        if len({decision["tenant"] for decision in found}) > 1:
            raise click.UsageError(f"several tenants have a session {name}: choose one with --tenant")
        if found:
            return dict(found[-1])
    if tenant is not None:
        return {"tenant": tenant, "session_id": name}
    raise UnknownDecisionError(
        f"{SESSION_RISK} has no decision {name} and none on a session of that id; if nothing was decided on the "
        "session, give its --tenant"
    )


def _causes(decision: dict[str, Any]) -> list[str] | None:
    """The detections that contributed to *decision*; None if there is only a session."""
    if "reasons" not in decision:
        return None
    return [item["detection"] for item in decision["reasons"] if item["contribution"] > 0]


def _record(**fields: Any) -> SessionFeedback:
    """The verdict as a record; `UsageError` names the field that violates the schema."""
    try:
        return SessionFeedback.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"{first['loc'][0]}: {first['msg']}") from error


async def _send(connection: Connection, verdict: SessionFeedback) -> None:
    async with open_writer(connection) as writer:
        message = Message(SESSION_FEEDBACK, verdict.session_id.encode(), encode(verdict))
        await writer.send(message, tenants=[verdict.tenant.encode()])
        await writer.flush()
