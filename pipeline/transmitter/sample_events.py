"""One token of every event a stream takes, on demand: whether a receiver understands them, before it matters.

They are real tokens, and a receiver acts on them: the principal they name should be one made for it.
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
"""The members of each event that are its own and not `claims`, saying what does least."""


class NoSampleError(LookupError):
    """There is no such stream, or nothing it would take; the message says why."""

    def __str__(self) -> str:
        return str(self.args[0])


_WHY: Final[Mapping[str, str]] = {
    "status": "it is disabled",
    "tenant": "it is of another tenant, or with SESSION_RISK_TENANCY of none",
    "event": "it asked for no event there is",
    "unnamed": "the principal has no name there; see SESSION_RISK_TRANSMITTER_SUBJECTS_FILE",
    "excluded": "its receiver took this subject out",
    "gone": "it went meanwhile",
}


def statements(store: Store, settings: TransmitterSettings, now_ms: int, *, tenancy: bool) -> TokenBuilder:
    """What says things in *store* as *settings* and *tenancy* have it.

    Raises `SubjectsError` or `StoreError`.
    """
    signer = open_signer(store, settings.alg, settings.rsa_bits, now_ms)
    subjects = Subjects.load(settings.subjects_file)
    return TokenBuilder(store, signer, subjects, settings.issuer, tenancy=tenancy)


def rehearse(made: TokenBuilder, stream_id: str, subject: Subject, now_ms: int) -> list[str]:
    """Queue a token of each event that the stream takes, about *who*; return the events' names.

    Raises `NoSampleError` where there is no such stream, or it would take none of them.
    """
    fields = {"initiating_entity": "admin", "reason_admin": reason(TEXT), "reason_user": {LANGUAGE: TEXT}}
    cause = stable_id("rehearsal", now_ms)
    happenings = [
        SecurityEvent(event, cause, subject, now_ms, {**payload, **fields}) for event, payload in PAYLOADS.items()
    ]
    taken = made.build_stream_events(stream_id, happenings, now_ms)
    if not taken.queued:
        why = next((text for reason_, text in _WHY.items() if taken.unsent[reason_]), "there is no such stream")
        raise NoSampleError(f"{stream_id} is told nothing: {why}")
    return [event for event in PAYLOADS if taken.queued[event]]
