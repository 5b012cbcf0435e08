"""Token builder: turns a batch of records into signed tokens in the queues of streams, in one transaction.

Records that are read again make no new token, because a token's id is derived from its event; a known token is
not even signed again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from pipeline.transmitter.protocol import SecurityEvent, SignedToken, Stream
from pipeline.transmitter.store import queue, revocations
from pipeline.transmitter.store.database import Store, advisory_lock
from pipeline.transmitter.store.queue import dead_letters
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.store.streams import list_without_secrets, lock_active
from pipeline.transmitter.store.tables import clean
from pipeline.transmitter.tokens import device_compliance
from pipeline.transmitter.tokens.claims import Claims, claims_of, jti_of, lane_of
from pipeline.transmitter.tokens.events import events_of_record
from pipeline.transmitter.tokens.stream_filter import excluded, skip_reason
from pipeline.transmitter.tokens.subjects import AmbiguousNames, Subjects
from schemas.topics import REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

log = logging.getLogger(__name__)

_COMMAND_TOPICS: Final = (SESSION_REVOCATIONS, REVOCATION_ACKS)
_MAX_WARNINGS: Final = 1000
_MAX_TENANT_LENGTH: Final = 64
"""Longest tenant name in a log message."""


class DecodedRecord(NamedTuple):
    """A decoded record: its topic and its fields."""

    topic: str
    record: Mapping[str, Any]


@dataclass(slots=True)
class BuildResult:
    """The result of a batch. *stream_ids*: ids of streams with new tokens.

    *events* and *queued* count by event, *skipped* by reason (`metrics.SKIP_REASONS`), *commands* by what they
    changed; *confirmed* has the seconds from each decision to its acknowledgement.
    """

    stream_ids: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    queued: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    confirmed: list[float] = field(default_factory=list)


class _Draft(NamedTuple):
    stream: Stream
    security_event: SecurityEvent
    jti: str


class TokenBuilder:
    """Builds and queues tokens of *issuer*; *subjects* maps principals to subject identifiers.

    With *tenancy* a stream gets the events of its own tenant, or none.
    """

    def __init__(self, store: Store, signer: Signer, subjects: Subjects, issuer: str, *, tenancy: bool = False) -> None:
        self.store = store
        self.signer = signer
        self.subjects = subjects
        self.issuer = issuer
        self.tenancy = tenancy
        self._ambiguous_names = AmbiguousNames(subjects)
        self._warned: set[tuple[str, str, str]] = set()

    def build(self, records: Sequence[DecodedRecord], now_ms: int) -> BuildResult:
        """Queue the tokens of *records*, in order, for every stream; everything is stored when this returns.

        Raises `StoreError`; then nothing was stored.
        """
        result = BuildResult()
        with self.store.read() as conn:
            self.signer.refresh(conn)
            security_events, devices = _security_events(conn, records)
            result.events.update(security_event.event for security_event in security_events)
            claimed = list(self._with_claims(conn, list_without_secrets(conn), security_events, now_ms, result))
        if claimed or devices or any(topic in _COMMAND_TOPICS for topic, _ in records):
            signed = self._signed(claimed)
            with self.store.begin() as conn:
                advisory_lock(conn, "records")  # two may lead for a moment: each sees what the other wrote
                _put(conn, signed, now_ms, result)
                device_compliance.remember(conn, devices)
                _record_commands(conn, records, now_ms, result)
        return result

    def build_stream_events(self, stream_id: str, security_events: Sequence[SecurityEvent], now_ms: int) -> BuildResult:
        """Queue tokens of *security_events* that come from no record, for one stream.

        Raises `StoreError` as `build` does.
        """
        result = BuildResult()
        with self.store.read() as conn:
            self.signer.refresh(conn)
            identified = [stream for stream in list_without_secrets(conn) if stream.stream_id == stream_id]
            claimed = list(self._with_claims(conn, identified, security_events, now_ms, result))
        signed = self._signed(claimed)
        with self.store.begin() as conn:
            _put(conn, signed, now_ms, result)
        return result

    def overdue(self, now_ms: int) -> int:
        """Mark commands past their deadline as overdue; return how many are new."""
        with self.store.begin() as conn:
            return revocations.overdue(conn, now_ms)

    def _with_claims(
        self,
        conn: Connection,
        streams: Sequence[Stream],
        security_events: Sequence[SecurityEvent],
        now_ms: int,
        result: BuildResult,
    ) -> Iterator[tuple[_Draft, Claims]]:
        """The tokens to sign: requested, not yet known, with a subject that has an identifier and was not removed.

        A command and its repetition may be in one batch: they make one token.
        """
        drafts = list(_drafts(streams, security_events, result, tenancy=self.tenancy))
        known = queue.known_jtis(conn, ((item.stream.stream_id, item.jti) for item in drafts))
        new: dict[tuple[str, str], _Draft] = {}
        for draft in drafts:
            if (name := (draft.stream.stream_id, draft.jti)) not in known:
                new.setdefault(name, draft)
        identified = list(self._with_identifiers(new.values(), now_ms, result))
        subjects_of_streams = [(draft.stream.stream_id, claims["sub_id"]) for draft, claims in identified]
        for (draft, claims), is_excluded in zip(identified, excluded(conn, subjects_of_streams), strict=True):
            if is_excluded:
                result.skipped["excluded"] += 1
            else:
                self._ambiguous_names.check(draft.security_event.subject, draft.stream)
                yield draft, claims

    def _with_identifiers(
        self, drafts: Iterable[_Draft], now_ms: int, result: BuildResult
    ) -> Iterator[tuple[_Draft, Claims]]:
        for draft in drafts:
            stream, security_event, _ = draft
            claims = claims_of(security_event, stream, self.subjects, self.issuer, now_ms)
            if claims is None:
                result.skipped["unnamed"] += 1
                self._warn_unidentified(stream, security_event)
            else:
                yield draft, claims

    def _signed(self, claimed: Sequence[tuple[_Draft, Claims]]) -> list[SignedToken]:
        signed = self.signer.sign_many([claims for _, claims in claimed])
        return [
            SignedToken(
                stream_id=draft.stream.stream_id,
                jti=draft.jti,
                lane=lane_of(draft.security_event.subject),
                event=draft.security_event.event,
                kid=kid,
                jwt=jwt,
                txn=draft.security_event.txn,
                revocation_id=draft.security_event.revocation_id,
            )
            for (draft, _), (kid, jwt) in zip(claimed, signed, strict=True)
        ]

    def _warn_unidentified(self, stream: Stream, security_event: SecurityEvent) -> None:
        """Warn once per stream, tenant and event, without the principal's name, because others read the log."""
        row = (stream.stream_id, security_event.subject.tenant, security_event.event)
        if row in self._warned or len(self._warned) >= _MAX_WARNINGS:
            return
        self._warned.add(row)
        log.warning(
            "stream %s does not get every %s in tenant %s: a principal has no identifier of format %s there. Add "
            "it to the file of SESSION_RISK_TRANSMITTER_SUBJECTS_FILE; where decisions contain pseudonyms, "
            "only complex subjects have identifiers, by their session",
            *(
                stream.stream_id,
                security_event.event,
                clean(security_event.subject.tenant, _MAX_TENANT_LENGTH),
                stream.subject_form,
            ),
        )


