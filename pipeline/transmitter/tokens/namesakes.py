"""Notices a receiver that is told of two tenants' principals by names that do not say whose they are.

To the pipeline a principal is one of its tenant. Where tenants are parts of one organization they share a
directory, and who has one id in both is one person; that is what a stream of every tenant takes for granted.
Where they do not, a receiver would end the sessions of the one for the other's deeds.
"""

from __future__ import annotations

import logging
from typing import Final

from pipeline.transmitter.records import Stream, Who
from pipeline.transmitter.tokens.subjects import Subjects

log = logging.getLogger(__name__)

_MOST: Final = 1000
"""Receivers that are looked at."""


class Namesakes:
    """What each receiver, by its `aud`, was told so far by such names: the first tenant, of *subjects*."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._first: dict[str, str] = {}
        self._said: set[str] = set()

    def look(self, who: Who, stream: Stream) -> None:
        """Say it once for a receiver: *stream* is told of *who*, after another tenant's principals."""
        aud, first = stream.aud, self._first.get(stream.aud)
        if aud in self._said or first == who.tenant or not self._subjects.alike(who, stream):
            return
        if first is None:
            if len(self._first) < _MOST:
                self._first[aud] = who.tenant
            return
        self._said.add(aud)
        log.warning(
            "receiver %s is told of principals of the tenants %s and %s by names that do not say which: who "
            "has the same id in both is one subject there, and what ends the sessions of the one ends those "
            "of the other. Unless they are the same people, let each receiver hear of one tenant, tell them "
            "apart in the file of SESSION_RISK_TRANSMITTER_SUBJECTS_FILE, or choose complex subjects",
            *(aud, first, who.tenant),
        )
