"""Sample tokens: one of each event type that a stream gets, to test a receiver before real events occur.

They are real tokens, and a receiver acts on them: use a principal made for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.processing.messages import stable_id
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.protocol import SecurityEvent, Subject
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.tokens.builder import TokenBuilder
from pipeline.transmitter.tokens.events import LANGUAGE, reason
from pipeline.transmitter.tokens.subjects import Subjects

TEXT: Final = "This is a rehearsal: nothing happened."

PAYLOADS: Final[Mapping[str, Mapping[str, Any]]] = {
    "session-revoked": {},
    "risk-level-change": {"current_level": "LOW", "previous_level": "MEDIUM"},
    "device-compliance-change": {"previous_status": "not-compliant", "current_status": "compliant"},
    "credential-change": {"credential_type": "app", "change_type": "update"},
}
"""The fields of each event type that `claims` does not add, with the values that do the least."""


class NoSampleError(LookupError):
    """There is no such stream, or it would get no sample; the message says why."""

    def __str__(self) -> str:
        return str(self.args[0])


_WHY: Final[Mapping[str, str]] = {
    "status": "it is disabled",
    "tenant": "it belongs to another tenant, or with SESSION_RISK_TENANCY to none",
    "event": "it requested no supported event",
    "unnamed": "the principal has no identifier there; see SESSION_RISK_TRANSMITTER_SUBJECTS_FILE",
    "excluded": "its receiver removed this subject",
    "gone": "it was removed meanwhile",
}


def open_builder(store: Store, settings: TransmitterSettings, now_ms: int, *, tenancy: bool) -> TokenBuilder:
    """Return a token builder for *store* with these settings.

    Raises `SubjectsError` or `StoreError`.
    """
    signer = open_signer(store, settings.alg, settings.rsa_bits, now_ms)
    subjects = Subjects.load(settings.subjects_file)
    return TokenBuilder(store, signer, subjects, settings.issuer, tenancy=tenancy)


def queue_samples(builder: TokenBuilder, stream_id: str, subject: Subject, now_ms: int) -> list[str]:
    """Queue one token of each event type that the stream gets, about *subject*; return the event names.

    Raises `NoSampleError` if there is no such stream, or it would get none of them.
    """
    reasons = {"initiating_entity": "admin", "reason_admin": reason(TEXT), "reason_user": {LANGUAGE: TEXT}}
    cause = stable_id("rehearsal", now_ms)
    security_events = [
        SecurityEvent(event, cause, subject, now_ms, {**payload, **reasons}) for event, payload in PAYLOADS.items()
    ]
    result = builder.build_stream_events(stream_id, security_events, now_ms)
    if not result.queued:
        why = next(
            (text for skip_reason, text in _WHY.items() if result.skipped[skip_reason]), "there is no such stream"
        )
        raise NoSampleError(f"{stream_id} gets no token: {why}")
    return [event for event in PAYLOADS if result.queued[event]]
