"""Conversion of CloudTrail files: read all records, find their sessions, make events and count what was skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.sources import Conversion, Counts, Event
from pipeline.sources.cloudtrail.events import events_of
from pipeline.sources.cloudtrail.files import Log, read_logs
from pipeline.sources.cloudtrail.record import Entry, MalformedRecordError, parse
from pipeline.sources.cloudtrail.sessions import Sessions, forwarded
from pipeline.sources.ground_truth import Truth
from schemas.topics import API_CALLS, AUTH_EVENTS

TOPIC_OF: Final = {"auth.event": AUTH_EVENTS, "api.call": API_CALLS}
STARTS: Final = frozenset({"sign_in", "token_issued", "token_exchanged"})

MALFORMED: Final = "malformed"
DUPLICATE: Final = "duplicate"
FORWARDED: Final = "forwarded_by_service"
SERVICE: Final = "made_by_service"
NO_SESSION: Final = "caller_without_session"


def convert(paths: Iterable[Path]) -> Conversion:
    """Convert CloudTrail files, or directories of them; the order of *paths* makes no difference.

    *truth* has the attack technique that a file's name states, as in the logs of Stratus Red Team.

    Raises:
        UnreadableLogError: a file is not a CloudTrail log. A malformed record in a log is only counted.
    """
    skipped: Counter[str] = Counter()
    entries, read = _read(paths, skipped)
    sessions = Sessions(entries)
    events: dict[str, list[Event]] = {topic: [] for topic in TOPIC_OF.values()}
    truth: dict[tuple[str, ...], list[int]] = {}
    for entry in entries:
        made = list(events_of(entry, sessions))
        for event in made:
            events[TOPIC_OF[event["type"]]].append(event)
            if entry.technique:
                row = (entry.technique, event["tenant"], event["session_id"])
                truth.setdefault(row, []).append(event["occurred_at"])
        if not made:
            skipped[_reason(entry)] += 1
    for made in events.values():
        made.sort(key=_order)
    counts = Counts(read, {topic: len(made) for topic, made in events.items()}, dict(sorted(skipped.items())))
    return Conversion(events, _truth_rows(truth), counts)


def _read(paths: Iterable[Path], skipped: Counter[str]) -> tuple[list[Entry], int]:
    """Return the entries in order of time, without duplicates, and the number of records read."""
    entries: dict[str, Entry] = {}
    read = 0
    for log in sorted(read_logs(paths), key=_labelled_first):
        for record in log.records:
            read += 1
            try:
                entry = parse(record, log.technique)
            except MalformedRecordError:
                skipped[MALFORMED] += 1
                continue
            if entry.event_id in entries:
                skipped[DUPLICATE] += 1
            entries.setdefault(entry.event_id, entry)
    return sorted(entries.values(), key=lambda entry: (entry.at_ms, entry.event_id)), read


def _labelled_first(log: Log) -> tuple[bool, str, str]:
    # If a record is in two files, the copy with a technique is used.
    return log.technique is None, log.path.name, str(log.path)


def _reason(entry: Entry) -> str:
    if forwarded(entry):
        return FORWARDED
    by_service = entry.caller.type == "AWSService" or entry.caller.invoked_by is not None
    return SERVICE if by_service else NO_SESSION


def _order(event: Event) -> tuple[int, bool, str]:
    # CloudTrail has whole seconds: within one, the start of a session comes before its other events.
    return event["occurred_at"], event.get("action") not in STARTS, event["event_id"]


def _truth_rows(truth: Mapping[tuple[str, ...], Sequence[int]]) -> list[Truth]:
    return [
        Truth(
            tenant=tenant,
            session_id=session_id,
            label="attack",
            family=technique,
            started_at=min(times),
            ended_at=max(times),
        )
        for (technique, tenant, session_id), times in sorted(truth.items())
    ]
