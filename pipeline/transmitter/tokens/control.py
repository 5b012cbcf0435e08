"""Tokens about a stream itself: verification and stream-updated (SSF 1.0 §8.1.4.1, §8.1.5).

Their subject is the stream, and they are sent whether the stream asked for such events or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from pipeline.moment import stable_id
from pipeline.transmitter.records import Signed, Stream
from pipeline.transmitter.tokens.claims import CONTROL_LANE, envelope, jti_of
from pipeline.transmitter.vocabulary import EVENTS, Status

_VERIFICATION: Final = "verification"
_STREAM_UPDATED: Final = "stream-updated"


class Signs(Protocol):
    """What signs: `signing.Signer` does."""

    def sign(self, claims: Mapping[str, Any], /) -> tuple[str, str]:
        """The id of the key, and the token in compact form."""


def verification(stream: Stream, issuer: str, signer: Signs, now_ms: int, state: str | None) -> Signed:
    """The answer to a request for verification, with its *state*; of `None` the transmitter asks itself."""
    payload = {} if state is None else {"state": state}
    return _signed(_VERIFICATION, stream, issuer, signer, now_ms, payload)


def stream_updated(
    stream: Stream, issuer: str, signer: Signs, now_ms: int, status: Status, reason: str | None = None
) -> Signed:
    """The word that the transmitter has changed the status: queued before it stops, or after it goes on."""
    payload = {"status": status} if reason is None else {"status": status, "reason": reason}
    return _signed(_STREAM_UPDATED, stream, issuer, signer, now_ms, payload)


def _signed(
    event: str, stream: Stream, issuer: str, signer: Signs, now_ms: int, payload: Mapping[str, Any]
) -> Signed:
    cause = stable_id(now_ms, *sorted(payload.items()))
    jti = jti_of(cause, stream.stream_id, event)
    subject = {"format": "opaque", "id": stream.stream_id}
    claims = envelope(issuer, stream.aud, jti, now_ms, cause, subject, {EVENTS[event].uri: dict(payload)})
    kid, jwt = signer.sign(claims)
    return Signed(stream.stream_id, jti, stable_id(CONTROL_LANE, stream.stream_id), event, kid, jwt, cause)