def _security_events(
    conn: Connection, records: Iterable[DecodedRecord]
) -> tuple[list[SecurityEvent], dict[device_compliance.Key, device_compliance.Device]]:
    """Return the events of *records*, in order, and the devices whose state changed."""
    records = list(records)
    decisions = [record for topic, record in records if topic == SESSION_RISK]
    known = device_compliance.known(
        conn, {_device(decision) for decision in decisions if decision["device_id"] is not None}
    )
    changed: dict[device_compliance.Key, device_compliance.Device] = {}
    security_events: list[SecurityEvent] = []
    for topic, record in records:
        security_events += events_of_record(topic, record)
        if topic == SESSION_RISK and record["device_id"] is not None:
            key = _device(record)
            device, change_events = device_compliance.apply_decision(record, changed.get(key) or known.get(key))
            security_events += change_events
            if device is not None:
                changed[key] = device
    return security_events, changed


def _device(decision: Mapping[str, Any]) -> device_compliance.Key:
    return decision["tenant"], decision["device_id"]


def _drafts(
    streams: Sequence[Stream], security_events: Iterable[SecurityEvent], result: BuildResult, *, tenancy: bool
) -> Iterator[_Draft]:
    for security_event in security_events:
        for stream in streams:
            reason = skip_reason(stream, security_event, tenancy=tenancy)
            if reason is not None:
                result.skipped[reason] += 1
            else:
                yield _Draft(
                    stream, security_event, jti_of(security_event.cause, stream.stream_id, security_event.event)
                )


def _put(conn: Connection, signed: Sequence[SignedToken], now_ms: int, result: BuildResult) -> None:
    """Queue *signed*, except for streams that were removed or disabled meanwhile."""
    active = lock_active(conn, {token.stream_id for token in signed})
    tokens = [token for token in signed if token.stream_id in active]
    if gone := len(signed) - len(tokens):
        result.skipped["gone"] += gone
    queue.put(conn, tokens, now_ms)
    result.queued.update(token.event for token in tokens)
    result.stream_ids.update(token.stream_id for token in tokens)


def _record_commands(conn: Connection, records: Sequence[DecodedRecord], now_ms: int, result: BuildResult) -> None:
    commands = [record for topic, record in records if topic == SESSION_REVOCATIONS]
    recorded = revocations.record(conn, commands)
    result.commands.update(recorded)
    resent = [fields["revocation_id"] for fields, state in zip(commands, recorded, strict=True) if state == "resent"]
    result.stream_ids |= dead_letters.requeue_resent(conn, resent, now_ms)
    acks = [record for topic, record in records if topic == REVOCATION_ACKS]
    for ack in revocations.confirm(conn, acks):
        result.commands[ack.what] += 1
        if ack.seconds is not None:
            result.confirmed.append(ack.seconds)
