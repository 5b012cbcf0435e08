"""What came of a run, held against what had to come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import from_json

from pipeline.offline.scenarios.outcomes import Endings
from pipeline.processing.processor import Record
from schemas.topics import (
    DEAD_LETTERS,
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_REVOCATIONS,
    SESSION_RISK,
)
from tests.faults.known import Known, count_of

ID_OF = {
    SESSION_RISK: "decision_id",
    SESSION_REVOCATIONS: "revocation_id",
    SESSION_CHALLENGES: "challenge_id",
    SESSION_FEATURES: "event_id",
}
"""The topics that are read, and the member by which a record that comes again is known."""
READ = (*ID_OF, DEAD_LETTERS)
HALF_A_CALL = 0.5
"""A call lost or counted twice makes more difference; news read early, which makes calls older, less."""
Place = tuple[str, int, int]
"""A topic, a partition and an offset."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What must not be: each is a number that has to be 0.

    Attributes:
        levels: sessions that ended at another level than they must.
        missing: revocations that had to come and did not.
        surplus: revocations that came and had not to.
        miscounted: events that were lost, or counted not exactly once.
        unread: dead letters of records that can be read.
        unburied: records that cannot be read and have no dead letter.
    """

    levels: int = 0
    missing: int = 0
    surplus: int = 0
    miscounted: int = 0
    unread: int = 0
    unburied: int = 0


class Run(NamedTuple):
    """One run: what was wrong, and what is only told.

    *repeated* records are known by their id; *recovered_s* seconds after the fault all sent before it was
    done; *restarts* of workers that failed.
    """

    wrong: Wrong
    events: int
    repeated: int
    recovered_s: float
    restarts: int = 0


def judged(known: Known, records: Sequence[Record], poison: Iterable[Place]) -> tuple[Wrong, int]:
    """Return what is wrong with *records*, the outputs on what *known* and *poison* say; and the repeats."""
    endings, counted, ids, buried = (
        Endings(),
        dict[str, list[float]](),
        Counter[tuple[str, str]](),
        set[Place](),
    )
    for record in records:
        details = from_json(record.value or b"{}")
        if record.topic == DEAD_LETTERS:
            buried.add((details["topic"], details["partition"], details["offset"]))
            continue
        ids[record.topic, details[ID_OF[record.topic]]] += 1
        endings.take(record.topic, record.value or b"")
        if record.topic == SESSION_FEATURES:
            counted.setdefault(details["event_id"], []).append(count_of(details))
    poisonous = set(poison)
    wrong = Wrong(
        levels=sum(
            endings.of(session).final_level != known.endings.of(session).final_level for session in known.sessions
        ),
        missing=len(known.endings.revocation_ids - endings.revocation_ids),
        surplus=len(endings.revocation_ids - known.endings.revocation_ids),
        miscounted=_miscounted(known.counted, counted),
        unread=len(buried - poisonous),
        unburied=len(poisonous - buried),
    )
    return wrong, sum(number - 1 for number in ids.values())


def _miscounted(due: Mapping[str, float], counted: Mapping[str, list[float]]) -> int:
    """Count the calls whose vector is missing, or in any copy not what it must be."""
    return sum(
        event_id not in counted or any(abs(found - count) > HALF_A_CALL for found in counted[event_id])
        for event_id, count in due.items()
    )
