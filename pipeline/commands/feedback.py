"""`session-risk feedback`: a verdict on a decision or a session, by way of `session-feedback`."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any, get_args

import click
from pydantic import ValidationError
from pydantic_core import from_json

from pipeline.commands.model import user
from pipeline.console import as_json, print_json, working
from pipeline.kafka.client import matching, writing
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
@click.option("--note", help="Why, in a sentence: it stands in the suppression.")
@click.option("--expires", help="Of a false_positive: until when (8h, 2d, 2026-03-02T08:00); else as long as may be.")
@click.option("--by", help="In whose name; else the user of this shell.")
@click.option("--tenant", help="Take the id for a session of this tenant, though nothing was decided on it.")
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
    """Give a VERDICT on a decision, or on a session's newest one.

    false_positive: its causes keep quiet for this principal until --expires, within what the policy allows;
    benign_true_positive: right, but harmless, and told again the next time; true_positive, unsure: labels;
    confirmed_compromised: the session ends at once, and what was born of it. Exit code 1 if there is none.
    """
    now_ms = int(time() * 1000)
    until = _until(expires, verdict, now_ms)
    connection = Connection.of(load())
    decision = asyncio.run(_find(connection, decision_or_session, tenant))
    session_feedback = _told(
        tenant=decision["tenant"],
        decision_id=decision.get("decision_id"),
        session_id=decision["session_id"],
        verdict=verdict,
        reported_by=user() if by is None else by,
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
        raise click.UsageError(f"only a false_positive expires, a {verdict} does not: leave out --expires")
    try:
        until = moment_ms(expires, now_ms, ahead=True)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    if until <= now_ms:
        raise click.BadParameter(f"{expires} is over already", param_hint="--expires")
    return until


async def _find(connection: Connection, name: str, tenant: str | None) -> dict[str, Any]:
    """The decision *name*, else the newest on the session of that name, of *tenant* if one is named."""
    with working(f"reading {SESSION_RISK}"):
        values = [from_json(value) for value in await matching(connection, SESSION_RISK, name)]
    for member in ("decision_id", "session_id"):
        found = [details for details in values if details[member] == name and tenant in (None, details["tenant"])]
        if len({details["tenant"] for details in found}) > 1:
            raise click.UsageError(f"several tenants have a session {name}: name one with --tenant")
        if found:
            return dict(found[-1])
    if tenant is not None:
        return {"tenant": tenant, "session_id": name}
    raise UnknownDecisionError(
        f"{SESSION_RISK} has no decision {name}, nor one on a session of that name; where nothing was "
        "decided on a session, name its --tenant"
    )


def _causes(decision: dict[str, Any]) -> list[str] | None:
    """The detections that counted in *decision*; nothing of a session that none was made on."""
    if "reasons" not in decision:
        return None
    return [item["detection"] for item in decision["reasons"] if item["contribution"] > 0]


def _told(**members: Any) -> SessionFeedback:
    """The verdict as a record; `UsageError` says which member is not as the contract wants it."""
    try:
        return SessionFeedback.model_validate(members)
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"{first['loc'][0]}: {first['msg']}") from error


async def _send(connection: Connection, verdict: SessionFeedback) -> None:
    async with writing(connection) as writer:
        message = Message(SESSION_FEEDBACK, verdict.session_id.encode(), encode(verdict))
        await writer.send(message, tenants=[verdict.tenant.encode()])
        await writer.flush()
