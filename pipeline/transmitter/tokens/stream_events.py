"""Words of a stream about itself that go out although it is paused or disabled: `stream-updated`.

SSF 1.0 §8.1.5: a transmitter that pauses or disables a stream says so before it stops. Where its operator
does, the word is put into the queue together with the status, and is all that leaves the stream then.
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
_STREAM_UPDATED: Final = "stream-updated"


class TokenSigner(Protocol):
    """What signs: `signing.Signer` does."""

    def sign(self, claims: Mapping[str, Any], /) -> tuple[str, str]:
        """The id of the key, and the token in compact form."""


def verification(stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, state: str | None) -> SignedToken:
    """The answer to a request for verification, with its *state*; of `None` the transmitter asks itself."""
    payload = {} if state is None else {"state": state}
    return _signed(_VERIFICATION, stream, issuer, signer, now_ms, payload)


def stream_updated(
    stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, status: Status, reason: str | None = None
) -> SignedToken:
    """The word that the transmitter has changed the status: queued before it stops, or after it goes on."""
    payload = {"status": status} if reason is None else {"status": status, "reason": reason}
    return _signed(_STREAM_UPDATED, stream, issuer, signer, now_ms, payload)


def _signed(
    event: str, stream: Stream, issuer: str, signer: TokenSigner, now_ms: int, payload: Mapping[str, Any]
) -> SignedToken:
    cause = stable_id(now_ms, *sorted(payload.items()))
    jti = jti_of(cause, stream.stream_id, event)
    subject = {"format": "opaque", "id": stream.stream_id}
    claims = envelope(issuer, stream.aud, jti, now_ms, cause, subject, {EVENTS[event].uri: dict(payload)})
    kid, jwt = signer.sign(claims)
    return SignedToken(stream.stream_id, jti, stable_id(CONTROL_LANE, stream.stream_id), event, kid, jwt, cause)


EVENT: Final = "stream-updated"


def first(conn: Connection, stream_id: str, now_ms: int) -> list[QueuedToken]:
    """Return the oldest announcement of a stream that waits, if it is due: they go out in their order."""
    oldest = select(*COLUMNS).where(sets.c.stream_id == stream_id, QUEUED, sets.c.event == EVENT)
    found = [queued(row) for row in conn.execute(oldest.order_by(sets.c.seq).limit(1))]
    return [this_queued for this_queued in found if this_queued.due_at <= now_ms]


def announcements(conn: Connection, stream_id: str, after_ms: int) -> tuple[tuple[str, int], ...]:
    """Return state and time (ms) of each announcement made after *after_ms*, the oldest first."""
    made = (
        select(sets.c.state, sets.c.created_at)
        .where(sets.c.stream_id == stream_id, sets.c.event == EVENT, sets.c.created_at > after_ms)
        .order_by(sets.c.seq)
    )
    return tuple((row.state, row.created_at) for row in conn.execute(made))


@dataclass(frozen=True, slots=True)
class Announcer:
    """Speaks as the transmitter *issuer* of the status of streams."""

    issuer: str
    signer: Signer

    def say(self, conn: Connection, stream: Stream, status: Status, reason: str | None, now_ms: int) -> None:
        """Put into the queue of *stream* that it has *status*, or soon will; *conn* writes."""
        self.signer.refresh(conn)
        word = stream_updated(stream, self.issuer, self.signer, now_ms, status, reason)
        put(conn, [word], now_ms)

    def changed(self, conn: Connection, before: Iterable[Stream], after: Iterable[Stream], now_ms: int) -> None:
        """Say it of the streams whose status is another after than before: their operator changed it."""
        was = {this_stream.stream_id: this_stream.status for this_stream in before}
        for stream in after:
            if stream.status != was.get(stream.stream_id, stream.status):
                self.say(conn, stream, stream.status, stream.status_reason, now_ms)
