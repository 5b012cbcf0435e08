"""Verification: a receiver asks, and gets a token with the state it gave (SSF 1.0 §8.1.4)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field

from pipeline.transmitter import control, queue, streams
from pipeline.transmitter.api.bearer import Having, Manager
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import Request, StreamId, storable
from pipeline.transmitter.api.ownership import owned
from pipeline.transmitter.api.paths import VERIFY
from pipeline.transmitter.api.problems import Problem, too_soon
from pipeline.transmitter.records import Stream
from pipeline.transmitter.services import Services

router = APIRouter(tags=["streams"])


class VerificationRequest(Request):
    """Which stream is to be verified, and what its token shall say."""

    stream_id: StreamId
    state: Annotated[str, Field(max_length=1024), AfterValidator(storable)] | None = Field(
        None, description="Given back in the token as it is.", examples=["VGhpcyBpcyBhbiBleGFtcGxl"]
    )


@router.post(VERIFY, status_code=204, operation_id="verify_stream", responses=refusals(400, 401, 403, 404))
def verify(body: VerificationRequest, caller: Manager, services: Having) -> Response:
    """Send a verification token to the stream (§8.1.4.2). It is queued when the answer comes."""
    now_ms = services.clock()
    with services.store.begin() as conn:
        stream = owned(conn, services.store.sealer, caller, body.stream_id)
        _check(services, stream, now_ms)
        services.signer.refresh(conn)
        token = control.verification(
            stream, services.settings.issuer, services.signer, now_ms, body.state
        )
        queue.put(conn, [token], now_ms)
        streams.asked(conn, stream.stream_id, now_ms)
    services.bell.ring([stream.stream_id])
    return Response(status_code=204)


def _check(services: Services, stream: Stream, now_ms: int) -> None:
    """Refuse what would not go out, and what comes too often.

    Raises:
        Problem: the stream is paused or disabled (400), or was verified a moment ago (429).
    """
    if stream.status != "enabled":
        raise Problem(400, f"the stream is {stream.status}; only an enabled one is verified", "not_enabled")
    least = services.settings.min_verification_s
    if stream.verification_asked_at is not None:
        left_ms = stream.verification_asked_at + least * 1000 - now_ms
        if left_ms > 0:
            raise too_soon(f"a stream is verified once in {least} s at most", -(-left_ms // 1000))
