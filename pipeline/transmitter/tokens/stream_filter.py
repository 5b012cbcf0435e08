"""Stream filter: which events a stream gets, by its status, its event types, its tenant and its removed subjects.

Removed subjects (SSF 1.0 §8.1.3.3) may be many, and those of one receiver must not delay another's tokens: they
stay in the store, where a lookup asks only for the few that would cover a token's subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, Literal

from sqlalchemy import Connection, exists, select

from pipeline.transmitter.protocol import EVENTS, SUPPORTED, SecurityEvent, Stream
from pipeline.transmitter.store.queue.waiting import chunks
from pipeline.transmitter.store.tables import stream_subjects, streams
from pipeline.transmitter.subject_identifiers import canonical, key

_FORMAT: Final = "format"
_COMPLEX: Final = "complex"
_HAS_REMOVED_SUBJECTS: Final = exists().where(stream_subjects.c.stream_id == streams.c.stream_id)


def excluded(conn: Connection, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[bool]:
    """Whether each of *asked*, a stream and a token's subject, was removed from that stream."""
    if not asked:
        return []
    filtered = set(conn.scalars(select(streams.c.stream_id).where(_HAS_REMOVED_SUBJECTS)))
    keys = [list(covering_keys(subject)) if stream_id in filtered else [] for stream_id, subject in asked]
    wanted: dict[str, set[str]] = {stream_id: set() for stream_id, _ in asked}
    for (stream_id, _), covering in zip(asked, keys, strict=True):
        wanted[stream_id].update(covering)
    removed = {stream_id: _removed(conn, stream_id, covering) for stream_id, covering in wanted.items()}
    return [not removed[stream_id].isdisjoint(covering) for (stream_id, _), covering in zip(asked, keys, strict=True)]


def covering_keys(subject: Mapping[str, Any]) -> Iterator[str]:
    """The keys of all subjects whose removal removes *subject* too.

    A new stream has every subject, and an event is sent if its subject matches a remaining one: if each field
    is identical, or absent in one of them (SSF 1.0 §7.1, §8.1.3.1). An absent field is a wildcard (§3.3.1). So
    an event is withheld only if everything it may mean was removed: if a subject was removed of which it has
    every field. A receiver that removes a session of a user still gets the events of the user, and removing a
    field that no event has removes nothing. A receiver must tolerate events of removed subjects (§9.3), whereas
    a withheld event is lost to it.

    The sections do not relate simple and complex subjects. A simple subject of ours names a user, like a
    complex one whose only field is `user`; a removed simple subject may be any field.
    """
    fields = {"user": subject} if subject[_FORMAT] != _COMPLEX else _fields(subject)
    texts = {name: canonical(field) for name, field in fields.items()}
    yield from map(key, texts.values())
    for size in range(1, len(texts) + 1):
        for names in combinations(texts, size):
            yield key(_canonical_complex({name: texts[name] for name in names}))


def _fields(subject: Mapping[str, Any]) -> dict[str, Any]:
    return {name: field for name, field in subject.items() if name != _FORMAT}


def _canonical_complex(texts: Mapping[str, str]) -> str:
    """What `canonical` makes of a complex subject; the *texts* of its fields are computed once for all of them."""
    parts = {**texts, _FORMAT: f'"{_COMPLEX}"'}
    return "{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}"


def _removed(conn: Connection, stream_id: str, keys: set[str]) -> set[str]:
    """Those of *keys* whose subjects were removed from a stream."""
    table, found = stream_subjects.c, set[str]()
    for batch in chunks(sorted(keys)):
        here = (table.stream_id == stream_id) & table.subject_hash.in_(batch)
        found.update(conn.scalars(select(table.subject_hash).where(here)))
    return found


SkipReason = Literal["status", "event", "tenant"]
"""Why a stream gets no token: it is disabled, did not request such events, or belongs to another tenant."""

_MAX_NAMED: Final = 20


def events_delivered(stream: Stream) -> tuple[str, ...]:
    """`events_delivered` of SSF 1.0 §8.1.1: the supported ones of the requested; unknown ones are ignored."""
    if stream.events_requested is None:
        return SUPPORTED
    asked = frozenset(stream.events_requested)
    return tuple(uri for uri in SUPPORTED if uri in asked)


def skip_reason(stream: Stream, security_event: SecurityEvent, *, tenancy: bool = False) -> SkipReason | None:
    """Why *stream* gets no token of *security_event*, before its subject is considered; `None`: it gets one.

    A stream without a tenant gets events of every tenant, but with *tenancy*, where tenants are strangers, of
    none. A paused stream gets it later (SSF 1.0 §8.1.2.1): the queue holds it.
    """
    if stream.status == "disabled":
        return "status"
    uri = EVENTS[security_event.event].uri
    if stream.events_requested is not None and uri not in stream.events_requested:
        return "event"
    if stream.tenant != security_event.subject.tenant and (tenancy or stream.tenant is not None):
        return "tenant"
    return None


def no_tenant_warning(stream_ids: Sequence[str]) -> str:
    """The warning, with tenancy on, that the streams *stream_ids* have no tenant."""
    more = len(stream_ids) - _MAX_NAMED
    named = ", ".join(stream_ids[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"with SESSION_RISK_TENANCY a stream without a tenant gets no events: {named}. Give its receiver "
        "one with `session-risk transmitter clients tenant`, or write `tenant` where it is declared"
    )
