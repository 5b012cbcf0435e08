"""From records to signed tokens in the queues of streams: what a batch of records says, in one transaction.

What is read again makes nothing new: a token's id follows from what it tells, and one that is known is not
even signed.
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

_NOTED: Final = (SESSION_REVOCATIONS, REVOCATION_ACKS)
_MOST_TOLD: Final = 1000
_NAME: Final = 64
"""Characters of a tenant's name."""


class DecodedRecord(NamedTuple):
    """A record that could be read: its topic and its members."""

    topic: str
    record: Mapping[str, Any]


@dataclass(slots=True)
class BuildResult:
    """What came of records. *rung*: streams with new tokens.

    *happened* and *queued* count by event, *unsent* by reason (`metrics.SKIP_REASONS`), *commands* by what came of
    them; *confirmed* has the seconds from each decision to the word that it is done.
    """

    rung: set[str] = field(default_factory=set)
    happened: Counter[str] = field(default_factory=Counter)
    queued: Counter[str] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    confirmed: list[float] = field(default_factory=list)


class _Draft(NamedTuple):
    stream: Stream
    happening: SecurityEvent
    jti: str


class TokenBuilder:
    """Makes and keeps what is said; *subjects* names whom, in the name of *issuer*.

    With *tenancy* a stream is told of its own tenant or of nothing.
    """

    def __init__(self, store: Store, signer: Signer, subjects: Subjects, issuer: str, *, tenancy: bool = False) -> None:
        self.store = store
        self.signer = signer
        self.subjects = subjects
        self.issuer = issuer
        self.tenancy = tenancy
        self._namesakes = AmbiguousNames(subjects)
        self._told: set[tuple[str, str, str]] = set()

    def build(self, decoded_records: Sequence[DecodedRecord], now_ms: int) -> BuildResult:
        """Make of *heard*, in its order, the tokens of every stream; all of it is kept when this returns.

        Raises `StoreError`; then nothing was kept.
        """
        taken = BuildResult()
        with self.store.read() as conn:
            self.signer.refresh(conn)
            happenings, devices = _happenings(conn, decoded_records)
            taken.happened.update(happening.event for happening in happenings)
            claimed = list(self._claimed(conn, list_without_secrets(conn), happenings, now_ms, taken))
        if claimed or devices or any(topic in _NOTED for topic, _ in decoded_records):
            signed = self._signed(claimed)
            with self.store.begin() as conn:
                advisory_lock(conn, "records")  # two may lead for a moment: what the other wrote is seen
                _put(conn, signed, now_ms, taken)
                device_compliance.remember(conn, devices)
                _note(conn, decoded_records, now_ms, taken)
        return taken

    def build_stream_events(self, stream_id: str, happenings: Sequence[SecurityEvent], now_ms: int) -> BuildResult:
        """Tell one stream of *happenings* that no record has brought; raises `StoreError` as `take` does."""
        taken = BuildResult()
        with self.store.read() as conn:
            self.signer.refresh(conn)
            named = [stream for stream in list_without_secrets(conn) if stream.stream_id == stream_id]
            claimed = list(self._claimed(conn, named, happenings, now_ms, taken))
        signed = self._signed(claimed)
        with self.store.begin() as conn:
            _put(conn, signed, now_ms, taken)
        return taken

    def overdue(self, now_ms: int) -> int:
        """Call overdue the commands whose deadline has passed; return how many were not called so before."""
        with self.store.begin() as conn:
            return revocations.overdue(conn, now_ms)

    def _claimed(
        self,
        conn: Connection,
        streams: Sequence[Stream],
        happenings: Sequence[SecurityEvent],
        now_ms: int,
        taken: BuildResult,
    ) -> Iterator[tuple[_Draft, Claims]]:
        """What is to be signed: wanted, not known yet, of a subject that has a name and is not taken out.

        A command and its reminders may be heard together: they make one token.
        """
        drafts = list(_drafts(streams, happenings, taken, tenancy=self.tenancy))
        known = queue.known_jtis(conn, ((item.stream.stream_id, item.jti) for item in drafts))
        new: dict[tuple[str, str], _Draft] = {}
        for this_draft in drafts:
            if (name := (this_draft.stream.stream_id, this_draft.jti)) not in known:
                new.setdefault(name, this_draft)
        named = list(self._named(new.values(), now_ms, taken))
        asked = [(draft.stream.stream_id, claims["sub_id"]) for draft, claims in named]
        for (draft, claims), out in zip(named, excluded(conn, asked), strict=True):
            if out:
                taken.unsent["excluded"] += 1
            else:
                self._namesakes.look(draft.happening.subject, draft.stream)
                yield draft, claims

    def _named(self, drafts: Iterable[_Draft], now_ms: int, taken: BuildResult) -> Iterator[tuple[_Draft, Claims]]:
        for draft in drafts:
            stream, happening, _ = draft
            claims = claims_of(happening, stream, self.subjects, self.issuer, now_ms)
            if claims is None:
                taken.unsent["unnamed"] += 1
                self._tell_unnamed(stream, happening)
            else:
                yield draft, claims

    def _signed(self, claimed: Sequence[tuple[_Draft, Claims]]) -> list[SignedToken]:
        signed = self.signer.sign_many([claims for _, claims in claimed])
        return [
            SignedToken(
                stream_id=draft.stream.stream_id,
                jti=draft.jti,
                lane=lane_of(draft.happening.subject),
                event=draft.happening.event,
                kid=kid,
                jwt=jwt,
                txn=draft.happening.txn,
                revocation_id=draft.happening.revocation_id,
            )
            for (draft, _), (kid, jwt) in zip(claimed, signed, strict=True)
        ]

    def _tell_unnamed(self, stream: Stream, happening: SecurityEvent) -> None:
        """Say it once for a stream, tenant and event, and name nobody: a log is kept by others."""
        row = (stream.stream_id, happening.subject.tenant, happening.event)
        if row in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add(row)
        log.warning(
            "stream %s is not told of every %s in tenant %s: a principal has no name of form %s there. Name "
            "it in the file of SESSION_RISK_TRANSMITTER_SUBJECTS_FILE; where decisions leave with "
            "pseudonyms, only complex subjects are named, by their session",
            *(stream.stream_id, happening.event, clean(happening.subject.tenant, _NAME), stream.subject_form),
        )


