"""Verification: a receiver asks, and gets a token with the state it gave (SSF 1.0 §8.1.4)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import Field

from pipeline.transmitter.api.bearer import Manager
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import STORABLE, Request, StreamId
from pipeline.transmitter.api.paths import VERIFY
from pipeline.transmitter.api.problems import Problem, too_soon
from pipeline.transmitter.api.status import streams_router
from pipeline.transmitter.records import Stream
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.tokens import control


class VerificationRequest(Request):
    """Which stream is to be verified, and what its token shall say."""

    stream_id: StreamId
    state: Annotated[str, Field(max_length=1024, pattern=STORABLE)] | None = Field(
        None, description="Given back in the token as it is.", examples=["VGhpcyBpcyBhbiBleGFtcGxl"]
    )


@streams_router.post(
    VERIFY, status_code=204, operation_id="verify_stream", responses=refusals(400, 401, 403, 404)
)
def verify(body: VerificationRequest, desk: Manager) -> Response:
    """Send a verification token to the stream (§8.1.4.2). It is queued when the answer comes."""
    now_ms, signer = desk.now(), desk.services.signer
    with desk.begin() as conn:
        stream = desk.stream(conn, body.stream_id)
        _check(desk.settings.min_verification_s, stream, now_ms)
        signer.refresh(conn)
        token = control.verification(stream, desk.settings.issuer, signer, now_ms, body.state)
        queue.put(conn, [token], now_ms)
        streams.asked(conn, stream.stream_id, now_ms)
    desk.ring(stream.stream_id)
    return Response(status_code=204)


def _check(least_s: int, stream: Stream, now_ms: int) -> None:
    """Refuse what would not go out, and what comes too often.

    Raises:
        Problem: the stream is paused or disabled (400), or was verified a moment ago (429).
    """
    if stream.status != "enabled":
        raise Problem(400, f"the stream is {stream.status}; only an enabled one is verified", "not_enabled")
    if stream.verification_asked_at is not None:
        left_ms = stream.verification_asked_at + least_s * 1000 - now_ms
        if left_ms > 0:
            raise too_soon(f"a stream is verified once in {least_s} s at most", -(-left_ms // 1000))
