"""Subjects that receivers took out of their streams, made ready to be asked for each token.

They may be many, and one receiver's must not slow down another's tokens: they are read when there are new
ones, and asking costs the same however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import Connection, select

from pipeline.transmitter.streams import excluded
from pipeline.transmitter.tables import streams

MEMBERS: Final = frozenset({"user", "session", "device", "tenant"})
"""Of complex subjects, as `subjects` makes them; others that a receiver names tell none of ours apart."""

_FORMAT: Final = "format"
_Members = Mapping[str, bytes]


class Excluded:
    """The subjects taken out of one stream. SSF 1.0 §8.1.3.1 says when a subject is one of them.

    Simple subjects match when they are identical; complex ones when every member is, or is in one of both
    only. The section says nothing of a simple and a complex one: here they match if a member of the one is
    the other, as who takes a user out means all that is told of the user.
    """

    def __init__(self, subjects: Iterable[Mapping[str, Any]] = ()) -> None:
        self._simple: set[bytes] = set()
        self._inside: set[bytes] = set()
        self._complex: dict[frozenset[str], list[_Members]] = {}
        self._values: dict[tuple[frozenset[str], tuple[str, ...]], set[tuple[bytes, ...]]] = {}
        for subject in subjects:
            if _is_complex(subject):
                members = _members(subject)
                self._inside.update(members.values())
                known = {name: key for name, key in members.items() if name in MEMBERS}
                self._complex.setdefault(frozenset(known), []).append(known)
            else:
                self._simple.add(_key(subject))

    def has(self, subject: Mapping[str, Any]) -> bool:
        """Whether *subject*, of a token to be made, was taken out."""
        if not _is_complex(subject):
            key = _key(subject)
            return key in self._simple or key in self._inside
        members = _members(subject)
        if not self._simple.isdisjoint(members.values()):
            return True
        return any(self._agrees(names, members) for names in self._complex)

    def _agrees(self, names: frozenset[str], members: _Members) -> bool:
        """Whether one of those that have members of just these *names* agrees in what both have."""
        both = tuple(sorted(names & members.keys()))
        values = self._values.get((names, both))
        if values is None:
            values = {tuple(one[name] for name in both) for one in self._complex[names]}
            self._values[names, both] = values
        return tuple(members[name] for name in both) in values


NOBODY: Final = Excluded()


class TakenOut:
    """What was taken out of every stream, as far as it was read."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, int], Excluded]] = {}

    def read(self, conn: Connection) -> Mapping[str, Excluded]:
        """By stream; one that is not there lacks nobody. Read anew is what receivers have said since."""
        table = streams.c
        said = select(table.stream_id, table.created_at, table.subjects_version)
        found: dict[str, tuple[tuple[int, int], Excluded]] = {}
        for stream_id, *version in conn.execute(said.where(table.subjects_version > 0)):
            now = (version[0], version[1])
            before = self._kept.get(stream_id)
            if before is not None and before[0] == now:
                found[stream_id] = before
            else:
                found[stream_id] = now, Excluded(excluded(conn, stream_id).get(stream_id, ()))
        self._kept = found
        return {stream_id: subjects for stream_id, (_, subjects) in found.items()}


def _is_complex(subject: Mapping[str, Any]) -> bool:
    return subject.get(_FORMAT) == "complex"


def _members(subject: Mapping[str, Any]) -> _Members:
    return {name: _key(member) for name, member in subject.items() if name != _FORMAT}


def _key(identifier: Mapping[str, Any]) -> bytes:
    """What two simple identifiers have in common if, and only if, they are identical."""
    return blake2b(json.dumps(identifier, sort_keys=True).encode(), digest_size=16).digest()
