"""`POST /acks`: revocation acknowledgements of enforcers that have no access to Kafka.

A delivered token is not yet a revoked session; only an acknowledgement confirms the revocation.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter.api.auth import Manager, ReceiverContext
from pipeline.transmitter.api.errors import STORABLE, Line, Problem, RequestBody, ResponseBody, unavailable
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import ACKS
from pipeline.transmitter.services import AckNotSentError
from pipeline.transmitter.store.tables import commands, sets
from pipeline.transmitter.store.tables import streams as stream_table
from schemas.control import RevocationAck
from schemas.fields import ProducerTime

router = APIRouter(tags=["revocations"])

STORE_WITHIN_S: Final = 10.0
"""Seconds within which an acknowledgement must be stored in Kafka; otherwise the sender has to repeat it."""
MAX_CLOCK_SKEW_MS: Final = 300_000
"""How far the clock of an enforcer may be ahead, ms."""

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=STORABLE)]


class Acknowledgement(RequestBody):
    """The outcome of a revocation.

    The revocation is named by `revocation_id`, or by the `jti` of the token about it. The other fields are
    optional; if they are present, they must match the revocation.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": [name]} for name in ("revocation_id", "jti")]})

    revocation_id: Id | None = Field(None, examples=["rev-0192f0c4"])
    jti: Id | None = Field(None, description="`jti` of the token, if the receiver knows no revocation_id.")
    outcome: Literal["revoked", "not_found", "failed"] = Field(
        description="The session was revoked; there was no such session; it could not be revoked."
    )
    occurred_at: ProducerTime | None = Field(None, description="When, in ms since the epoch; by default now.")
    session_id: Id | None = None
    tenant: Annotated[str, Field(min_length=1, max_length=64, pattern=STORABLE)] | None = None
    detail: Line | None = Field(None, description="For people.")

    @model_validator(mode="after")
    def _names_one(self) -> Acknowledgement:
        if self.revocation_id is None and self.jti is None:
            raise ValueError("revocation_id or jti: one of them must name the revocation")
        return self


class AcceptedAck(ResponseBody):
    """The acknowledgement is stored and will be processed."""

    revocation_id: str = Field(examples=["rev-0192f0c4"])


@router.post(ACKS, status_code=202, operation_id="acknowledge_revocation", responses=refusals(400, 401, 403, 404))
async def acknowledge(body: Acknowledgement, context: Manager) -> AcceptedAck:
    """Report the outcome of a revocation that a stream of the receiver got."""
    ack = await run_in_threadpool(_ack, context, body)
    try:
        async with asyncio.timeout(STORE_WITHIN_S):
            await context.services.acks(ack)
    except (AckNotSentError, TimeoutError):
        raise unavailable("the acknowledgement could not be stored now; send it again") from None
    return AcceptedAck(revocation_id=ack.revocation_id)


def _ack(context: ReceiverContext, body: Acknowledgement) -> RevocationAck:
    now_ms = context.now()
    if body.occurred_at is not None and body.occurred_at > now_ms + MAX_CLOCK_SKEW_MS:
        raise Problem(400, "occurred_at: this is in the future")
    with context.store.read() as conn:
        revocation_id = _revocation_of_receiver(conn, context.receiver.receiver_id, body)
        command = conn.execute(
            select(commands.c.tenant, commands.c.session_id).where(commands.c.revocation_id == revocation_id)
        ).one_or_none()
    if revocation_id is None or command is None:
        raise Problem(404, "no stream of this receiver got such a revocation")
    if body.session_id not in (None, command.session_id) or body.tenant not in (None, command.tenant):
        raise Problem(400, "session_id, tenant: the revocation is about another session")
    return RevocationAck(
        tenant=command.tenant,
        revocation_id=revocation_id,
        session_id=command.session_id,
        outcome=body.outcome,
        occurred_at=now_ms if body.occurred_at is None else body.occurred_at,
        enforcer=context.receiver.receiver_id,
        detail=body.detail,
    )


def _revocation_of_receiver(conn: Connection, receiver_id: str, body: Acknowledgement) -> str | None:
    """Return the id of the revocation if a token about it is or was in a stream of this receiver, else `None`.

    No receiver may acknowledge for another.
    """
    own_streams = select(stream_table.c.stream_id).where(stream_table.c.receiver_id == receiver_id)
    query = select(sets.c.revocation_id).where(sets.c.stream_id.in_(own_streams), sets.c.revocation_id.is_not(None))
    if body.revocation_id is not None:
        query = query.where(sets.c.revocation_id == body.revocation_id)
    if body.jti is not None:
        query = query.where(sets.c.jti == body.jti)
    return conn.scalars(query.limit(1)).first()
