"""Arrays of a chunk of decoded events: the input of the fold.

An event becomes a record for each group of fields of its kind (:class:`FieldsByKind`); an absent field is 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.api_calls import Calls
from models.events.context_columns import CONTEXT_FIELDS

Event = Mapping[str, Any]
"""A decoded record of any topic that is scored; by topic, its fields are in `schemas.records`."""
Ints = NDArray[np.int64]
Structs = NDArray[Any]
"""Records of one of the types below."""


class Kind(IntEnum):
    """Kind of the events of a chunk."""

    TICK = 0
    AUTH = 1
    CALL = 2
    CONTEXT = 3
    VERDICT = 4


CLIENT: Final = ("network", "prefix", "ua", "family", "ja4", "token", "key", "device")
"""Fingerprints of the client, in the order of the column ``client`` of a row; the network is its AS number."""
NETWORK, PREFIX, UA, FAMILY, JA4, TOKEN, KEY, DEVICE = range(len(CLIENT))
IDENTITY: Final = np.dtype(
    [
        ("key", "<u8"),
        ("address", "<u8"),
        ("client", "<u4", (len(CLIENT),)),
        ("country", "<u4"),
        ("kind", "u1"),
        ("network_type", "u1"),
        ("software", "u1"),
    ]
)
"""Strings that identify session and client, as numbers; they are the same for hours, so they are cached."""
ACTIVITY: Final = np.dtype(
    [
        ("operation", "<u8"),
        ("tool", "<u8"),
        ("called", "<u4"),
        ("stage", "u1"),
        ("sensitive", "?"),
        ("guarded", "?"),
        ("writing", "?"),
    ]
)
"""What an API call does, as numbers; *called* is the operation by its name alone, as roles use it."""
CLIENT_FIELDS: Final = np.dtype([("identity", IDENTITY), ("place", "<f4", (2,))])
"""Session and client of auth events and API calls; the place is latitude and longitude, NaN if unknown."""
CALL_FIELDS: Final = np.dtype(
    [
        ("act", ACTIVITY),
        ("resource", "<u8"),
        ("bytes_out", "<f8"),
        ("records", "<f8"),
        ("failed", "?"),
        ("denied", "?"),
        ("refused", "?"),
    ]
)
"""What an API call did, and its result."""
AUTH_FIELDS: Final = np.dtype([("action", "i1"), ("by_sim", "?"), ("powerful", "?")])
VERDICT_FIELDS: Final = np.dtype([("confirmed", "?")])


class FieldsByKind(NamedTuple):
    """Fields of the events of a chunk, ``(n,)`` each, or ``(0,)`` for groups that their kind does not have."""

    client: Structs
    auth: Structs
    call: Structs
    context: Structs
    verdict: Structs


NOTHING: Final = FieldsByKind(
    *(np.zeros(0, kind) for kind in (CLIENT_FIELDS, AUTH_FIELDS, CALL_FIELDS, CONTEXT_FIELDS, VERDICT_FIELDS))
)


@dataclass(slots=True)
class Batch:
    """Events of one kind as columns: ``(n,)`` hashes of session keys and event ids, times in ms, and fields."""

    events: Sequence[Event]
    kind: Kind
    keys: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    at: NDArray[np.int64]
    fields: FieldsByKind = NOTHING

    def __len__(self) -> int:
        return len(self.events)

    def event_id(self, place: int) -> str:
        """Return the id of the event at *place* in order of arrival, without decoding it again."""
        events = self.events
        return events.event_id(place) if isinstance(events, Calls) else str(events[place]["event_id"])

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """Return the batch of only the *chosen* events, in that order."""
        indexes = chosen.tolist()
        if isinstance(self.events, Calls):
            events: Sequence[Event] = self.events.chosen(indexes)
        else:
            events = [self.events[index] for index in indexes]
        fields_by_kind = FieldsByKind(*(_taken(part, chosen) if part.size else part for part in self.fields))
        return Batch(events, self.kind, self.keys[chosen], self.ids[chosen], self.at[chosen], fields_by_kind)


def batch_of_calls(events: Sequence[Event], make: Callable[[Sequence[Event]], Batch]) -> Batch:
    """Return the batch that *make* makes of *events*; of calls that were read ahead, it is made of all at once."""
    if not isinstance(events, Calls) or events.ahead is None:
        return make(events)
    if events.ahead.batch is None:
        events.ahead.batch = make(events.ahead.calls)
    batch_ahead: Batch = events.ahead.batch
    return batch_ahead.take(events.rows)


def _taken(records: Structs, chosen: Ints) -> Structs:
    """The *chosen* records, moved as bytes: many times faster than field by field."""
    taken: Structs = records.view(f"V{records.itemsize}")[chosen].view(records.dtype)
    return taken


def merged(events: Sequence[Event], parts: Sequence[tuple[Ints, Batch]]) -> Batch:
    """Return one batch of all *events* from *parts*: the places of a part among the events, and its batch."""
    first = parts[0][1]
    n, fields_by_kind = (
        len(events),
        FieldsByKind(*(np.zeros(len(events) if p.size else 0, p.dtype) for p in parts[-1][1].fields)),
    )
    batch = Batch(
        events,
        first.kind,
        np.empty(n, np.uint64),
        np.empty(n, np.uint64),
        np.empty(n, np.int64),
        fields_by_kind,
    )
    for places, part in parts:
        batch.keys[places], batch.ids[places], batch.at[places] = part.keys, part.ids, part.at
        for column, values in zip(batch.fields, part.fields, strict=True):
            if values.size:
                column[places] = values
    return batch