def _happenings(
    conn: Connection, decoded_records: Iterable[DecodedRecord]
) -> tuple[list[SecurityEvent], dict[device_compliance.Key, device_compliance.Device]]:
    """All that *heard* says, in its order, and the devices that are other than before."""
    decoded_records = list(decoded_records)
    decisions = [record for topic, record in decoded_records if topic == SESSION_RISK]
    known = device_compliance.known(
        conn, {_device(decision) for decision in decisions if decision["device_id"] is not None}
    )
    changed: dict[device_compliance.Key, device_compliance.Device] = {}
    happenings: list[SecurityEvent] = []
    for topic, record in decoded_records:
        happenings += events_of_record(topic, record)
        if topic == SESSION_RISK and record["device_id"] is not None:
            key = _device(record)
            device, news = device_compliance.apply_decision(record, changed.get(key) or known.get(key))
            happenings += news
            if device is not None:
                changed[key] = device
    return happenings, changed


def _device(decision: Mapping[str, Any]) -> device_compliance.Key:
    return decision["tenant"], decision["device_id"]


def _drafts(
    streams: Sequence[Stream], happenings: Iterable[SecurityEvent], taken: BuildResult, *, tenancy: bool
) -> Iterator[_Draft]:
    for happening in happenings:
        for stream in streams:
            reason = skip_reason(stream, happening, tenancy=tenancy)
            if reason is not None:
                taken.unsent[reason] += 1
            else:
                yield _Draft(stream, happening, jti_of(happening.cause, stream.stream_id, happening.event))


def _put(conn: Connection, signed: Sequence[SignedToken], now_ms: int, taken: BuildResult) -> None:
    """Queue *signed*, but nothing for streams that were removed or disabled while it was made."""
    living = lock_active(conn, {this_signed.stream_id for this_signed in signed})
    tokens = [this_signed for this_signed in signed if this_signed.stream_id in living]
    if gone := len(signed) - len(tokens):
        taken.unsent["gone"] += gone
    queue.put(conn, tokens, now_ms)
    taken.queued.update(token.event for token in tokens)
    taken.rung.update(token.stream_id for token in tokens)


def _note(conn: Connection, decoded_records: Sequence[DecodedRecord], now_ms: int, taken: BuildResult) -> None:
    commands = [record for topic, record in decoded_records if topic == SESSION_REVOCATIONS]
    recorded = revocations.record(conn, commands)
    taken.commands.update(recorded)
    again = [fields["revocation_id"] for fields, what in zip(commands, recorded, strict=True) if what == "resent"]
    taken.rung |= dead_letters.requeue_resent(conn, again, now_ms)
    acks = [record for topic, record in decoded_records if topic == REVOCATION_ACKS]
    for answer in revocations.confirm(conn, acks):
        taken.commands[answer.what] += 1
        if answer.seconds is not None:
            taken.confirmed.append(answer.seconds)
