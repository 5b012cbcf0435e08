"""Whether the subject of a token is among those that its receiver took out of the stream (SSF 1.0 §8.1.3.3).

They may be many, and one receiver's must not slow down another's tokens: they stay in the store, which is
asked for the few that take a subject out with them, however many there are.
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
_LACKS: Final = exists().where(stream_subjects.c.stream_id == streams.c.stream_id)


def excluded(conn: Connection, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[bool]:
    """Whether each of *asked*, a stream and a token's subject, is among what was taken out of that stream."""
    if not asked:
        return []
    lacking = set(conn.scalars(select(streams.c.stream_id).where(_LACKS)))
    keys = [list(covering_keys(subject)) if of in lacking else [] for of, subject in asked]
    wanted: dict[str, set[str]] = {of: set() for of, _ in asked}
    for (of, _), some in zip(asked, keys, strict=True):
        wanted[of].update(some)
    there = {of: _there(conn, of, some) for of, some in wanted.items()}
    return [not there[of].isdisjoint(some) for (of, _), some in zip(asked, keys, strict=True)]


def covering_keys(subject: Mapping[str, Any]) -> Iterator[str]:
    """The keys of all those that, taken out, take *subject* out with them.

    Every subject is in a stream to begin with, and an event goes out if its subject matches one that is left:
    if each member is identical, or absent in one of both (SSF 1.0 §7.1, §8.1.3.1). What is absent stands for
    any (§3.3.1). So it stays only if all that it may mean was taken out: if something was of which it has
    every member. Who takes out a session of a user goes on hearing of the user, and what was taken out by a
    member that no event has takes nothing with it. A receiver must bear to hear of what it took out (§9.3);
    what it was not told is lost to it.

    The sections say nothing of a simple and a complex subject. A simple one of ours names a user, as a
    complex one does whose only member that is; a simple one that was taken out may be any member.
    """
    members = {"user": subject} if subject[_FORMAT] != _COMPLEX else _members(subject)
    texts = {name: canonical(member) for name, member in members.items()}
    yield from map(key, texts.values())
    for size in range(1, len(texts) + 1):
        for names in combinations(texts, size):
            yield key(_whole({name: texts[name] for name in names}))


def _members(subject: Mapping[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in subject.items() if name != _FORMAT}


def _whole(texts: Mapping[str, str]) -> str:
    """What `canonical` makes of a complex subject; its members' *texts* are made once for all of them."""
    parts = {**texts, _FORMAT: f'"{_COMPLEX}"'}
    return "{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}"


def _there(conn: Connection, stream_id: str, keys: set[str]) -> set[str]:
    """Those of *keys* whose subjects were taken out of a stream."""
    table, found = stream_subjects.c, set[str]()
    for some in chunks(sorted(keys)):
        here = (table.stream_id == stream_id) & table.subject_hash.in_(some)
        found.update(conn.scalars(select(table.subject_hash).where(here)))
    return found


SkipReason = Literal["status", "event", "tenant"]
"""Why a stream is not told: it is disabled, did not ask for such events, or is another tenant's."""

_MOST_NAMED: Final = 20


def events_delivered(stream: Stream) -> tuple[str, ...]:
    """`events_delivered` of SSF 1.0 §8.1.1: what is supported and was asked for; unknown ones are ignored."""
    if stream.events_requested is None:
        return SUPPORTED
    asked = frozenset(stream.events_requested)
    return tuple(uri for uri in SUPPORTED if uri in asked)


def skip_reason(stream: Stream, happening: SecurityEvent, *, tenancy: bool = False) -> SkipReason | None:
    """Why *stream* is not to hear of *happening*, before its subject is looked at; `None`: it is.

    A stream without a tenant hears of every one, but with *tenancy*, where tenants are strangers: of none. A
    paused stream hears of it later (SSF 1.0 §8.1.2.1): that is the queue's business.
    """
    if stream.status == "disabled":
        return "status"
    uri = EVENTS[happening.event].uri
    if stream.events_requested is not None and uri not in stream.events_requested:
        return "event"
    if stream.tenant != happening.subject.tenant and (tenancy or stream.tenant is not None):
        return "tenant"
    return None


def no_tenant_warning(stream_ids: Sequence[str]) -> str:
    """The warning, with tenancy on, that the streams *stream_ids* have no tenant."""
    more = len(stream_ids) - _MOST_NAMED
    named = ", ".join(stream_ids[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"with SESSION_RISK_TENANCY a stream without a tenant is told of nothing: {named}. Give its receiver "
        "one with `session-risk transmitter clients tenant`, or write `tenant` where it is declared"
    )
