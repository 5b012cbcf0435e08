"""Events about a stream itself: verification and stream-updated (SSF 1.0 §8.1.4, §8.1.5).

A transmitter that pauses or disables a stream sends stream-updated before it stops. If the operator changes the
status, the event is queued together with the status, and is the only one that leaves the stream then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Connection, select

from pipeline.processing.messages import stable_id
from pipeline.transmitter.protocol import EVENTS, QueuedToken, SignedToken, Status, Stream
from pipeline.transmitter.store.queue.waiting import COLUMNS, put, queued
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.store.tables import QUEUED, sets
from pipeline.transmitter.tokens.claims import CONTROL_LANE, envelope, jti_of

_VERIFICATION: Final = "verification"
EVENT: Final = "stream-updated"


class TokenSigner(Protocol):
    """Signs claims, as `signing_keys.Signer` does."""

    def sign(self, claims: Mapping[str, Any], /) -> tuple[str, str]:
        """The key id and the token in compact form."""


def verification(stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, state: str | None) -> SignedToken:
    """The verification event, with the *state* of the request; `None` if the transmitter sends it unasked."""
    payload = {} if state is None else {"state": state}
    return _signed(_VERIFICATION, stream, issuer, signer, now_ms, payload)


def stream_updated(
    stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, status: Status, reason: str | None = None
) -> SignedToken:
    """The event about a changed status: queued before the stream stops, or after it is enabled again."""
    payload = {"status": status} if reason is None else {"status": status, "reason": reason}
    return _signed(EVENT, stream, issuer, signer, now_ms, payload)


def _signed(
    event: str, stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, payload: Mapping[str, Any]
) -> SignedToken:
    cause = stable_id(now_ms, *sorted(payload.items()))
    jti = jti_of(cause, stream.stream_id, event)
    subject = {"format": "opaque", "id": stream.stream_id}
    claims = envelope(issuer, stream.aud, jti, now_ms, cause, subject, {EVENTS[event].uri: dict(payload)})
    kid, jwt = signer.sign(claims)
    return SignedToken(stream.stream_id, jti, stable_id(CONTROL_LANE, stream.stream_id), event, kid, jwt, cause)


def first_due(conn: Connection, stream_id: str, now_ms: int) -> list[QueuedToken]:
    """Return the oldest waiting stream-updated if it is due: they are sent in their order."""
    oldest = select(*COLUMNS).where(sets.c.stream_id == stream_id, QUEUED, sets.c.event == EVENT)
    found = [queued(row) for row in conn.execute(oldest.order_by(sets.c.seq).limit(1))]
    return [token for token in found if token.due_at <= now_ms]


def announcements(conn: Connection, stream_id: str, after_ms: int) -> tuple[tuple[str, int], ...]:
    """Return state and time (ms) of each stream-updated made after *after_ms*, the oldest first."""
    query = (
        select(sets.c.state, sets.c.created_at)
        .where(sets.c.stream_id == stream_id, sets.c.event == EVENT, sets.c.created_at > after_ms)
        .order_by(sets.c.seq)
    )
    return tuple((row.state, row.created_at) for row in conn.execute(query))


@dataclass(frozen=True, slots=True)
class Announcer:
    """Queues stream-updated events of the transmitter *issuer*."""

    issuer: str
    signer: Signer

    def announce(self, conn: Connection, stream: Stream, status: Status, reason: str | None, now_ms: int) -> None:
        """Queue a stream-updated event: *stream* has *status*, or soon will; *conn* writes."""
        self.signer.refresh(conn)
        token = stream_updated(stream, self.issuer, self.signer, now_ms, status, reason)
        put(conn, [token], now_ms)

    def announce_changes(
        self, conn: Connection, before: Iterable[Stream], after: Iterable[Stream], now_ms: int
    ) -> None:
        """Queue stream-updated for each stream whose status differs from before: the operator changed it."""
        old_status = {stream.stream_id: stream.status for stream in before}
        for stream in after:
            if stream.status != old_status.get(stream.stream_id, stream.status):
                self.announce(conn, stream, stream.status, stream.status_reason, now_ms)
